/* SPDX-License-Identifier: MIT
 *
 * The table of UVM processes. Two things end a process here, in either order: its child is reaped, and its
 * terminal, if it had one, has given everything to the host; ended() runs when both are so and answers all
 * waits at once. With at least one wait answered the entry goes; without, it stays as a small record for
 * the wait to come.
 *
 * Closing a child is asynchronous, so an entry can be GONE from the table and still wait for that; the
 * agent's hold counts these. Memory of a GONE entry is freed by the last close, never earlier.
 */
#include "cmd/gcs/process.h"

#include "async/alloc.h"
#include "async/check.h"
#include "cmd/gcs/session.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

struct gcs_waiter {
    struct uvm__list link;
    struct gcs_process *process;
    struct uvm__server_request *request;
    struct uvm__deadline deadline;
};

struct gcs_process *gcs_process_new(struct gcs_agent *a, const char *name) {
    struct gcs_process *p = uvm__zalloc(a->engine, sizeof *p);

    if (p == NULL) {
        return NULL;
    }
    p->agent = a;
    p->state = GCS_STARTING;
    p->status = -1;
    p->started_ms = uvm__now_ms(a->engine);
    uvm__list_init(&p->link);
    uvm__list_init(&p->waiters);
    (void)snprintf(p->name, sizeof p->name, "%s", name);
    return p;
}

/* ---- waits -------------------------------------------------------------------------------- */

static struct uvm__server_request *waiter_free(struct gcs_waiter *w) {
    struct uvm__server_request *r = w->request;
    uvm_engine *e = w->process->agent->engine;

    uvm__deadline_clear(e, &w->deadline);
    uvm__list_remove(&w->link);
    uvm__free(e, w);
    return r;
}

static void on_wait_timeout(struct uvm__deadline *d) {
    struct gcs_waiter *w = UVM__CONTAINER_OF(d, struct gcs_waiter, deadline);

    uvm__server_reply_hresult(waiter_free(w), UVM__HR_TIMEOUT);
}

static void reply_exit(const struct gcs_process *p, struct uvm__server_request *take_r) {
    struct uvm__msg_exit exit = {.code = UVM__EXIT_SIGNALED};

    UVM_ASSERT(p->state == GCS_ENDED);
    if (p->status >= 0 && WIFEXITED(p->status)) {
        exit.code = (uint32_t)WEXITSTATUS(p->status);
    } else if (p->status >= 0 && WIFSIGNALED(p->status)) {
        exit.signal = WTERMSIG(p->status);
        exit.core = WCOREDUMP(p->status) != 0;
    }
    uvm__server_reply_exit(take_r, &exit);
}

/* Answers everybody who waits; true when there was anybody. */
static bool answer_waiters(struct gcs_process *p, bool with_exit) {
    bool any = !uvm__list_empty(&p->waiters);

    while (!uvm__list_empty(&p->waiters)) {
        struct gcs_waiter *w = UVM__CONTAINER_OF(p->waiters.next, struct gcs_waiter, link);
        struct uvm__server_request *r = waiter_free(w);

        if (with_exit) {
            reply_exit(p, r);
        } else {
            uvm__server_reply_hresult(r, UVM__HR_NOT_FOUND);
        }
    }
    return any;
}

void gcs_process_wait(struct gcs_process *p, struct uvm__server_request *take_r,
                      uint32_t timeout_ms) {
    uvm_engine *e = p->agent->engine;
    struct gcs_waiter *w;

    if (p->state == GCS_ENDED) {
        reply_exit(p, take_r);
        gcs_process_drop(p);
        return;
    }
    UVM_ASSERT(p->state == GCS_RUNNING);
    w = uvm__zalloc(e, sizeof *w);
    if (w == NULL) {
        uvm__server_reply_hresult(take_r, UVM__HR_OUT_OF_MEMORY);
        return;
    }
    w->process = p;
    w->request = take_r;
    uvm__deadline_init(&w->deadline, on_wait_timeout);
    uvm__list_append(&p->waiters, &w->link);
    if (timeout_ms != UVM__WAIT_INFINITE) {
        uvm__deadline_set(e, &w->deadline, uvm__now_ms(e) + timeout_ms);
    }
}

/* ---- the table ------------------------------------------------------------------------------ */

struct gcs_process *gcs_process_find(struct gcs_agent *a, uint32_t pid) {
    struct uvm__list *it;

    UVM__LIST_FOREACH(it, &a->processes) {
        struct gcs_process *p = UVM__CONTAINER_OF(it, struct gcs_process, link);

        if (p->pid == pid) {
            return p;
        }
    }
    return NULL;
}

static void drop_oldest_ended(struct gcs_agent *a) {
    struct uvm__list *it;

    UVM__LIST_FOREACH(it, &a->processes) {
        struct gcs_process *p = UVM__CONTAINER_OF(it, struct gcs_process, link);

        if (p->state == GCS_ENDED) {
            GCS_LOG(&a->log, UVM_LOG_WARN, "nobody asked how this process ended: forgotten",
                    GCS_NUMBER("pid", p->pid), GCS_TEXT("name", p->name));
            gcs_process_drop(p);
            return;
        }
    }
}

void gcs_process_running(struct gcs_process *p) {
    struct gcs_agent *a = p->agent;
    struct gcs_process *old;

    UVM_ASSERT(p->state == GCS_STARTING && p->child != NULL);
    p->pid = (uint32_t)uvm__child_pid(p->child);
    old = gcs_process_find(a, p->pid);
    if (old != NULL) {
        UVM_ASSERT(old->reaped); /* else its pid could not have been used again */
        gcs_process_drop(old);
    }
    p->state = GCS_RUNNING;
    a->running++;
    uvm__list_append(&a->processes, &p->link);
    GCS_LOG(&a->log, UVM_LOG_INFO, "process started", GCS_NUMBER("pid", p->pid),
            GCS_TEXT("name", p->name));
}

static void on_child_closed(void *arg) {
    struct gcs_process *p = arg;
    struct gcs_agent *a = p->agent;

    p->child = NULL;
    if (p->state == GCS_GONE) {
        uvm__free(a->engine, p);
    }
    gcs_agent_release(a);
}

static void close_child(struct gcs_process *p) {
    if (!p->closing && p->child != NULL) {
        p->closing = true;
        gcs_agent_hold(p->agent);
        uvm__child_close(p->child, on_child_closed, p);
    }
}

/* The child was reaped, and the terminal, if any, is over. */
static void ended(struct gcs_process *p) {
    struct gcs_agent *a = p->agent;
    char text[64];

    UVM_ASSERT(p->state == GCS_RUNNING && p->reaped && p->tty == NULL);
    p->state = GCS_ENDED;
    a->running--;
    a->ended++;
    uvm__child_status_text(p->status, text, sizeof text);
    GCS_LOG(&a->log, UVM_LOG_INFO, "process ended", GCS_NUMBER("pid", p->pid),
            GCS_TEXT("name", p->name), GCS_TEXT("status", text),
            GCS_NUMBER("ms", uvm__now_ms(a->engine) - p->started_ms));
    close_child(p);
    if (answer_waiters(p, true)) {
        gcs_process_drop(p);
    } else if (a->ended > GCS_PROCESSES_MAX) {
        drop_oldest_ended(a);
    }
}

void gcs_process_reaped(struct gcs_process *p, int status) {
    p->reaped = true;
    p->status = status;
    if (p->state == GCS_RUNNING && p->tty == NULL) {
        ended(p);
    }
}

void gcs_process_tty_over(struct gcs_process *p) {
    gcs_tty_close(p->tty);
    p->tty = NULL;
    if (p->state == GCS_RUNNING && p->reaped) {
        ended(p);
    }
}

void gcs_process_drop(struct gcs_process *p) {
    struct gcs_agent *a = p->agent;

    UVM_ASSERT(p->state != GCS_GONE);
    (void)answer_waiters(p, false);
    uvm__list_remove(&p->link);
    a->running -= p->state == GCS_RUNNING;
    a->ended -= p->state == GCS_ENDED;
    p->state = GCS_GONE;
    gcs_tty_close(p->tty);
    p->tty = NULL;
    close_child(p);
    if (p->child == NULL) {
        uvm__free(a->engine, p);
    }
}

void gcs_processes_drop(struct gcs_agent *a) {
    while (!uvm__list_empty(&a->processes)) {
        gcs_process_drop(UVM__CONTAINER_OF(a->processes.next, struct gcs_process, link));
    }
    UVM_ASSERT(a->running == 0 && a->ended == 0);
}

/* ---- signals ---------------------------------------------------------------------------------- */

int gcs_process_signal(struct gcs_process *p, int signo, bool group) {
    pid_t pid = (pid_t)p->pid;

    if (signo < 1 || signo > SIGRTMAX) {
        return -UVM_E_INVAL;
    }
    if (p->state != GCS_RUNNING || p->reaped || uvm__child_exited(p->child)) {
        return -UVM_E_NOTFOUND;
    }
    if (!group) {
        int rc = uvm__child_signal(p->child, signo);

        return rc == -UVM_E_STATE ? -UVM_E_NOTFOUND : rc;
    }
    /* Not reaped, so the numbers of process, group and session are still its own. */
    if (kill(-pid, signo) < 0) {
        return errno == ESRCH ? -UVM_E_NOTFOUND : -UVM_E_IO;
    }
    if (signo == SIGHUP || signo == SIGTERM || signo == SIGKILL) {
        (void)gcs_session_signal(pid, pid, signo);
    }
    return 0;
}

/* ---- dump ---------------------------------------------------------------------------------------- */

static size_t waiters_count(const struct gcs_process *p) {
    const struct uvm__list *it;
    size_t n = 0;

    UVM__LIST_FOREACH(it, &p->waiters) {
        n++;
    }
    return n;
}

static size_t dump_one(const struct gcs_process *p, char *buf, size_t bytes) {
    char tty[96] = "";
    int n;

    if (p->tty != NULL) {
        (void)gcs_tty_dump(p->tty, tty, sizeof tty);
    }
    n = snprintf(buf, bytes, "process %" PRIu32 " %s: %s, %" PRIu64 " ms, %zu waits%s%s\n", p->pid,
                 p->name, p->state == GCS_RUNNING ? "running" : "ended",
                 uvm__now_ms(p->agent->engine) - p->started_ms, waiters_count(p),
                 p->terminal ? ", terminal " : "", tty);
    return n < 0 || (size_t)n >= bytes ? 0 : (size_t)n;
}

size_t gcs_processes_dump(struct gcs_agent *a, char *buf, size_t bytes) {
    struct uvm__list *it;
    size_t len = 0;

    UVM__LIST_FOREACH(it, &a->processes) {
        size_t n =
            dump_one(UVM__CONTAINER_OF(it, struct gcs_process, link), buf + len, bytes - len);

        if (n == 0) {
            break;
        }
        len += n;
    }
    return len;
}
