/* SPDX-License-Identifier: MIT
 * plan9_server.c — see plan9_server.h.
 *
 * The root that diod begins in: its program and the system's libraries, read-only; a configuration; and the share at
 * "/NAME", which is the name that it exports. diod serves as root, since files have owners; what it keeps of
 * root's power is for files only.
 */
#include "hcs/qemu/plan9_server.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "async/alloc.h"
#include "async/check.h"
#include "async/cleanup.h"
#include "async/sock.h"
#include "hcs/qemu/qemu_int.h"

#define SOCKET_TARGET 4 /* in the child; the folder or the files come behind it */
#define FILES_MAX 65536u
#define CONFIG "/etc/diod.conf"
#define CAP(n) (1ul << (n))
#define CAPS                                                                                       \
    (CAP(CAP_CHOWN) | CAP(CAP_DAC_OVERRIDE) | CAP(CAP_DAC_READ_SEARCH) | CAP(CAP_FOWNER) |         \
     CAP(CAP_FSETID) | CAP(CAP_SETGID) | CAP(CAP_SETUID))

/* ---- what is shared ----------------------------------------------------------------------- */

static int open_failed(struct uvm__fail *f, const char *path, const char *name) {
    int err = errno;

    return uvm__fail(f,
                     err == ENOENT    ? UVM_E_NOTFOUND
                     : err == ENOTDIR ? UVM_E_INVAL
                                      : UVM_E_IO,
                     err, "share %.140s%s%.100s: %s", path, name[0] == '\0' ? "" : ": ", name,
                     err == ENOTDIR ? "no folder; share the one that it is in, with this file "
                                      "allowed"
                                    : strerror(err));
}

static int open_file(struct uvm__plan9_view *v, const char *path, const char *name,
                     struct uvm__fail *f) {
    struct uvm__plan9_file *file = &v->files[v->files_count];
    struct stat st;

    file->fd = openat(v->folder, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (file->fd < 0 || fstat(file->fd, &st) < 0) {
        int rc = open_failed(f, path, name);
        uvm__close_fd(&file->fd);
        return rc;
    }
    file->name = uvm__strdup(v->engine, name);
    v->files_count++;
    if (file->name == NULL) {
        return uvm__fail(f, UVM_E_NOMEM, 0, "share %.140s: out of memory", path);
    }
    return S_ISREG(st.st_mode)
               ? 0
               : uvm__fail(f, UVM_E_INVAL, 0, "share %.140s: %.100s: %s", path, name,
                           S_ISLNK(st.st_mode) ? "is a symbolic link; allow the file itself"
                                               : "no regular file");
}

int uvm__plan9_view_open(uvm_engine *e, const struct uvm__doc_plan9_share *share,
                         struct uvm__plan9_view *ret, struct uvm__fail *f) {
    size_t count = share->allowed_files_count;
    int rc = 0;

    UVM_ASSERT(ret->folder < 0 && count <= UVM__PLAN9_FILES_MAX);
    ret->engine = e;
    ret->folder = open(share->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (ret->folder < 0) {
        return open_failed(f, share->path, "");
    }
    if (count > 0) {
        ret->files = uvm__zalloc(e, count * sizeof *ret->files);
        rc = ret->files != NULL
                 ? 0
                 : uvm__fail(f, UVM_E_NOMEM, 0, "share %.140s: out of memory", share->path);
    }
    for (size_t i = 0; rc == 0 && i < count; i++) {
        rc = open_file(ret, share->path, share->allowed_files[i], f);
    }
    if (rc < 0) {
        uvm__plan9_view_close(ret);
    }
    return rc;
}

void uvm__plan9_view_close(struct uvm__plan9_view *v) {
    uvm__close_fd(&v->folder);
    for (size_t i = 0; i < v->files_count; i++) {
        uvm__close_fd(&v->files[i].fd);
        uvm__free(v->engine, v->files[i].name);
    }
    if (v->files != NULL) {
        uvm__free(v->engine, UVM_TAKE_PTR(v->files));
    }
    v->files_count = 0;
}

/* ---- the root's description --------------------------------------------------------------- */

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
    const struct uvm__plan9_view *v = p->view;
    const char *mode = v->read_only ? "ro" : "rw";
    struct spec s = {.room = 1024 + strlen(program) + v->files_count * 512};

    s.text = uvm__alloc(e, s.room);
    if (s.text == NULL) {
        return NULL;
    }
    put(&s, "system %s\nsystem /usr/lib\nsystem /lib\nsystem /lib64\n", program);
    put(&s, "text " CONFIG " exports = { { path=\"/%s\"%s } } auth_required = 0 userdb = 0\n",
        p->access_name, v->read_only ? ", opts=\"ro\"" : "");
    if (v->files_count == 0) {
        put(&s, "bind %d %s /%s\n", SOCKET_TARGET + 1, mode, p->access_name);
    }
    for (size_t i = 0; i < v->files_count; i++) {
        put(&s, "bind %zu %s /%s/%s\n", SOCKET_TARGET + 1 + i, mode, p->access_name,
            v->files[i].name);
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

static int spawn(uvm_engine *e, const struct uvm__plan9_server *p, const char *program,
                 const char *spec, int socket, struct uvm__child **ret, struct uvm__fail *f) {
    const struct uvm__plan9_view *v = p->view;
    struct uvm__child_fd fds[1 + UVM__PLAN9_FILES_MAX] = {{socket, SOCKET_TARGET},
                                                          {v->folder, SOCKET_TARGET + 1}};
    const char *const argv[] = {program, "-f", "-r", "4", "-w", "4", "-c", CONFIG, NULL};
    const char *options[20];
    char caps[24], files[16];
    size_t n = 0;

    for (size_t i = 0; i < v->files_count; i++) {
        fds[1 + i] = (struct uvm__child_fd){v->files[i].fd, (int)(SOCKET_TARGET + 1 + i)};
    }
    (void)snprintf(caps, sizeof caps, "%lu", CAPS);
    options[n++] = "--pgroup";
    options[n++] =
        "--any-core"; /* diod gives itself that, or ends; where it is, none can be written */
    options[n++] = "--no-new-privs";
    options[n++] = "--caps";
    options[n++] = caps;
    options[n++] = "--nofile";
    options[n++] = files_max(files);
    options[n++] = "--root";
    options[n++] = spec;
    options[n++] = "--deathsig";
    options[n++] = "9";
    if (p->cgroup != NULL) {
        options[n++] = "--cgroup";
        options[n++] = p->cgroup;
    }
    options[n] = NULL;
    const struct uvm__child_params params = {
        .launch_path = p->service->launch_path,
        .name = UVM__DIOD_PROGRAM,
        .argv = argv,
        .launch_args = options,
        .fds = fds,
        .fds_count = 1 + (v->files_count == 0 ? 1 : v->files_count),
        .capture_stderr = true,
        .on_started = p->on_started,
        .on_exit = p->on_exit,
        .arg = p->arg,
    };
    return uvm__child_spawn(e, &params, ret, f);
}

int uvm__plan9_server_spawn(uvm_engine *e, const struct uvm__plan9_server *params,
                            struct uvm__child **ret, int *ret_socket, struct uvm__fail *f) {
    char program[UVM__QEMU_PATH_BYTES];
    int pair[2] = {-1, -1};
    int rc = uvm__host_find_diod(params->service->search_path, program, f);

    if (rc == 0 && geteuid() != 0) {
        rc = uvm__fail(f, UVM_E_HOST, EPERM,
                       "Plan9 shares need root here: their server is shut in by mounts");
    }
    char *spec = rc < 0 ? NULL : make_spec(e, params, program);
    if (rc == 0 && (spec == NULL || uvm__sock_pair(pair) < 0)) {
        rc = uvm__fail(f, spec == NULL ? UVM_E_NOMEM : UVM_E_LIMIT, errno,
                       "share: its server's socket cannot be made");
    }
    rc = rc < 0 ? rc : spawn(e, params, program, spec, pair[1], ret, f);
    uvm__free(e, spec);
    uvm__close_fd(&pair[1]); /* its end must be the only one */
    if (rc < 0) {
        uvm__close_fd(&pair[0]);
        return rc;
    }
    *ret_socket = pair[0];
    return 0;
}

/* ---- copies ------------------------------------------------------------------------------- */

static const char *keep(char **at, const char *text) {
    size_t bytes = strlen(text) + 1;
    char *copy = memcpy(*at, text, bytes);

    *at += bytes;
    return copy;
}

int uvm__plan9_share_copy(uvm_engine *e, const struct uvm__doc_plan9_share *from,
                          struct uvm__doc_plan9_share *ret, char **ret_words) {
    size_t count = from->allowed_files_count;
    size_t bytes = count * sizeof(char *) + strlen(from->name) + strlen(from->access_name) +
                   strlen(from->path) + 3;

    for (size_t i = 0; i < count; i++) {
        bytes += strlen(from->allowed_files[i]) + 1;
    }
    char *block = uvm__alloc(e, bytes);
    if (block == NULL) {
        return -UVM_E_NOMEM;
    }
    const char **files = (const char **)(void *)block;
    char *at = block + count * sizeof(char *);
    *ret = *from;
    ret->name = keep(&at, from->name);
    ret->access_name = keep(&at, from->access_name);
    ret->path = keep(&at, from->path);
    for (size_t i = 0; i < count; i++) {
        files[i] = keep(&at, from->allowed_files[i]);
    }
    ret->allowed_files = files;
    *ret_words = block;
    return 0;
}
