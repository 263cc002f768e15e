/* SPDX-License-Identifier: MIT
 * guest.h — the simulated guest: kernel, /init, agent and programs, over the loopback's guest end.
 *
 * A well-behaved one dials for entropy and reads to the end, asks for offers (a refusal is none), dials
 * the log, then the bridge, which bridge/server.h serves; its programs (guest_proc.c) live on the
 * engine's clock. A script says what it does otherwise, and where it ends.
 * Memory: not the engine's, but for what the server and the dials need.
 */
#pragma once
#include "hcs/compute_service.h"
#include "tests/sim/wire.h"

#define GUEST_CONDUCT_MAP(X)                                                                       \
    X(WELL, "behaves")                                                                             \
    X(NEVER_DIALS, "never dials at all")                                                           \
    X(NO_AGENT, "has no agent")                                                                    \
    X(AGENT_NEVER_DIALS, "has an agent that never dials")                                          \
    X(AGENT_LATE, "has an agent that dials late")                                                  \
    X(SILENT, "dials and stays silent")                                                            \
    X(GARBAGE, "speaks garbage")                                                                   \
    X(HANGS_UP, "dials and hangs up, over and over")                                               \
    X(ENTROPY_UNREAD, "does not read its entropy")                                                 \
    X(LOG_FLOOD, "floods its log")                                                                 \
    X(LOG_SILENT, "logs nothing")                                                                  \
    X(LOG_CLOSED, "closes its log")                                                                \
    X(SECOND_PEER, "dials the bridge twice")                                                       \
    X(LOG_TWICE, "dials its log twice")                                                            \
    X(ENTROPY_TWICE, "dials for entropy twice")                                                    \
    X(STRAY_DIALS, "dials ports that nobody expects")                                              \
    X(EXEC_UNDIALLED, "starts processes without their streams")                                    \
    X(EXEC_TWICE, "dials each stream of a process twice")
enum guest_conduct {
#define SIM_X(name, text) GUEST_##name,
    GUEST_CONDUCT_MAP(SIM_X)
#undef SIM_X
        GUEST_CONDUCT_MAX
};

/* Moments at which a guest can end. */
#define GUEST_STAGE_MAP(X)                                                                         \
    X(KERNEL, "its first instruction")                                                             \
    X(ENTROPY, "the dial for entropy")                                                             \
    X(OFFERS, "the dial for offers")                                                               \
    X(LOG, "the dial of its log")                                                                  \
    X(AGENT, "the dial of its agent")                                                              \
    X(NEGOTIATE, "the request to negotiate")                                                       \
    X(RUNNING, "a while after negotiation")                                                        \
    X(EXEC, "a request to execute")                                                                \
    X(EXECUTED, "the start of a process")                                                          \
    X(SIGNALED, "a request to signal")                                                             \
    X(MODIFY, "a request about a disk")
enum guest_stage {
#define SIM_X(name, text) GUEST_AT_##name,
    GUEST_STAGE_MAP(SIM_X)
#undef SIM_X
        GUEST_STAGE_MAX
};

#define GUEST_END_MAP(X)                                                                           \
    X(NONE, "lives on")                                                                            \
    X(PANIC, "panics")                                                                             \
    X(POWEROFF, "powers off")                                                                      \
    X(RESET, "resets")                                                                             \
    X(KILLED, "is killed with its VMM")                                                            \
    X(HANGS, "hangs")                                                                              \
    X(AGENT_GONE, "loses its agent")                                                               \
    X(DROPS, "drops the bridge and dials again")
enum guest_end {
#define SIM_X(name, text) GUEST_END_##name,
    GUEST_END_MAP(SIM_X)
#undef SIM_X
        GUEST_END_MAX
};
const char *guest_conduct_text(enum guest_conduct conduct);
const char *guest_stage_text(enum guest_stage stage);
const char *guest_end_text(enum guest_end end);

#define GUEST_BEATS 8u /* whose answers a script decides; those after them come at once */
#define GUEST_BEAT_LOST UINT32_MAX /* never answered */

struct guest_script {
    enum guest_conduct conduct;
    enum guest_stage end_at; /* with `end` other than NONE */
    enum guest_end end;
    struct wire_plan wire;
    bool wired;       /* with a wire also while its plan says nothing, which may change */
    uint32_t step_ms; /* before each step of the boot and each answer */
    uint32_t late_ms; /* of AGENT_LATE */
    uint32_t beat_ms[GUEST_BEATS]; /* from heartbeat to answer */
    bool plain_agent;              /* grants no process control, as the reference */
    bool ignores_shutdown;         /* hears it and goes on */
    bool refuses_shutdown;         /* answers it with an error */
    uint32_t refuse_mounts, refuse_unmounts, refuse_ejects; /* so many of the next ones */
};

/* What the guests of one world did; the ledger of what the engine must not have lost. */
struct guest_seen {
    uint32_t dials, refused;
    uint32_t streams;       /* alive now */
    uint32_t guests;        /* alive now */
    uint32_t entropy_bytes; /* of the latest guest that was fed */
    uint32_t entropy_ends;
    uint64_t log_bytes;
    uint32_t bridge_dials, bridge_refused, second_refused, stray_accepted;
    uint32_t executes, processes; /* asked for; alive now */
    uint32_t processes_killed;    /* by a signal of the host */
    uint32_t waits, shutdowns, beats;
    uint32_t offers_opened, offers_closed;
    uint32_t mounts;                     /* alive now, of all guests */
    uint64_t mounted, unmounted, ejects; /* ever */
    uint32_t yanked; /* disks that went without the guest having let go of them */
    bool ended_as_told;
};

struct guest;

/* The guest's first instruction. Script and seen outlive it. */
struct guest *guest_new(uvm_engine *e, struct uvm__hcs_system *s, struct uvm__hvsock *hvsock,
                        struct guest_script *script, struct guest_seen *seen);
/* The machine is gone; the guest frees itself. */
void guest_stop(struct guest *g);
/* A disk went from under it. */
void guest_disk_removed(struct guest *g, unsigned controller, uint64_t lun);
/* What is mounted (or linked) there; false: nothing. */
struct guest_mount {
    unsigned controller;
    uint64_t lun, partition;
    bool read_only, block_dev, encrypted, ensure_filesystem;
    char filesystem[32], options[64]; /* joined by commas */
    char verity[65];                  /* the root hash */
};
bool guest_mount_at(const struct guest *g, const char *path, struct guest_mount *ret);
uint32_t guest_mounts(const struct guest *g);
uint32_t guest_processes(const struct guest *g); /* that run */
bool guest_runs_process(const struct guest *g, uint32_t pid);
struct uvm__hcs_system *guest_system(const struct guest *g);
