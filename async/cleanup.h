/* SPDX-License-Identifier: MIT
 * cleanup.h — scope-bound release and explicit hand-over of descriptors and pointers.
 */
#pragma once
#include <fcntl.h>
#include <unistd.h>

static inline void uvm__close_fd(int *fd) {
    if (*fd >= 0) {
        close(*fd);
        *fd = -1;
    }
}
#define UVM_CLEANUP_FD __attribute__((cleanup(uvm__close_fd)))

/* Gives the value away and leaves -1 (or NULL) behind. */
#define UVM_TAKE_FD(fd)                                                                            \
    __extension__({                                                                                \
        int uvm__taken_fd = (fd);                                                                  \
        (fd) = -1;                                                                                 \
        uvm__taken_fd;                                                                             \
    })
#define UVM_TAKE_PTR(p)                                                                            \
    __extension__({                                                                                \
        __typeof__(p) uvm__taken_ptr = (p);                                                        \
        (p) = NULL;                                                                                \
        uvm__taken_ptr;                                                                            \
    })

/* A CLOEXEC duplicate; negative: not a descriptor, or none left. */
static inline int uvm__dup_fd(int fd) {
    return fcntl(fd, F_DUPFD_CLOEXEC, 3);
}
