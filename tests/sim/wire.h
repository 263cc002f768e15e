/* SPDX-License-Identifier: MIT
 * wire.h — a bridge connection in the guest that does to one frame what it was told to.
 *
 * It stands between the agent's server and the stream to the host: a stream for the one, a user of the
 * other. Frames pass unchanged but for the one that the plan names. Works once a plan.
 * Memory: not the engine's, so that lack of memory there is never the wire's.
 */
#pragma once
#include "bridge/message.h"

/* What happens to one request, or to its answer. */
#define WIRE_FAULT_MAP(X)                                                                          \
    X(NONE, "answers")                                                                             \
    X(LOSE_REQUEST, "neither acts nor answers")                                                    \
    X(LOSE_REPLY, "acts, never answers")                                                           \
    X(LATE, "acts, answers late")                                                                  \
    X(TWICE, "answers twice")                                                                      \
    X(REFUSE, "acts, answers that it failed")                                                      \
    X(DENY, "does not act, answers that it failed")                                                \
    X(CUT_REQUEST, "connection lost before it acts")                                               \
    X(CUT_REPLY, "connection lost after it acted")                                                 \
    X(CUT_HALF, "connection lost in the midst of its answer")                                      \
    X(END, "connection ended instead of an answer")                                                \
    X(GARBAGE, "answers with text that is no frame")                                               \
    X(GIANT, "answers with a frame of 4 GiB")                                                      \
    X(TINY, "answers with a frame of 15 bytes")                                                    \
    X(NO_JSON, "answers with a body that is no JSON")                                              \
    X(STRANGE_ID, "answers what nobody asked")                                                     \
    X(STRANGE_NEWS, "answers with news of a container that nobody knows")                          \
    X(BAD_VERSION, "answers with version 5")                                                       \
    X(BAD_OS, "answers for another system")
enum wire_fault {
#define SIM_X(name, text) WIRE_##name,
    WIRE_FAULT_MAP(SIM_X)
#undef SIM_X
        WIRE_FAULT_MAX
};
const char *wire_fault_text(enum wire_fault fault);

enum wire_moment { WIRE_SENT, WIRE_ACTED, WIRE_ANSWERED };

struct wire_plan {
    enum uvm__message msg;
    enum wire_fault fault;
    uint32_t skip;    /* so many of these messages pass first */
    uint32_t late_ms; /* of LATE */
    bool met;         /* set by the wire */
    /* Told of each request that comes, and of each answer when it is made and when it leaves. May be
     * NULL. */
    void (*watch)(enum uvm__message msg, enum wire_moment moment, void *arg);
    void *watch_arg;
};

/* Takes `take_outer`; what comes back is for uvm__server_attach(). The plan outlives it. */
struct uvm__stream *wire_new(uvm_engine *e, struct uvm__stream *take_outer, struct wire_plan *plan);
