/* SPDX-License-Identifier: MIT
 * plan9_server.c — see plan9_server.h.
 *
 * The root that diod begins in: its program and the system's libraries, read-only; a configuration; and the share at
 * "/NAME", which is the name that it exports. diod serves as root, since files have owners; what it keeps of
 * root's power is for files only.
 */
#include "hcs/qemu/plan9_server.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "async/check.h"
#include "async/cleanup.h"
#include "async/sock.h"
#include "hcs/qemu/host.h"

#define SOCKET "4" /* in the child */
#define FOLDER "5"
#define FILES_MAX 65536u
#define CONFIG "/etc/diod.conf"
#define CAP(n) (1ul << (n))
#define CAPS                                                                                       \
    (CAP(CAP_CHOWN) | CAP(CAP_DAC_OVERRIDE) | CAP(CAP_DAC_READ_SEARCH) | CAP(CAP_FOWNER) |         \
     CAP(CAP_FSETID) | CAP(CAP_SETGID) | CAP(CAP_SETUID))

static int make_spec(const struct uvm__plan9_server *p, const char *program, char *buf,
                     size_t bytes, struct uvm__fail *f) {
    int n = snprintf(buf, bytes,
                     "system %s\nsystem /usr/lib\nsystem /lib\nsystem /lib64\n"
                     "text " CONFIG " exports = { { path=\"/%s\"%s } } auth_required = 0 "
                     "userdb = 0\n"
                     "bind " FOLDER " %s /%s\n",
                     program, p->name, p->read_only ? ", opts=\"ro\"" : "",
                     p->read_only ? "ro" : "rw", p->name);

    return n > 0 && (size_t)n < bytes && strchr(program, '\n') == NULL
               ? 0
               : uvm__fail(f, UVM_E_HOST, ENAMETOOLONG, "%.100s: no fit path", program);
}

static const char *files_max(char ret[16]) {
    struct rlimit own;
    bool less = getrlimit(RLIMIT_NOFILE, &own) == 0 && own.rlim_max < FILES_MAX;

    (void)snprintf(ret, 16, "%u", less ? (unsigned)own.rlim_max : FILES_MAX);
    return ret;
}

/* diod gives itself the right to core files, or ends; in its root none can be written. */
static int spawn(uvm_engine *e, const struct uvm__plan9_server *p, const char *program,
                 const char *spec, int socket, struct uvm__child **ret, struct uvm__fail *f) {
    const struct uvm__child_fd fds[] = {{socket, 4}, {p->folder, 5}};
    const char *const argv[] = {program, "-f", "-r", SOCKET, "-w", SOCKET, "-c", CONFIG, NULL};
    char caps[24], files[16];
    const char *options[] = {"--pgroup",       "--any-core", "--no-new-privs",
                             "--caps",         caps,         "--nofile",
                             files_max(files), "--root",     spec,
                             "--deathsig",     "9",          p->cgroup == NULL ? NULL : "--cgroup",
                             p->cgroup,        NULL};
    const struct uvm__child_params params = {
        .launch_path = p->launch_path,
        .name = UVM__DIOD_PROGRAM,
        .argv = argv,
        .launch_args = options,
        .fds = fds,
        .fds_count = 2,
        .capture_stderr = true,
        .on_started = p->on_started,
        .on_exit = p->on_exit,
        .arg = p->arg,
    };

    (void)snprintf(caps, sizeof caps, "%lu", CAPS);
    return uvm__child_spawn(e, &params, ret, f);
}

int uvm__plan9_server_spawn(uvm_engine *e, const struct uvm__plan9_server *params,
                            struct uvm__child **ret, int *ret_socket, struct uvm__fail *f) {
    char program[UVM__QEMU_PATH_BYTES], spec[UVM__QEMU_PATH_BYTES + 1024];
    int pair[2] = {-1, -1};
    int rc = uvm__host_find_diod(params->search_path, program, f);

    UVM_ASSERT(strspn(params->name, "0123456789") == strlen(params->name));
    if (rc == 0 && geteuid() != 0) {
        rc = uvm__fail(f, UVM_E_HOST, EPERM,
                       "Plan9 shares need root here: their server is shut in by mounts");
    }
    rc = rc < 0 ? rc : make_spec(params, program, spec, sizeof spec, f);
    if (rc == 0 && uvm__sock_pair(pair) < 0) {
        rc = uvm__fail(f, UVM_E_LIMIT, errno, "a socket for the 9P server: %s", strerror(errno));
    }
    rc = rc < 0 ? rc : spawn(e, params, program, spec, pair[1], ret, f);
    uvm__close_fd(&pair[1]); /* the server's must be the only one */
    if (rc < 0) {
        uvm__close_fd(&pair[0]);
        return rc;
    }
    *ret_socket = pair[0];
    return 0;
}
