/* SPDX-License-Identifier: MIT
 * open_anew.h — a second open file of what a descriptor leads to.
 *
 * O_NONBLOCK belongs to the open file, which an inherited descriptor shares with others: who wants not to
 * wait opens anew. Only for pipes and terminals (but no pty's master, which would become another terminal);
 * a socket cannot be opened, and a file's place would not be shared any more.
 */
#pragma once
#include <fcntl.h>
#include <stdio.h>

/* `flags` beside O_NONBLOCK, O_NOCTTY and O_CLOEXEC. Negative: errno says why. */
static inline int uvm__open_anew(int fd, int flags) {
    char path[32];
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return open(path, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}
