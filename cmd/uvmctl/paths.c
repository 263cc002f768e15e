/* SPDX-License-Identifier: MIT
 * paths.c — folders relative to the program, so that a checkout, an installation and a copy all work.
 *
 * The search order is that of `places` in each function. $UVM_BOOT_FILES replaces the search: a file that
 * is not there is missing, not looked for elsewhere.
 */
#include "cmd/uvmctl/paths.h"
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The folder that this program is in; "." when the kernel does not say. */
static void own_folder(char ret[PATH_BYTES]) {
    ssize_t n = readlink("/proc/self/exe", ret, PATH_BYTES - 1);
    ret[n < 0 ? 0 : n] = 0;
    char *slash = strrchr(ret, '/');
    if (slash == NULL) {
        (void)snprintf(ret, PATH_BYTES, ".");
    } else {
        *(slash == ret ? slash + 1 : slash) = 0;
    }
}

/* "folder/below/name", with `..` in it taken out where the folders exist. */
static bool there(const char *folder, const char *below, const char *name, char ret[PATH_BYTES]) {
    char path[PATH_BYTES];
    int n = snprintf(path, sizeof path, "%s/%s%s", folder, below, name);
    if (n < 0 || (size_t)n >= sizeof path) {
        return false;
    }
    (void)snprintf(ret, PATH_BYTES, "%s", path);
    char *real = realpath(path, NULL);
    if (real == NULL) {
        return false;
    }
    (void)snprintf(ret, PATH_BYTES, "%s", real);
    free(real);
    return true;
}

bool paths_launch(char ret[PATH_BYTES]) {
    static const char *const places[] = {"", "../libexec/uvm/"};
    char folder[PATH_BYTES], path[PATH_BYTES];
    own_folder(folder);
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        if (there(folder, places[i], "uvm-launch", path) && access(path, X_OK) == 0) {
            memcpy(ret, path, sizeof path);
            return true;
        }
    }
    (void)snprintf(ret, PATH_BYTES, "%.4000s/uvm-launch", folder);
    return false;
}

bool paths_boot_file(const char *name, char ret[PATH_BYTES], char *ret_where, size_t bytes) {
    static const char *const places[] = {"../lib/uvm/", "../"};
    char folder[PATH_BYTES];
    const char *set = getenv("UVM_BOOT_FILES");
    if (set != NULL && set[0] != 0) {
        if (ret_where != NULL) {
            (void)snprintf(ret_where, bytes, "%s ($UVM_BOOT_FILES)", set);
        }
        return there(set, "", name, ret);
    }
    own_folder(folder);
    if (ret_where != NULL) {
        (void)snprintf(ret_where, bytes, "%.1000s/%s and %.1000s/%s", folder, places[0], folder,
                       places[1]);
    }
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        if (there(folder, places[i], name, ret)) {
            return true;
        }
    }
    return false;
}
