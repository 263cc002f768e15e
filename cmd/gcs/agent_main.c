/* SPDX-License-Identifier: MIT
 *
 * The agent as a program. Its whole state is one zeroed object, most of which (the log's queue) costs no
 * memory until it is used. SIGPIPE is ignored, since a host may close any stream at any time; children get
 * it back with their other signals.
 */
#include "cmd/gcs/agent.h"
#include "cmd/gcs/gcs.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

static struct gcs_agent agent;

int uvm__agent_main(int argc, char **argv) {
    struct gcs_flags flags;
    struct uvm__fail f;
    int rc = gcs_flags_parse(argc, argv, &flags, &f);

    if (rc != GCS_FLAGS_RUN) {
        if (rc < 0) {
            dprintf(STDERR_FILENO, "gcs: %s\n", f.msg);
        }
        gcs_flags_usage(STDERR_FILENO);
        return rc < 0 ? 2 : 0;
    }
    (void)signal(SIGPIPE, SIG_IGN);
    return gcs_agent_run(&agent, &flags);
}
