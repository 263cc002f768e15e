/* SPDX-License-Identifier: MIT
 *
 * The machine's switches. They are here and nowhere else, behind an assertion on a fact that was
 * established once at start: the marker of /init and PID 1 being this binary (marker.c), and not being PID 1.
 *
 * Switching off: a file system whose server is gone (a share of a host that is going down) can hold sync()
 * for ever, so a child does it and the power goes off when it is done or its time is over.
 */
#include "cmd/gcs/machine.h"

#include "async/check.h"
#include "async/limits.h"
#include "cmd/gcs/agent.h"
#include "cmd/gcs/gcs.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* A second for the way from the host and for the end of the VMM. */
_Static_assert(GCS_SYNC_MS + GCS_LINGER_MS + 1000 < UVM__STOP_GRACE_MS,
               "a guest that writes back would be killed");

bool gcs_machine_inside(void) {
    return getpid() != 1 && uvm__under_our_init();
}

static void sync_bounded(void) {
    pid_t pid = fork();
    int fd;

    if (pid == 0) {
        sync();
        _exit(0);
    }
    if (pid < 0) {
        return;
    }
    fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (fd >= 0) {
        struct pollfd p = {.fd = fd, .events = POLLIN};

        (void)poll(&p, 1, GCS_SYNC_MS);
        close(fd);
    }
}

void gcs_machine_power_off(bool inside) {
    UVM_ASSERT(inside && gcs_machine_inside());
    sync_bounded();
    (void)reboot(RB_POWER_OFF);
    /* Not allowed, or no way to switch off: the end of the agent ends the VM all the same. */
    _exit(0);
}

int gcs_machine_core_pattern(bool inside, const char *pattern, struct uvm__fail *f) {
    static const char path[] = "/proc/sys/kernel/core_pattern";
    size_t bytes = strlen(pattern);
    ssize_t n;
    int fd;

    UVM_ASSERT(inside && gcs_machine_inside());
    fd = open(path, O_WRONLY | O_CLOEXEC);
    n = fd < 0 ? -1 : write(fd, pattern, bytes);
    if (n != (ssize_t)bytes) {
        int err = n < 0 ? errno : EIO;

        if (fd >= 0) {
            close(fd);
        }
        return uvm__fail(f, UVM_E_IO, err, "%s: %s", path, strerror(err));
    }
    close(fd);
    return 0;
}
