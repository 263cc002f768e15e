/* SPDX-License-Identifier: MIT
 * tty.h — a terminal for a process: a pty pair and the relay between its master and the host's streams.
 *
 * End of the host's input stops that direction only: a terminal has no end of file of its own
 * (PROTOCOL-bridge.md, Processes). A host that reads no more hangs the terminal up. The relay ends when the
 * terminal is hung up, which the kernel does when the session's leader has ended, and all that it said was
 * written to the host. A stream for stderr is kept open and silent. Without a stream for output the output
 * is dropped.
 */
#pragma once
#include "async/async.h"
#include "async/error.h"

struct gcs_tty;

/* A pty of this size (0×0: the kernel's). `ret_slave_fd` is the child's, for its descriptors 0, 1 and 2, and
 * the caller closes it after the start. -UVM_E_IO, -UVM_E_NOMEM. */
int gcs_tty_open(uvm_engine *e, uint16_t height, uint16_t width, struct gcs_tty **ret,
                 int *ret_slave_fd, struct uvm__fail *f);

/* Begins the relay; descriptors of -1 are absent, all are taken, also on failure. `on_end` runs once, later,
 * unless the terminal is closed before. -UVM_E_NOMEM, -UVM_E_IO. */
int gcs_tty_start(struct gcs_tty *t, int take_in_fd, int take_out_fd, int take_err_fd,
                  void (*on_end)(struct gcs_tty *t, void *arg), void *arg);

/* A no-op once hung up. -UVM_E_IO. */
int gcs_tty_resize(struct gcs_tty *t, uint16_t height, uint16_t width);

/* Hangs up and frees. Accepts NULL. */
void gcs_tty_close(struct gcs_tty *t);

/* "in 12 bytes, out 0 bytes" as they wait in the relay; for DumpStacks. */
size_t gcs_tty_dump(const struct gcs_tty *t, char *buf, size_t bytes);
