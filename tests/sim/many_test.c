/* SPDX-License-Identifier: MIT
 * many_test.c — a thousand VMs in one process, all alive at once, again and again: nothing grows.
 */
#include "tests/sim/world.h"
#include <stdio.h>
#include <sys/resource.h>

#define VMS 1000u
#define ROUNDS 6u

static long rss_peak_kb(void) {
    struct rusage u;
    assert_int_equal(getrusage(RUSAGE_SELF, &u), 0);
    return u.ru_maxrss;
}

struct round {
    uint64_t blocks, bytes; /* of the engine's memory, while all run */
    long rss_kb;            /* peak so far */
};

static uvm_vm *vms[VMS];
static struct world_call calls[VMS];

static struct round live_and_die(struct world *w) {
    for (unsigned i = 0; i < VMS; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "sim-%u", i);
        vms[i] = world_vm_new(w, name);
        calls[i] = (struct world_call){0};
        EXPECT_EQ(w, world_boot(w, &calls[i], vms[i], NULL), 0);
        if (i % 16 == 0) {
            world_pass(w, 1); /* at every stage at once */
        }
    }
    for (unsigned i = 0; i < VMS; i++) {
        world_wait(w, &calls[i], 1000);
        EXPECT_EQ(w, calls[i].code, UVM_OK);
        world_call_end(&calls[i]);
    }
    struct uvm__sim_ledger l = uvm__sim_ledger(w->host);
    EXPECT_EQ(w, l.running, VMS);
    struct round r = {.blocks = w->live, .bytes = w->live_bytes};
    /* One half is stopped first, the other just closed. */
    for (unsigned i = 0; i < VMS; i += 2) {
        calls[i] = (struct world_call){0};
        EXPECT_EQ(w,
                  WORLD_START(w, &calls[i],
                              uvm_vm_stop(vms[i], 0, NULL, world_on_done, &calls[i], &calls[i].op)),
                  0);
    }
    for (unsigned i = 0; i < VMS; i += 2) {
        world_wait(w, &calls[i], 1000);
        EXPECT_EQ(w, calls[i].code, UVM_OK);
        world_call_end(&calls[i]);
    }
    for (unsigned i = 0; i < VMS; i++) {
        world_vm_close(w, vms[i]);
    }
    r.rss_kb = rss_peak_kb();
    return r;
}

static void a_thousand_vms(void **unused) {
    (void)unused;
    struct world w;
    struct round rounds[ROUNDS];
    world_open(&w);
    uint64_t idle = w.live_bytes;
    for (unsigned r = 0; r < ROUNDS; r++) {
        (void)snprintf(w.label, sizeof w.label, "round %u", r);
        rounds[r] = live_and_die(&w);
        EXPECT_EQ(&w, w.live_bytes, idle);
        print_message("round %u: %u VMs, %llu bytes each, %llu left, peak RSS %ld KiB\n", r, VMS,
                      (unsigned long long)((rounds[r].bytes - idle) / VMS),
                      (unsigned long long)(w.live_bytes - idle), rounds[r].rss_kb);
    }
    EXPECT_EQ(&w, rounds[ROUNDS - 1].blocks, rounds[0].blocks);
#ifndef __SANITIZE_ADDRESS__ /* which keeps what is freed */
    EXPECT(&w, rounds[ROUNDS - 1].rss_kb - rounds[ROUNDS / 2].rss_kb < 4096);
#endif
    EXPECT(&w, (rounds[0].bytes - idle) / VMS <= 64u << 10);
    EXPECT_EQ(&w, uvm__sim_ledger(w.host).created, (uint64_t)VMS * ROUNDS);
    world_close(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_thousand_vms)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
