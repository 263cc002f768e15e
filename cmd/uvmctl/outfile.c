/* SPDX-License-Identifier: MIT
 * outfile.c — opens what is to be written, and nothing that a name might stand for besides a file.
 */
#include "cmd/uvmctl/outfile.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int outfile_open(const char *path, char *why, size_t bytes) {
    struct stat st;
    /* Emptied only once it is known to be a file. */
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600);
    if (fd < 0) {
        (void)snprintf(why, bytes, "%s", errno == EISDIR ? "is a directory" : strerror(errno));
        return -1;
    }
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        (void)snprintf(why, bytes, "is no regular file");
    } else if (ftruncate(fd, 0) != 0) {
        (void)snprintf(why, bytes, "%s", strerror(errno));
    } else {
        return fd;
    }
    close(fd);
    return -1;
}
