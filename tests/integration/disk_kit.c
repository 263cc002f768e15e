/* SPDX-License-Identifier: MIT
 * disk_kit.c — see disk_kit.h.
 */
#include "tests/integration/disk_kit.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define IMAGES 64u

static char folder[64];

/* ---- the host ----------------------------------------------------------------------------- */

void host(const char *fmt, ...) {
    struct command_options o = COMMAND_OPTIONS_INIT;
    struct command c;
    char line[1024];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    assert_true(n > 0 && (size_t)n < sizeof line);
    o.folder = folder;
    int status = command_run(&c, &o, LIST("/bin/sh", "-ec", line), SHORT_MS);
    if (status != 0) {
        fail_msg("%s: %d: %s%s", line, status, c.out_text, c.err_text);
    }
    command_free(&c);
}

const char *image(const char *name) {
    static char paths[IMAGES][128];
    static unsigned at;
    char *path = paths[at++ % IMAGES];
    (void)snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

void make_ext4(const char *name, unsigned mb) {
    host("rm -f %s; truncate -s %uM %s; /sbin/mkfs.ext4 -qF %s", name, mb, name, name);
}

void expect_in_image(const char *name, const char *file, const char *text) {
    host("test \"$(/sbin/debugfs -R 'cat %s' %s 2>/dev/null)\" = '%s'", file, name, text);
}

/* ---- the guest ---------------------------------------------------------------------------- */

void guest(int status, const char *out, const char *script) {
    struct command c;
    int got = boot_run(&c, LIST("exec", "demo", "--", "sh", "-c", script));
    if (got != status || strcmp(c.out_text, out) != 0) {
        fail_msg("%s: status %d, \"%s\", \"%s\"", script, got, c.out_text, c.err_text);
    }
    command_free(&c);
}

/* ---- demo's disks ------------------------------------------------------------------------- */

void attach(char ret_id[32], const char *const *words) {
    const char *line[24] = {"attach", "demo", "scsi"};
    struct command c;
    size_t n = 3;
    for (; *words != NULL; words++) {
        line[n++] = *words;
    }
    int status = boot_run(&c, line);
    if (status != 0 || strncmp(c.out_text, "scsi-", 5) != 0) {
        fail_msg("attach %s: %d: %s%s", line[3], status, c.out_text, c.err_text);
    }
    if (ret_id != NULL) {
        (void)snprintf(ret_id, 32, "%.*s", (int)strcspn(c.out_text, " "), c.out_text);
    }
    command_free(&c);
}

void detach(const char *id) {
    expect(0, "", NULL, LIST("detach", "demo", id));
}

void expect_no_disks(void) {
    struct command c;
    bool none = false;
    for (int i = 0; i < 100 && !none; i++) {
        assert_int_equal(boot_run(&c, LIST("devices", "demo", "--json")), 0);
        none = strstr(c.out_text, "\"internal\":false") == NULL;
        if (!none && i == 99) {
            fail_msg("left: %s", c.out_text);
        }
        command_free(&c);
        pause_ms(none ? 0 : 50);
    }
    guest(1, "", "mount | grep ^/dev/sd | grep -v /run/uvm/tools");
}

void disks_open(char **argv) {
    kit_open(argv);
    (void)setenv("UVM_STATE_DIR", kit.state, 1);
    (void)snprintf(folder, sizeof folder, "/tmp/uvm_disksXXXXXX");
    assert_non_null(mkdtemp(folder));
}

void disks_close(void) {
    host("rm -rf %s", folder);
    kit_close();
}
