/* SPDX-License-Identifier: MIT
 * detach_kit.c — see detach_kit.h.
 */
#include "tests/integration/detach_kit.h"
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of UVMs; the memory of those that ended is no remains. */
int entries(void) {
    DIR *d = opendir(kit.state);
    int n = 0;
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 &&
             strcmp(e->d_name, ".ended") != 0;
    }
    if (d != NULL) {
        closedir(d);
    }
    return n;
}

/* Runs it; its status must be this one. */
void expect(int status, const char *out, const char *err, const char *const *words) {
    struct command c;
    int got = boot_run(&c, words);
    if (got != status || (out != NULL && strstr(c.out_text, out) == NULL) ||
        (err != NULL && strstr(c.err_text, err) == NULL)) {
        fail_msg("%s: status %d, not %d; stdout \"%s\", stderr \"%s\"", words[0], got, status,
                 c.out_text, c.err_text);
    }
    command_free(&c);
}

pid_t owner_of(const char *name) {
    struct command c;
    char key[80];
    assert_int_equal(boot_run(&c, LIST("ps", "--json")), 0);
    (void)snprintf(key, sizeof key, "\"name\":\"%s\"", name);
    const char *at = strstr(c.out_text, key);
    at = at == NULL ? NULL : strstr(at, "\"owner_pid\":");
    pid_t pid = at == NULL ? -1 : (pid_t)strtol(at + 12, NULL, 10);
    command_free(&c);
    return pid;
}

int boot_demo(void **state) {
    (void)state;
    expect(0, "demo\n", NULL, LIST("boot", "--detach", "--name", "demo", "--memory", "128M"));
    return 0;
}

/* Nothing but what is remembered of ends, and that can be forgotten. */
int nothing_left(void **state) {
    assert_int_equal(entries(), 0);
    expect(0, NULL, NULL, LIST("gc"));
    return kit_check(state);
}
