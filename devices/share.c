/* SPDX-License-Identifier: MIT
 * share.c — see share.h.
 */
#include "devices/share.h"
#include "devices/device_int.h"
#include <string.h>

static int check_files(const struct uvm__share_params *p, struct uvm__fail *f) {
    for (size_t i = 0; p->files != NULL && p->files[i] != NULL; i++) {
        const char *name = p->files[i];
        if (i == UVM__SHARE_FILES_MAX) {
            return uvm__fail(f, UVM_E_LIMIT, 0, "files: more than %u", UVM__SHARE_FILES_MAX);
        }
        int rc = uvm__check_text("files", name, UVM__SHARE_FILE_NAME_BYTES_MAX, f);
        if (rc < 0) {
            return rc;
        }
        if (strchr(name, '/') != NULL || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
            return uvm__fail(f, UVM_E_INVAL, 0,
                             "files: \"%.100s\" is no name of a file in the folder", name);
        }
        for (size_t k = 0; k < i; k++) {
            if (strcmp(p->files[k], name) == 0) {
                return uvm__fail(f, UVM_E_INVAL, 0, "files: \"%.100s\" is there twice", name);
            }
        }
    }
    return 0;
}

int uvm__share_check(const struct uvm__share_params *p, struct uvm__fail *f) {
    int rc = uvm__check_host_path(p->host_path, f);
    if (rc == 0 && p->guest_path != NULL) {
        rc = uvm__check_guest_path(p->guest_path, f);
    }
    rc = rc < 0 ? rc : check_files(p, f);
    if (rc < 0) {
        return rc;
    }
    const char *name = uvm__share_file_name(p->host_path);
    bool named = name[strspn(name, ".")] != 0 || strlen(name) > 2;
    if (p->file && (!named || p->host_path[strlen(p->host_path) - 1] == '/')) {
        return uvm__fail(f, UVM_E_INVAL, 0, "host_path: \"%.100s\" names no file", p->host_path);
    }
    if (p->file && p->files != NULL && p->files[0] != NULL) {
        return uvm__fail(f, UVM_E_INVAL, 0, "files: \"%.100s\" is one file itself", p->host_path);
    }
    return 0;
}

static char *put_path(char **at, const char *path) {
    char *copy = *at, *to = *at;
    for (const char *p = path; *p != 0; p++) {
        if (*p != '/' || (p[1] != '/' && (p[1] != 0 || to == copy))) {
            *to++ = *p;
        }
    }
    *to++ = 0;
    *at = to;
    return copy;
}

struct uvm__share_params *uvm__share_copy(uvm_engine *e, const struct uvm__share_params *p) {
    size_t count = 0, bytes = strlen(p->host_path) + 2;
    bytes += p->guest_path == NULL ? 0 : strlen(p->guest_path) + 2;
    for (; p->files != NULL && p->files[count] != NULL; count++) {
        bytes += strlen(p->files[count]) + 1;
    }
    struct uvm__share_params *c = uvm__alloc(e, sizeof *c + (count + 1) * sizeof(char *) + bytes);
    if (c == NULL) {
        return NULL;
    }
    *c = *p;
    const char **files = (const char **)(c + 1);
    char *at = (char *)(files + count + 1);
    for (size_t i = 0; i < count; i++) {
        size_t n = strlen(p->files[i]) + 1;
        files[i] = memcpy(at, p->files[i], n);
        at += n;
    }
    files[count] = NULL;
    c->files = files;
    c->host_path = put_path(&at, p->host_path);
    c->guest_path = p->guest_path == NULL ? NULL : put_path(&at, p->guest_path);
    return c;
}

bool uvm__share_same_key(const struct uvm__share_params *a, const struct uvm__share_params *b) {
    return a->read_only == b->read_only && a->file == b->file &&
           strcmp(a->host_path, b->host_path) == 0;
}

/* None is there twice. */
bool uvm__share_same_files(const struct uvm__share_params *a, const struct uvm__share_params *b) {
    size_t na = 0, nb = 0;
    while (b->files[nb] != NULL) {
        nb++;
    }
    for (; a->files[na] != NULL; na++) {
        size_t k = 0;
        while (k < nb && strcmp(a->files[na], b->files[k]) != 0) {
            k++;
        }
        if (k == nb) {
            return false;
        }
    }
    return na == nb;
}

size_t uvm__share_folder_bytes(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash == NULL || slash == path ? 1 : (size_t)(slash - path);
}

const char *uvm__share_file_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}
