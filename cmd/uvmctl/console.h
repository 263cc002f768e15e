/* SPDX-License-Identifier: MIT
 * console.h — a guest's console on our standard output, without ever waiting for a slow reader.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#define CONSOLE_QUEUE_BYTES 65536u /* what a reader may lag behind; more is dropped */

struct console {
    uv_poll_t poll;
    bool polled, waiting, closed;
    int fd;
    void (*on_gone)(void *arg);
    void *arg;
    size_t len;
    char queue[CONSOLE_QUEUE_BYTES];
};

/* NULL: no memory. A file that cannot be polled is written at once. `on_gone` runs once when nobody
 * reads any more; what is written after that is dropped. */
struct console *console_open(uv_loop_t *loop, int fd, void (*on_gone)(void *arg), void *arg);
void console_write(struct console *c, const void *data, size_t bytes);
void console_close(struct console *c); /* writes what it can, frees; accepts NULL */
