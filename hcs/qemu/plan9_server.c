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
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "async/alloc.h"
#include "async/check.h"
#include "async/cleanup.h"
#include "async/sock.h"
#include "hcs/qemu/host.h"
#include "hcs/qemu/onefs/onefs_data.h"

#define SOCKET "4" /* in the child */
#define SERVED 5   /* the folder; or onefs, and the files behind it */
#define ONEFS "/etc/onefs.so"
#define FILES_MAX 65536u
#define CONFIG "/etc/diod.conf"
#define CAP(n) (1ul << (n))
#define CAPS                                                                                       \
    (CAP(CAP_CHOWN) | CAP(CAP_DAC_OVERRIDE) | CAP(CAP_DAC_READ_SEARCH) | CAP(CAP_FOWNER) |         \
     CAP(CAP_FSETID) | CAP(CAP_SETGID) | CAP(CAP_SETUID))

/* ---- the root's description --------------------------------------------------------------- */

#define LINE_BYTES 512u /* of one file: its name has 255 */

struct spec {
    char *text;
    size_t used, room;
};

__attribute__((format(printf, 2, 3))) static void put(struct spec *s, const char *fmt, ...) {
    va_list ap;

    va_start(ap, fmt);
    int n = vsnprintf(s->text + s->used, s->room - s->used, fmt, ap);
    va_end(ap);
    UVM_ASSERT(n > 0 && (size_t)n < s->room - s->used);
    s->used += (size_t)n;
}

/* Of the engine; NULL: no memory. */
static char *make_spec(uvm_engine *e, const struct uvm__plan9_server *p, const char *program) {
    const char *mode = p->read_only ? "ro" : "rw";
    struct spec s = {.room = UVM__QEMU_PATH_BYTES + 1024 + p->files_count * LINE_BYTES};

    s.text = uvm__alloc(e, s.room);
    if (s.text == NULL) {
        return NULL;
    }
    put(&s, "system %s\nsystem /usr/lib\nsystem /lib\nsystem /lib64\n", program);
    put(&s, "text " CONFIG " exports = { { path=\"/%s\"%s } } auth_required = 0 userdb = 0\n",
        p->name, p->read_only ? ", opts=\"ro\"" : "");
    if (p->files_count == 0) {
        put(&s, "bind %d %s /%s\n", SERVED, mode, p->name);
    } else {
        put(&s, "data %d " ONEFS "\n", SERVED);
    }
    for (size_t i = 0; i < p->files_count; i++) {
        put(&s, "bind %zu %s /%s/%s\n", SERVED + 1 + i, mode, p->name, p->files[i].name);
    }
    return s.text;
}

/* ---- the process -------------------------------------------------------------------------- */

static const char *files_max(char ret[16]) {
    struct rlimit own;
    bool less = getrlimit(RLIMIT_NOFILE, &own) == 0 && own.rlim_max < FILES_MAX;

    (void)snprintf(ret, 16, "%u", less ? (unsigned)own.rlim_max : FILES_MAX);
    return ret;
}

/* diod gives itself the right to core files, or ends; in its root none can be written. */
static int spawn(uvm_engine *e, const struct uvm__plan9_server *p, const char *program,
                 const char *spec, const int fds[2], struct uvm__child **ret, struct uvm__fail *f) {
    static const char *const preload[] = {"LD_PRELOAD=" ONEFS, NULL};
    struct uvm__child_fd list[2 + UVM__PLAN9_FILES_MAX] = {{fds[0], SERVED - 1}, {fds[1], SERVED}};
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
        .envp = p->files_count > 0 ? preload : NULL,
        .fds = list,
        .fds_count = 2 + p->files_count,
        .capture_stderr = true,
        .on_started = p->on_started,
        .on_exit = p->on_exit,
        .arg = p->arg,
    };

    UVM_ASSERT_CMP(p->files_count, <=, UVM__PLAN9_FILES_MAX);
    for (size_t i = 0; i < p->files_count; i++) {
        list[2 + i] = (struct uvm__child_fd){p->files[i].fd, (int)(SERVED + 1 + i)};
    }
    (void)snprintf(caps, sizeof caps, "%lu", CAPS);
    return uvm__child_spawn(e, &params, ret, f);
}

static int start(uvm_engine *e, const struct uvm__plan9_server *p, const char *program, int socket,
                 struct uvm__child **ret, struct uvm__fail *f) {
    UVM_CLEANUP_FD int onefs = -1;
    int rc = p->files_count == 0 ? 0 : uvm__host_blob(uvm__onefs, sizeof uvm__onefs, &onefs, f);
    char *spec = rc < 0 ? NULL : make_spec(e, p, program);

    if (rc == 0) {
        const int fds[] = {socket, p->files_count == 0 ? p->folder : onefs};
        rc = spec == NULL ? uvm__fail(f, UVM_E_NOMEM, 0, "the 9P server: out of memory")
                          : spawn(e, p, program, spec, fds, ret, f);
    }
    uvm__free(e, spec);
    return rc;
}

int uvm__plan9_server_spawn(uvm_engine *e, const struct uvm__plan9_server *params,
                            struct uvm__child **ret, int *ret_socket, struct uvm__fail *f) {
    char program[UVM__QEMU_PATH_BYTES];
    int pair[2] = {-1, -1};
    int rc = uvm__host_find_diod(params->search_path, program, f);

    UVM_ASSERT(strspn(params->name, "0123456789") == strlen(params->name));
    if (rc == 0 && geteuid() != 0) {
        rc = uvm__fail(f, UVM_E_HOST, EPERM,
                       "Plan9 shares need root here: their server is shut in by mounts");
    }
    if (rc == 0 && uvm__sock_pair(pair) < 0) {
        rc = uvm__fail(f, UVM_E_LIMIT, errno, "a socket for the 9P server: %s", strerror(errno));
    }
    rc = rc < 0 ? rc : start(e, params, program, pair[1], ret, f);
    uvm__close_fd(&pair[1]); /* the server's must be the only one */
    if (rc < 0) {
        uvm__close_fd(&pair[0]);
        return rc;
    }
    *ret_socket = pair[0];
    return 0;
}
