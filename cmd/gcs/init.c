/* SPDX-License-Identifier: MIT
 *
 * /init, the guest's first process: makes a bare kernel into a system that the agent can live in,
 * starts it, reaps what nobody else does, and ends when the agent ends. Plain blocking C; the
 * agent is another process, so that a fault in it is a status here and not a silent machine.
 *
 * The steps are a table and run once, in order. Modules come first, and pvpanic first of them, so
 * that whatever goes wrong afterwards is a panic that the host hears of. A step that fails ends the
 * boot only where the guest could not live without it; the rest was said on the console.
 *
 * PID 1 must not end: that is a kernel panic, and here that is the point. It is how the VM ends
 * with its agent (PROTOCOL-bridge.md, Transport), and the host tells it from a power-off. It
 * reboots at once (panic=-1) unless the command line asked for something else.
 *
 * Nothing of this may ever touch a machine that is not a guest of ours: see here_is_a_guest().
 */
#include "cmd/gcs/init.h"

#include "cmd/gcs/early.h"
#include "cmd/gcs/entropy.h"
#include "cmd/gcs/gcs.h"
#include "cmd/gcs/image_path.h"
#include "cmd/gcs/modules.h"
#include "cmd/gcs/mounts.h"
#include "cmd/gcs/offers.h"
#include "cmd/gcs/root.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define WHO "init"

/* The inode of the kernel's first pid namespace, a constant of its (include/linux/proc_ns.h). */
#define PID_NS_INITIAL 0xEFFFFFFCu

static char *environment[] = {"PATH=/sbin:/usr/sbin:/bin:/usr/bin", "HOME=/root", "TERM=linux",
                              UVM__INIT_MARKER "=1", NULL};

/* PID 1 of a container is a first process, too. There /proc is mounted before it starts; in a
 * guest it is not, and then nothing says otherwise.                                              */
static bool here_is_a_guest(void) {
    struct stat ns;

    return getpid() == 1 && (stat("/proc/self/ns/pid", &ns) < 0 || ns.st_ino == PID_NS_INITIAL);
}

static int step_modules(const struct uvm__init_options *o) {
    (void)o;
    (void)uvm__modules_load(WHO, "modules.load");
    return 0;
}

/* We are the /init of a disk, and the image's has brought us here: its mounts came along, and the root is this. A
 * second one of it would hide the first, with the image in it. */
static bool entered;

static int step_mounts(const struct uvm__init_options *o) {
    (void)o;
    if (!entered && uvm__mounts_base() < 0) {
        return -1;
    }
    uvm__stdio_ensure();
    return 0;
}

static char next_init[PATH_MAX]; /* of a disk, which takes over; "": none */

static int step_root(const struct uvm__init_options *o) {
    (void)o;
    return entered ? 0 : uvm__root_enter(next_init);
}

static int step_overlays(const struct uvm__init_options *o) {
    return o->overlays && next_init[0] == '\0' ? uvm__mounts_overlays() : 0;
}

/* 127.0.0.1 comes by itself with the interface. */
static int step_network(const struct uvm__init_options *o) {
    struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    (void)o;
    if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &lo) < 0) {
        uvm__say(WHO, "lo: %s", strerror(errno));
    }
    if (fd >= 0) {
        close(fd);
    }
    if (sethostname("uvm", 3) < 0) {
        uvm__say(WHO, "hostname: %s", strerror(errno));
    }
    return 0;
}

static int step_entropy(const struct uvm__init_options *o) {
    if (o->entropy_port != 0) {
        (void)uvm__entropy_feed(o->entropy_port);
    }
    return 0;
}

static int step_offers(const struct uvm__init_options *o) {
    (void)o;
    uvm__offers_start();
    return 0;
}

static const struct init_step {
    const char *name;
    int (*run)(const struct uvm__init_options *o);
} steps[] = {
    {"modules", step_modules},   {"mounts", step_mounts},   {"root", step_root},
    {"overlays", step_overlays}, {"network", step_network}, {"entropy", step_entropy},
    {"offers", step_offers},
};

/* Runs the steps and tells on one line when the kernel handed over and how long each took. */
static int set_up(const struct uvm__init_options *o) {
    char line[256];
    double at = uvm__boot_ms();
    int n = snprintf(line, sizeof line, "started at %.0f ms;", at);

    for (size_t i = 0; i < sizeof steps / sizeof steps[0] && next_init[0] == '\0'; i++) {
        double before = at;

        if (steps[i].run(o) < 0) {
            return -1;
        }
        at = uvm__boot_ms();
        if (n >= 0 && (size_t)n < sizeof line) {
            n +=
                snprintf(line + n, sizeof line - (size_t)n, " %s %.1f", steps[i].name, at - before);
        }
    }
    uvm__say(WHO, "%s ms", line);
    return 0;
}

/* A session of its own; with the console as its terminal for the shell. */
static pid_t start(char *const *argv, bool terminal) {
    char path[PATH_MAX];
    pid_t pid = fork();

    if (pid == 0) {
        setsid();
        if (terminal) {
            (void)ioctl(STDIN_FILENO, TIOCSCTTY, 0);
        }
        execvp(uvm__image_path(argv[0], path), argv);
        uvm__say(WHO, "%s: %s", argv[0], strerror(errno));
        _exit(127);
    }
    if (pid < 0) {
        uvm__say(WHO, "fork: %s", strerror(errno));
    }
    return pid;
}

static int reap_until(pid_t primary, const char *name) {
    int status = 0;
    pid_t pid;

    do {
        pid = wait(&status);
    } while (pid >= 0 ? pid != primary : errno == EINTR);
    if (pid < 0) {
        uvm__say(WHO, "%s: lost", name);
        return EXIT_FAILURE;
    }
    if (WIFSIGNALED(status)) {
        uvm__say(WHO, "%s ended by signal %d (%s)", name, WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
        return 128 + WTERMSIG(status);
    }
    uvm__say(WHO, "%s ended with status %d", name, WEXITSTATUS(status));
    return WEXITSTATUS(status);
}

/* What the panic's end is, unless somebody chose: reboot at once, which ends the VM. */
static void panic_reboots(void) {
    int fd = open("/proc/sys/kernel/panic", O_RDWR | O_CLOEXEC);
    char was[2] = "";

    if (fd >= 0 && read(fd, was, sizeof was) == 2 && was[0] == '0' && was[1] == '\n') {
        (void)!pwrite(fd, "-1", 2, 0);
    }
    if (fd >= 0) {
        close(fd);
    }
}

static int run(int argc, char **argv) {
    struct uvm__init_options o;
    char *shell[] = {NULL, NULL};
    pid_t primary = -1;

    entered = getenv(UVM__INIT_MARKER) != NULL; /* the kernel does not put it there */
    environ = environment;
    umask(022);
    if (uvm__init_options_read(argc, argv, &o) < 0 || set_up(&o) < 0) {
        return EXIT_FAILURE;
    }
    if (next_init[0] != '\0') {
        argv[0] = next_init;
        execv(next_init, argv);
        uvm__say(WHO, "%s: %s", next_init, strerror(errno));
        return EXIT_FAILURE;
    }
    if (o.program[0] != NULL) {
        primary = start(o.program, false);
    }
    if (o.shell != NULL) {
        shell[0] = (char *)o.shell;
        primary = start(shell, true);
    }
    return primary < 0 ? EXIT_FAILURE : reap_until(primary, o.shell ? o.shell : o.program[0]);
}

int uvm__init_main(int argc, char **argv) {
    int status;

    if (!here_is_a_guest()) {
        uvm__say(WHO, "this is the first process of a utility VM, and runs nowhere else");
        return EXIT_FAILURE;
    }
    status = run(argc, argv);
    uvm__say(WHO, "the guest ends");
    panic_reboots();
    tcdrain(STDERR_FILENO); /* a panic would cut off what the serial line still holds */
    return status;
}
