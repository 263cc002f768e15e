/* SPDX-License-Identifier: MIT
 *
 * A program's folder. The agent looks a program up itself, in its own PATH and as itself, because that is
 * what the reference does: the answer to a start tells "not found" apart before anything was forked.
 * What is found may be gone when the helper execs it; that is then the helper's error.
 */
#include "cmd/gcs/lookpath.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* 0: can be executed; else an errno. */
static int probe(const char *file) {
    struct stat st;

    if (stat(file, &st) < 0) {
        return errno;
    }
    if (S_ISDIR(st.st_mode)) {
        return EISDIR;
    }
    if (faccessat(AT_FDCWD, file, X_OK, AT_EACCESS) < 0) {
        return errno;
    }
    return (st.st_mode & 0111) != 0 ? 0 : EACCES;
}

int gcs_lookpath(const char *name, const char *path, char *ret_dir, size_t bytes) {
    char file[PATH_MAX];
    int result = -UVM_E_NOTFOUND;

    for (const char *end; path != NULL; path = *end == '\0' ? NULL : end + 1) {
        size_t dir_bytes;
        int n, err;

        end = strchrnul(path, ':');
        dir_bytes = (size_t)(end - path);
        if (path[0] != '/' || dir_bytes >= bytes) {
            continue;
        }
        n = snprintf(file, sizeof file, "%.*s/%s", (int)dir_bytes, path, name);
        if (n < 0 || (size_t)n >= sizeof file) {
            continue;
        }
        err = probe(file);
        if (err == 0) {
            memcpy(ret_dir, path, dir_bytes);
            ret_dir[dir_bytes] = '\0';
            return 0;
        }
        if (err == EACCES) {
            result = -UVM_E_PEER;
        }
    }
    return result;
}
