/* SPDX-License-Identifier: MIT
 * fdio_linux.h — a borrowed descriptor read or written without blocking and without changing its
 * flags.
 *
 * O_NONBLOCK belongs to the open file description, which others may share (a shell's terminal, a
 * pipe inherited by a whole pipeline), so it is never set on what we were given. Instead: pipes
 * and terminals are opened anew through /proc/self/fd; sockets are used with MSG_DONTWAIT;
 * regular files and devices that cannot be polled are always ready; what is left is read and
 * written only after poll said so, and written in pieces of at most PIPE_BUF, with RWF_NOWAIT
 * where the kernel takes it. A write to a pipe without a reader is -UVM_E_CLOSED and raises no
 * SIGPIPE in the process.
 *
 * Pull model as streams': after AGAIN there will be one on_ready, from the loop or the ready
 * queue, never inside a call of this header.
 * Ownership: the descriptor is duplicated (or opened anew) by open; the caller's stays the
 * caller's and may be closed at once. Threading: loop thread only. */
#pragma once
#include "async/async.h"
#include <sys/types.h>

struct uvm__fdio;
enum uvm__fdio_direction { UVM__FDIO_READ, UVM__FDIO_WRITE };
typedef void (*uvm__fdio_fn)(struct uvm__fdio *f, void *arg);

/* -UVM_E_INVAL: not a descriptor, or not open in that direction; -UVM_E_LIMIT: no descriptor is left for
 * it; -UVM_E_IO, -UVM_E_NOMEM;
 * -UVM_E_UNSUPPORTED on an engine without a loop. */
int uvm__fdio_open(uvm_engine *e, int fd, enum uvm__fdio_direction direction, uvm__fdio_fn on_ready,
                   void *arg, struct uvm__fdio **ret);
/* > 0 bytes; 0 end of file (also a terminal that hung up); -UVM_E_AGAIN; -UVM_E_IO (errno in
 * *ret_errno). */
ssize_t uvm__fdio_read(struct uvm__fdio *f, void *buf, size_t bytes, int *ret_errno);
/* > 0 bytes, perhaps fewer than asked; -UVM_E_AGAIN; -UVM_E_CLOSED: nobody reads any more;
 * -UVM_E_IO. */
ssize_t uvm__fdio_write(struct uvm__fdio *f, const void *buf, size_t bytes, int *ret_errno);
/* No on_ready runs after it. Accepts NULL. */
void uvm__fdio_close(struct uvm__fdio *f);
