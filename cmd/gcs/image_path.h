/* SPDX-License-Identifier: MIT
 * image_path.h — where the guest's image is when the root is a disk. Header only.                 */
#pragma once
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#define UVM__IMAGE "/run/uvm/image"

/* `path` itself where it exists or the image has no such file either, else the image's, in `buf`. */
static inline const char *uvm__image_path(const char *path, char buf[PATH_MAX]) {
    if (path[0] != '/' || access(path, F_OK) == 0 ||
        snprintf(buf, PATH_MAX, UVM__IMAGE "%s", path) >= PATH_MAX || access(buf, F_OK) < 0) {
        return path;
    }
    return buf;
}
