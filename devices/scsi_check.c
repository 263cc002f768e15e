/* SPDX-License-Identifier: MIT
 * scsi_check.c — what is asked of a disk: checked in words, copied, compared.
 *
 * Everything that can be told without the guest is refused here, before anything has happened: guest paths
 * that are relative, climb, or hold what no path should; options that contradict each other.
 */
#include "devices/scsi_int.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* The length of a UTF-8 sequence at `s`; 0: it is none. */
static size_t sequence(const unsigned char *s) {
    size_t n = s[0] < 0x80 ? 1 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : (s[0] & 0xf0) == 0xe0 ? 3 : 0;
    n = s[0] >= 0xf0 && s[0] < 0xf5 ? 4 : n;
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    bool overlong = (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xf0 && s[1] < 0x90);
    bool outside = (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf4 && s[1] > 0x8f);
    return overlong || outside ? 0 : n;
}

int uvm__check_text(const char *what, const char *text, size_t bytes_max, struct uvm__fail *f) {
    size_t len = strnlen(text, bytes_max + 1);
    if (len == 0) {
        return uvm__fail(f, UVM_E_INVAL, 0, "%s: it is empty", what);
    }
    if (len > bytes_max) {
        return uvm__fail(f, UVM_E_LIMIT, 0, "%s: it has more than %zu bytes", what, bytes_max);
    }
    for (size_t i = 0; i < len;) {
        unsigned char c = (unsigned char)text[i];
        size_t n = sequence((const unsigned char *)text + i);
        if (c < 0x20 || c == 0x7f || n == 0) {
            return uvm__fail(f, UVM_E_INVAL, 0, "%s: it has %s at byte %zu", what,
                             n == 0 ? "something that is not UTF-8" : "a control character", i);
        }
        i += n;
    }
    return 0;
}

static int check_absolute(const char *what, const char *path, struct uvm__fail *f) {
    if (path[0] != '/') {
        return uvm__fail(f, UVM_E_INVAL, 0, "%s: \"%.100s\" does not begin with /", what, path);
    }
    return 0;
}

int uvm__check_guest_path(const char *path, struct uvm__fail *f) {
    int rc = uvm__check_text("guest_path", path, UVM__DISK_GUEST_PATH_BYTES_MAX, f);
    rc = rc < 0 ? rc : check_absolute("guest_path", path, f);
    if (rc < 0) {
        return rc;
    }
    bool named = false;
    for (const char *p = path; *p != 0;) {
        size_t n = strcspn(p, "/");
        if ((n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.')) {
            return uvm__fail(f, UVM_E_INVAL, 0, "guest_path: \"%.100s\" has a part \"%.*s\"", path,
                             (int)n, p);
        }
        named = named || n > 0;
        p += n + (p[n] == '/');
    }
    return named ? 0 : uvm__fail(f, UVM_E_INVAL, 0, "guest_path: / is the guest's own");
}

static int check_options(const char *const *options, struct uvm__fail *f) {
    for (size_t i = 0; options != NULL && options[i] != NULL; i++) {
        if (i == UVM__DISK_OPTIONS_MAX) {
            return uvm__fail(f, UVM_E_LIMIT, 0, "options: more than %u", UVM__DISK_OPTIONS_MAX);
        }
        int rc = uvm__check_text("options", options[i], UVM__DISK_OPTION_BYTES_MAX, f);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

static int check_verity(const struct uvm__scsi_params *p, struct uvm__fail *f) {
    size_t n = strnlen(p->verity, UVM__DISK_VERITY_BYTES + 1);
    if (n != UVM__DISK_VERITY_BYTES || strspn(p->verity, "0123456789abcdefABCDEF") != n) {
        return uvm__fail(f, UVM_E_INVAL, 0,
                         "verity: the root hash is not %u hexadecimal digits (sha256)",
                         UVM__DISK_VERITY_BYTES);
    }
    if (!p->read_only || !(p->mount || p->guest_path != NULL)) {
        return uvm__fail(f, UVM_E_INVAL, 0, "verity: what is checked is read-only and mounted");
    }
    return 0;
}

static int check_combination(const struct uvm__scsi_params *p, struct uvm__fail *f) {
    bool mounts = p->mount || p->guest_path != NULL;
    bool of_mount = p->partition != 0 || (p->options != NULL && p->options[0] != NULL) ||
                    p->filesystem != NULL || p->ensure_filesystem || p->block_dev || p->encrypted;
    bool fs = p->filesystem != NULL || p->ensure_filesystem || p->encrypted;
    const char *what = NULL;
    if (!mounts && of_mount) {
        what = "mount: options of a mount are given, but none is asked for";
    } else if (p->block_dev && fs) {
        what = "block_dev: a link to the device has no file system";
    } else if (p->ensure_filesystem && p->filesystem == NULL) {
        what = "ensure_filesystem: which one is not said (filesystem)";
    } else if (p->read_only && (p->ensure_filesystem || p->encrypted)) {
        what = "read_only: what is read-only cannot be formatted or encrypted";
    }
    return what == NULL ? 0 : uvm__fail(f, UVM_E_INVAL, 0, "%s", what);
}

int uvm__check_host_path(const char *path, struct uvm__fail *f) {
    if (path == NULL) {
        return uvm__fail(f, UVM_E_INVAL, 0, "host_path: no path was given");
    }
    int rc = uvm__check_text("host_path", path, UVM__DISK_HOST_PATH_BYTES_MAX, f);
    return rc < 0 ? rc : check_absolute("host_path", path, f);
}

int uvm__scsi_check(const struct uvm__scsi_params *p, struct uvm__fail *f) {
    int rc = uvm__check_host_path(p->host_path, f);
    if (rc == 0 && p->guest_path != NULL) {
        rc = uvm__check_guest_path(p->guest_path, f);
    }
    if (rc == 0 && p->filesystem != NULL) {
        rc = uvm__check_text("filesystem", p->filesystem, UVM__DISK_FILESYSTEM_BYTES_MAX, f);
    }
    rc = rc < 0 ? rc : check_options(p->options, f);
    if (rc == 0 && p->verity != NULL) {
        rc = check_verity(p, f);
    }
    return rc < 0 ? rc : check_combination(p, f);
}

/* ---- copying ------------------------------------------------------------------------------ */

static size_t bytes_of(const char *text) {
    return text == NULL ? 0 : strlen(text) + 1;
}

static const char *put(char **at, const char *text) {
    if (text == NULL) {
        return NULL;
    }
    char *copy = *at;
    memcpy(copy, text, strlen(text) + 1);
    *at += strlen(text) + 1;
    return copy;
}

static const char *put_path(char **at, const char *path) {
    if (path == NULL) {
        return NULL;
    }
    char *copy = *at, *to = *at;
    for (const char *p = path; *p != 0; p++) {
        if (*p != '/' || (p[1] != '/' && p[1] != 0)) {
            *to++ = *p;
        }
    }
    *to++ = 0;
    *at = to;
    return copy;
}

struct uvm__scsi_params *uvm__scsi_copy(uvm_engine *e, const struct uvm__scsi_params *p) {
    size_t count = 0, bytes = 0;
    for (; p->options != NULL && p->options[count] != NULL; count++) {
        bytes += bytes_of(p->options[count]);
    }
    bytes += bytes_of(p->host_path) + bytes_of(p->guest_path) + bytes_of(p->filesystem);
    bytes += bytes_of(p->verity);
    struct uvm__scsi_params *c = uvm__alloc(e, sizeof *c + (count + 1) * sizeof(char *) + bytes);
    if (c == NULL) {
        return NULL;
    }
    *c = *p;
    const char **vector = (const char **)(c + 1);
    char *at = (char *)(vector + count + 1);
    for (size_t i = 0; i < count; i++) {
        vector[i] = put(&at, p->options[i]);
    }
    vector[count] = NULL;
    c->options = vector;
    c->host_path = put(&at, p->host_path);
    c->guest_path = put_path(&at, p->guest_path);
    c->filesystem = put(&at, p->filesystem);
    c->verity = put(&at, p->verity);
    c->mount = p->mount || p->guest_path != NULL;
    return c;
}

/* ---- comparing ---------------------------------------------------------------------------- */

static size_t count_of(const char *const *list, const char *text) {
    size_t n = 0;
    for (; *list != NULL; list++) {
        n += strcasecmp(*list, text) == 0;
    }
    return n;
}

static bool same_options(const char *const *a, const char *const *b) {
    size_t na = 0, nb = 0;
    for (; a[na] != NULL; na++) {
        if (count_of(a, a[na]) != count_of(b, a[na])) {
            return false;
        }
    }
    while (b[nb] != NULL) {
        nb++;
    }
    return na == nb;
}

bool uvm__scsi_same_verity(const char *a, const char *b) {
    return strcasecmp(a == NULL ? "" : a, b == NULL ? "" : b) == 0;
}

bool uvm__scsi_same_mount(const struct uvm__scsi_params *a, const struct uvm__scsi_params *b) {
    const char *fa = a->filesystem == NULL ? "" : a->filesystem;
    const char *fb = b->filesystem == NULL ? "" : b->filesystem;
    static const char *const none[] = {NULL};
    return a->mount == b->mount && a->partition == b->partition && a->block_dev == b->block_dev &&
           a->encrypted == b->encrypted && a->ensure_filesystem == b->ensure_filesystem &&
           strcmp(fa, fb) == 0 && uvm__scsi_same_verity(a->verity, b->verity) &&
           same_options(a->options == NULL ? none : a->options,
                        b->options == NULL ? none : b->options);
}
