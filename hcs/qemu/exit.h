/* SPDX-License-Identifier: MIT
 * exit.h — why a VM ended, from what QEMU said and how its process ended
 * (ShutdownCause and GUEST_PANICKED in QEMU's qapi/run-state.json).
 */
#pragma once
#include "hcs/compute_service.h"

/* What was seen until the decision. Plain data; zeroed is "nothing". */
struct uvm__exit_facts {
    bool panicked;       /* GUEST_PANICKED, or SHUTDOWN for it */
    bool guest_shutdown; /* SHUTDOWN, reason guest-shutdown */
    bool guest_reset;    /* SHUTDOWN, reason guest-reset */
    bool host_shutdown;  /* SHUTDOWN for another reason: somebody on the host asked */
    bool terminated;     /* we asked for the end before the guest did */
    bool hvsock_broken;  /* the guest broke the rules of its hvsock device, which was stopped */
    bool exited;         /* the process has ended */
    int stuck;           /* its pid, when it was killed and did not end in time; 0: not so */
    int status;          /* waitpid's, -1: unknown; of an ended process */
    char shutdown_reason[40]; /* of the last SHUTDOWN, for people */
};

/* SHUTDOWN {"guest":…,"reason":…} and GUEST_PANICKED, as they come. */
void uvm__exit_on_shutdown(struct uvm__exit_facts *facts, const char *reason);
void uvm__exit_on_panic(struct uvm__exit_facts *facts);
/* We are about to end it: counts only when the guest has not ended by itself already. */
void uvm__exit_on_terminate(struct uvm__exit_facts *facts);

enum uvm__hcs_exit uvm__exit_reason(const struct uvm__exit_facts *facts);
/* Of QEMU's process, as a shell shows it; -1: not known. */
int uvm__exit_status(const struct uvm__exit_facts *facts);
/* One line: "qemu: killed by SIGKILL", "guest-shutdown; qemu: exit status 0". */
void uvm__exit_text(const struct uvm__exit_facts *facts, char *buf, size_t bytes);
