/* SPDX-License-Identifier: MIT
 * exit.c — one decision over everything that was seen of a VM's end.
 *
 * The order of the rows is the decision. What the guest itself said comes first, for it was said before
 * anything that the host could add; a SHUTDOWN that nobody in the guest asked for is ours when we asked, else
 * somebody else's signal, which for the owner is a VMM that died. Without any word of QEMU the status of
 * its process is all there is. Before all of them: a VMM that SIGKILL does not end holds whatever it has. A reset is also what a panic looks like that no pvpanic driver reported:
 * the console's tail tells them apart for people.
 */
#include "hcs/qemu/exit.h"

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "async/child.h"

void uvm__exit_on_shutdown(struct uvm__exit_facts *facts, const char *reason) {
    snprintf(facts->shutdown_reason, sizeof facts->shutdown_reason, "%s", reason);
    if (strcmp(reason, "guest-panic") == 0) {
        facts->panicked = true;
    } else if (strcmp(reason, "guest-shutdown") == 0) {
        facts->guest_shutdown = true;
    } else if (strcmp(reason, "guest-reset") == 0) {
        facts->guest_reset = true;
    } else {
        facts->host_shutdown = true;
    }
}

void uvm__exit_on_panic(struct uvm__exit_facts *facts) {
    facts->panicked = true;
}

static bool guest_ended(const struct uvm__exit_facts *facts) {
    return facts->panicked || facts->guest_shutdown || facts->guest_reset;
}

void uvm__exit_on_terminate(struct uvm__exit_facts *facts) {
    if (!guest_ended(facts) && !facts->host_shutdown && !facts->exited) {
        facts->terminated = true;
    }
}

enum uvm__hcs_exit uvm__exit_reason(const struct uvm__exit_facts *facts) {
    if (facts->stuck != 0) {
        return UVM__HCS_EXIT_STUCK;
    }
    if (facts->terminated) {
        return UVM__HCS_EXIT_TERMINATED;
    }
    if (facts->panicked) {
        return UVM__HCS_EXIT_GUEST_PANIC;
    }
    if (facts->guest_shutdown) {
        return UVM__HCS_EXIT_GUEST_SHUTDOWN;
    }
    if (facts->guest_reset) {
        return UVM__HCS_EXIT_GUEST_RESET;
    }
    return UVM__HCS_EXIT_VMM_DIED;
}

int uvm__exit_status(const struct uvm__exit_facts *facts) {
    if (!facts->exited || facts->status < 0) {
        return -1;
    }
    return WIFSIGNALED(facts->status) ? 128 + WTERMSIG(facts->status) : WEXITSTATUS(facts->status);
}

void uvm__exit_text(const struct uvm__exit_facts *facts, char *buf, size_t bytes) {
    char status[128] = "still there, and was killed";

    if (facts->stuck != 0) {
        snprintf(status, sizeof status,
                 "process %d, which the kernel holds (/proc/%d/wchan says where)", facts->stuck,
                 facts->stuck);
    } else if (facts->exited) {
        uvm__child_status_text(facts->status, status, sizeof status);
    }
    snprintf(buf, bytes, "%s%s%sqemu: %s",
             facts->hvsock_broken ? "its hvsock device was stopped; " : "", facts->shutdown_reason,
             facts->shutdown_reason[0] != '\0' ? "; " : "", status);
}
