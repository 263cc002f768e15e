/* SPDX-License-Identifier: MIT
 *
 * The relay behind `vsockexec -r` (relay.h): pipe -> 64 KiB -> socket, one poll loop.
 *
 * The relay is the parent and not a helper beside the program, because the guest ends with the
 * program: its last words, which say why, must leave first. The end of the child is seen by pidfd
 * and not by the pipe's EOF, for the program's own children may hold that pipe open.
 *
 * The peer's end is not watched: an idle relay of which the host let go dials again with the next
 * line, as the host expects (PROTOCOL-bridge.md, Transport).
 */
#include "cmd/gcs/relay.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER_BYTES = 65536, REDIAL_MS = 100, LAST_WORDS_MS = 1000 };

struct state {
    const struct uvm__relay *relay;
    int from, to, child; /* -1: closed; not connected; ended */
    int status;
    int64_t redial_at_ms, give_up_at_ms; /* 0: not set */
    size_t begin, end;                   /* of what is in buf */
    char buf[BUFFER_BYTES];
};

static int64_t now_ms(void) {
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void close_fd(int *fd) {
    if (*fd >= 0) {
        close(*fd);
        *fd = -1;
    }
}

static void child_ended(struct state *s) {
    if (waitpid(s->relay->pid, &s->status, 0) < 0) {
        s->status = -1;
    }
    close_fd(&s->child);
    s->give_up_at_ms = now_ms() + LAST_WORDS_MS;
}

/* Only called with an empty buffer. After the child's end an empty pipe is the end, whoever else
 * may still hold it.                                                                             */
static void take_in(struct state *s) {
    ssize_t n = read(s->from, s->buf, sizeof s->buf);

    if (n > 0) {
        s->begin = 0;
        s->end = (size_t)n;
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR) || s->child < 0) {
        close_fd(&s->from);
    }
}

static void send_out(struct state *s) {
    ssize_t n = send(s->to, s->buf + s->begin, s->end - s->begin, MSG_DONTWAIT | MSG_NOSIGNAL);

    if (n >= 0) {
        s->begin += (size_t)n;
    } else if (errno != EAGAIN && errno != EINTR) {
        close_fd(&s->to);
        s->redial_at_ms = now_ms() + REDIAL_MS;
    }
}

static void connect_out(struct state *s) {
    s->to = s->relay->dial(s->relay->arg);
    if (s->to < 0) {
        s->redial_at_ms = now_ms() + REDIAL_MS;
    }
}

static bool done(const struct state *s) {
    return s->child < 0 && ((s->from < 0 && s->begin == s->end) || now_ms() >= s->give_up_at_ms);
}

/* Until the earlier of the two times that matter now; -1 for neither. */
static int timeout_ms(const struct state *s) {
    int64_t at = s->give_up_at_ms, left;

    if (s->begin < s->end && s->to < 0 && (at == 0 || s->redial_at_ms < at)) {
        at = s->redial_at_ms;
    }
    if (at == 0) {
        return -1;
    }
    left = at - now_ms();
    return left < 0 ? 0 : (int)left;
}

static void turn(struct state *s) {
    bool full = s->begin < s->end;
    struct pollfd fds[] = {
        {.fd = s->child, .events = POLLIN},
        {.fd = full ? -1 : s->from, .events = POLLIN},
        {.fd = full ? s->to : -1, .events = POLLOUT},
    };

    if (s->child < 0 && !full) {
        take_in(s);
        return;
    }
    if (full && s->to < 0 && now_ms() >= s->redial_at_ms) {
        connect_out(s);
        return;
    }
    if (poll(fds, sizeof fds / sizeof fds[0], timeout_ms(s)) <= 0) {
        return;
    }
    if (fds[0].revents != 0) {
        child_ended(s);
    }
    if (fds[1].revents != 0) {
        take_in(s);
    }
    if (fds[2].revents != 0) {
        send_out(s);
    }
}

/* The console is slow and nobody's log, but better than silence about why a guest ended: what is in
 * the buffer, and one more of what is in the pipe.                                               */
static void say_rest(struct state *s) {
    for (int round = 0; round < 2 && s->begin < s->end; round++) {
        while (s->begin < s->end) {
            ssize_t n = write(s->relay->last_resort, s->buf + s->begin, s->end - s->begin);

            s->begin = n > 0 ? s->begin + (size_t)n : s->end;
        }
        if (s->from >= 0) {
            take_in(s);
        }
    }
}

int uvm__relay_run(const struct uvm__relay *relay) {
    static struct state s; /* its buffer is too much for a stack; a process runs one relay */

    s = (struct state){.relay = relay, .from = relay->from, .to = -1, .status = -1};
    s.child = (int)syscall(SYS_pidfd_open, relay->pid, 0);
    if (s.child < 0) {
        child_ended(&s);
    }
    while (!done(&s)) {
        turn(&s);
    }
    say_rest(&s);
    close_fd(&s.from);
    close_fd(&s.to);
    return s.status;
}
