/* SPDX-License-Identifier: MIT
 * relay.h — a program's output, copied to a peer that may come and go.                            */
#pragma once

#include <sys/types.h>

struct uvm__relay {
    int from;               /* the pipe's read end, non-blocking */
    pid_t pid;              /* the child that the relay ends with */
    int (*dial)(void *arg); /* a connected stream socket, or -1; may block for a while */
    void *arg;
    int last_resort; /* gets what the peer had not taken when the time was over; -1: lost */
};

/* Copies until the child ended and what it had written is delivered, or one second passed after its
 * end. A lost or missing peer is dialled anew every 100 ms, for ever, but only when there is
 * something to deliver; what was not sent whole is sent again from where the socket took no more.
 * While nobody takes the bytes the pipe fills and the program waits: nothing is dropped.
 * Reaps the child: its status as of waitpid, or -1 if there was none to wait for. Closes `from`.  */
int uvm__relay_run(const struct uvm__relay *relay);
