/* SPDX-License-Identifier: MIT
 * heartbeat_test.c — an agent that stalls is found in bounded time, and nothing else is taken for one.
 *
 * All on the virtual clock: answers that come at once, late, never; time that leaps; a VM that is paused,
 * closed, asked to stop, or short of memory in the moment of a beat.
 */
#include "async/limits.h"
#include "tests/sim/choose.h"
#include "tests/sim/world.h"
#include <stdio.h>
#include <string.h>

#define NAME "sim-1"
#define BEAT_MS UVM__HEARTBEAT_MS
#define SLACK_MS 200u
#define LEAP_MS 3600000u

static void open_running(struct world *w, const char *label) {
    world_open(w);
    (void)snprintf(w->label, sizeof w->label, "%s", label);
    w->vm = world_vm_new(w, NAME);
    world_boot_well(w, w->vm);
    EXPECT_EQ(w, w->seen.beats, 0);
}

static void close_world(struct world *w) {
    world_vm_close(w, w->vm);
    world_close(w);
}

static void lose_beats(struct world *w, bool lost) {
    for (unsigned i = 0; i < GUEST_BEATS; i++) {
        w->script.beat_ms[i] = lost ? GUEST_BEAT_LOST : 0;
    }
    w->seen.beats = 0;
}

static void expect_lost(struct world *w) {
    EXPECT_EQ(w, uvm_vm_state(w->vm), UVM_VM_STOPPED);
    struct uvm_vm_exit exit = uvm_vm_exit(w->vm);
    EXPECT_EQ(w, exit.reason, UVM_EXIT_AGENT_LOST);
    EXPECT_EQ(w, strcmp(exit.detail, "the agent did not answer 2 heartbeats in 10 s"), 0);
    EXPECT_EQ(w, uvm__sim_ledger(w->host).running, 0);
}

/* A stall that begins now. */
static void expect_found(struct world *w) {
    lose_beats(w, true);
    world_pass(w, 3u * BEAT_MS + UVM__AGENT_LOST_MS + SLACK_MS);
    expect_lost(w);
}

/* ---- answers ------------------------------------------------------------------------------ */

#define BEATS 5u
enum answer { AT_ONCE, LATE, LATER, NEVER, ANSWERS };
static const uint32_t answer_ms[ANSWERS] = {0, 3000, 7000, GUEST_BEAT_LOST};

/* By the answers alone: the tick, counted from 1, at which the agent counts as hung; 0: never. The nth beat
 * leaves at the nth tick. */
static unsigned hung_at(const uint32_t ms[BEATS]) {
    for (unsigned tick = 3; tick <= BEATS + 3; tick++) {
        bool heard = false;
        for (unsigned beat = 1; beat < tick; beat++) {
            uint32_t delay = beat <= BEATS ? ms[beat - 1] : 0;
            uint64_t at = (uint64_t)beat * BEAT_MS + delay + SLACK_MS;
            bool came = delay != GUEST_BEAT_LOST && at > (uint64_t)(tick - 2) * BEAT_MS;
            heard = heard || (came && at < (uint64_t)tick * BEAT_MS + SLACK_MS);
        }
        if (!heard) {
            return tick;
        }
    }
    return 0;
}

static void every_way_to_answer(void **unused) {
    (void)unused;
    struct choose c;
    unsigned worlds = 0, hung = 0;
    for (choose_begin(&c); choose_next(&c);) {
        struct world w;
        char text[64];
        uint32_t ms[BEATS];
        open_running(&w, "");
        for (unsigned i = 0; i < BEATS; i++) {
            ms[i] = w.script.beat_ms[i] = answer_ms[choose(&c, ANSWERS)];
        }
        (void)snprintf(w.label, sizeof w.label, "answers %s", choose_text(&c, text, sizeof text));
        unsigned at = hung_at(ms);
        if (at != 0) {
            world_pass(&w, (uint64_t)at * BEAT_MS - SLACK_MS);
            EXPECT_EQ(&w, uvm_vm_state(w.vm), UVM_VM_RUNNING);
            world_pass(&w, UVM__AGENT_LOST_MS + (uint64_t)2 * SLACK_MS);
            expect_lost(&w);
        } else {
            world_pass(&w, (uint64_t)20 * BEAT_MS);
            EXPECT_EQ(&w, uvm_vm_state(w.vm), UVM_VM_RUNNING);
        }
        worlds++;
        hung += at != 0;
        close_world(&w);
    }
    print_message("heartbeats: %u ways to answer, %u of a hung agent\n", worlds, hung);
    assert_true(hung > 0 && hung < worlds);
}

/* The reference knows no heartbeats; its refusal is an answer. */
static void an_agent_without_extensions(void **unused) {
    (void)unused;
    struct world w;
    world_open(&w);
    w.plain_agent = true;
    w.vm = world_vm_new(&w, NAME);
    world_boot_well(&w, w.vm);
    world_pass(&w, (uint64_t)10 * BEAT_MS + SLACK_MS);
    EXPECT_EQ(&w, w.seen.beats, 10);
    EXPECT_EQ(&w, uvm_vm_state(w.vm), UVM_VM_RUNNING);
    expect_found(&w);
    close_world(&w);
}

/* The agent stands still at any moment, and so does the connection below it. */
static void a_stall_at_each_moment(void **unused) {
    (void)unused;
    for (uint32_t at = 0; at <= 2 * BEAT_MS; at += 250) {
        struct world w;
        open_running(&w, "a stall");
        world_pass(&w, at);
        expect_found(&w);
        close_world(&w);
    }
}

/* An agent that leaves each second beat unanswered, for ever. */
static void lost_beats_do_not_pile_up(void **unused) {
    (void)unused;
    struct world w;
    open_running(&w, "each second beat is lost");
    uint64_t live = 0;
    for (unsigned n = 0; uvm_vm_state(w.vm) == UVM_VM_RUNNING; n++) {
        EXPECT(&w, n < 2 * UVM__RPC_PENDING_MAX + 2);
        w.seen.beats = 0;
        w.script.beat_ms[0] = GUEST_BEAT_LOST;
        world_pass(&w, (uint64_t)2 * BEAT_MS);
        live = w.live > live ? w.live : live;
    }
    EXPECT_EQ(&w, uvm_vm_exit(w.vm).reason, UVM_EXIT_AGENT_LOST);
    EXPECT(&w, strstr(uvm_vm_exit(w.vm).detail, "requests without an answer") != NULL);
    close_world(&w);
}

/* ---- time --------------------------------------------------------------------------------- */

/* The host slept, or somebody stopped us: answers lie unread, timers are all late. */
static void time_leaps(void **unused) {
    (void)unused;
    static const struct {
        const char *what;
        uint32_t at_ms;
        uint32_t first, second;
    } rows[] = {
        {"before the first beat", 1000, 0, 0},
        {"between two beats", BEAT_MS + 1000, 0, 0},
        {"with a beat under way", BEAT_MS + 1000, 3000, 0},
        {"with a second one under way", 2 * BEAT_MS + 1000, GUEST_BEAT_LOST, 3000},
        {"in the moment of a beat", BEAT_MS, 1, 1},
    };
    for (unsigned i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (unsigned leaps = 1; leaps <= 4; leaps++) {
            struct world w;
            open_running(&w, rows[i].what);
            w.script.beat_ms[0] = rows[i].first;
            w.script.beat_ms[1] = rows[i].second;
            world_pass(&w, rows[i].at_ms);
            for (unsigned n = 0; n < leaps; n++) {
                uvm__engine_advance(w.e, LEAP_MS); /* in one step, and nothing runs in between */
                world_pass(&w, n % 2 == 0 ? 0 : 1000);
            }
            world_pass(&w, (uint64_t)5 * BEAT_MS);
            EXPECT_EQ(&w, uvm_vm_state(w.vm), UVM_VM_RUNNING);
            expect_found(&w); /* it is still watched */
            close_world(&w);
        }
    }
}

static void an_idle_vm(void **unused) {
    (void)unused;
    struct world w;
    open_running(&w, "idle");
    world_pass(&w, (uint64_t)2 * BEAT_MS + SLACK_MS);
    uint64_t live = w.live, bytes = w.live_bytes;
    w.points[WORLD_BETWEEN] = 0;
    w.seen.beats = 0;
    world_pass(&w, LEAP_MS);
    EXPECT_EQ(&w, w.seen.beats, LEAP_MS / BEAT_MS);
    EXPECT_EQ(&w, w.live, live);
    EXPECT_EQ(&w, w.live_bytes, bytes);
    EXPECT(&w, w.points[WORLD_BETWEEN] < 40u * w.seen.beats); /* a turn of the queue or two each */
    close_world(&w);
}

/* ---- who is not judged -------------------------------------------------------------------- */

static void a_paused_vm(void **unused) {
    (void)unused;
    for (uint32_t at = 0; at <= 2 * BEAT_MS + 1000; at += 1000) {
        struct world w;
        struct world_call c = {0};
        open_running(&w, "paused");
        lose_beats(&w, at > BEAT_MS);
        world_pass(&w, at);
        struct uvm__hcs_system *s = uvm__sim_newest(w.host);
        EXPECT_EQ(&w, WORLD_START(&w, &c, uvm__hcs_pause(s, NULL, world_on_done, &c, &c.op)), 0);
        world_wait(&w, &c, 1000);
        EXPECT_EQ(&w, uvm_vm_state(w.vm), UVM_VM_PAUSED);
        world_call_end(&c);
        lose_beats(&w, true);
        world_pass(&w, LEAP_MS);
        EXPECT_EQ(&w, uvm_vm_state(w.vm), UVM_VM_PAUSED);
        EXPECT_EQ(&w, w.seen.beats, 0);
        EXPECT_EQ(&w, WORLD_START(&w, &c, uvm__hcs_resume(s, NULL, world_on_done, &c, &c.op)), 0);
        world_wait(&w, &c, 1000);
        world_call_end(&c);
        lose_beats(&w, false);
        world_pass(&w, LEAP_MS);
        EXPECT_EQ(&w, uvm_vm_state(w.vm), UVM_VM_RUNNING);
        expect_found(&w);
        close_world(&w);
    }
}

/* Memory is lacking for one allocation at any moment of a beat's life. */
static void no_memory_for_a_beat(void **unused) {
    (void)unused;
    uint32_t n = 1;
    for (uint32_t at = 0; at < n; at++) { /* the first run counts */
        struct world w;
        open_running(&w, "no memory");
        w.allocs = 0;
        w.fail_at = at;
        world_pass(&w, (uint64_t)3 * BEAT_MS + SLACK_MS);
        n = at == 0 ? w.allocs + 1 : n;
        w.fail_at = 0;
        EXPECT_EQ(&w, uvm_vm_state(w.vm), UVM_VM_RUNNING);
        expect_found(&w);
        close_world(&w);
    }
    assert_true(n > 3);
    print_message("heartbeats: %u allocations, each failed once\n", n - 1);
}

/* ---- who does not wait for it ------------------------------------------------------------- */

static uint64_t close_takes(uint32_t at_ms, bool lost) {
    struct world w;
    open_running(&w, "close");
    lose_beats(&w, lost);
    world_pass(&w, at_ms);
    uint64_t begun = uvm__now_ms(w.e);
    world_vm_close(&w, w.vm);
    uint64_t took = uvm__now_ms(w.e) - begun;
    world_close(&w);
    return took;
}

static void close_does_not_wait(void **unused) {
    (void)unused;
    uint64_t usual = close_takes(1000, false);
    for (uint32_t at = BEAT_MS - 3; at < BEAT_MS + 12; at++) {
        assert_int_equal(close_takes(at, false), usual);
        assert_int_equal(close_takes(at, true), usual);
        assert_int_equal(close_takes(at + BEAT_MS, true), usual);
    }
}

/* A guest that shuts down may take longer than beats would allow. */
static void a_stop_has_its_own_patience(void **unused) {
    (void)unused;
    struct world w;
    struct world_call c = {0};
    open_running(&w, "stop");
    w.script.ignores_shutdown = true;
    lose_beats(&w, true);
    world_pass(&w, BEAT_MS + 1000);
    EXPECT_EQ(&w, WORLD_START(&w, &c, uvm_vm_stop(w.vm, 60000, NULL, world_on_done, &c, &c.op)), 0);
    world_pass(&w, 59000);
    EXPECT_EQ(&w, uvm_vm_state(w.vm), UVM_VM_STOPPING);
    EXPECT_EQ(&w, w.seen.beats, 1);
    world_wait(&w, &c, 2000);
    EXPECT_EQ(&w, uvm_vm_exit(w.vm).reason, UVM_EXIT_TERMINATED);
    world_call_end(&c);
    close_world(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_way_to_answer),
        cmocka_unit_test(an_agent_without_extensions),
        cmocka_unit_test(a_stall_at_each_moment),
        cmocka_unit_test(lost_beats_do_not_pile_up),
        cmocka_unit_test(time_leaps),
        cmocka_unit_test(an_idle_vm),
        cmocka_unit_test(a_paused_vm),
        cmocka_unit_test(no_memory_for_a_beat),
        cmocka_unit_test(close_does_not_wait),
        cmocka_unit_test(a_stop_has_its_own_patience),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
