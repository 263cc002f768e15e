/* SPDX-License-Identifier: MIT
 * scale.c — see scale.h. In a world where everything takes no time.
 */
#include "tests/sim/scale.h"
#include "async/check.h"
#include "tests/sim/disk_flow.h"
#include "tests/sim/flow.h"
#include <stdio.h>
#include <stdlib.h>

#define AT_ONCE 100u /* come up together, so that little time passes and with it few heartbeats */

static void wait_well(struct world *w, struct world_call *c) {
    world_wait(w, c, 1000);
    EXPECT_EQ(w, c->code, UVM_OK);
    world_call_end(c);
}

static void come_up(struct world *w, uvm_vm **vms, uint32_t first, uint32_t count) {
    static struct world_call calls[AT_ONCE];
    static struct flow flows[AT_ONCE];
    struct uvm_scsi_params disk = disk_mount("/disk", "/data");
    char name[16];
    for (uint32_t i = 0; i < count; i++) {
        (void)snprintf(name, sizeof name, "sim-%u", first + i);
        vms[i] = world_vm_new(w, name);
        calls[i] = (struct world_call){0};
        EXPECT_EQ(w, world_boot(w, &calls[i], vms[i], NULL), 0);
    }
    for (uint32_t i = 0; i < count; i++) {
        wait_well(w, &calls[i]);
    }
    for (uint32_t i = 0; i < count; i++) {
        w->vm = vms[i];
        calls[i] = (struct world_call){0};
        EXPECT_EQ(w, disk_attach(w, &calls[i], &disk), 0);
    }
    for (uint32_t i = 0; i < count; i++) {
        wait_well(w, &calls[i]);
    }
    for (uint32_t i = 0; i < count; i++) {
        EXPECT_EQ(w, flow_start(&flows[i], w, vms[i], &flow_rows[FLOW_TRUE], NULL), 0);
    }
    for (uint32_t i = 0; i < count; i++) {
        flow_wait(&flows[i], 1000);
        flow_expect(&flows[i]);
        flow_end(&flows[i]);
    }
}

static void go_down(struct world *w, uvm_vm *vm) {
    struct world_call c = {0};
    EXPECT_EQ(w, WORLD_START(w, &c, uvm_vm_stop(vm, 0, NULL, world_on_done, &c, &c.op)), 0);
    world_wait(w, &c, 1000);
    EXPECT_EQ(w, c.code, UVM_OK);
    world_call_end(&c);
    world_vm_close(w, vm);
}

static void tell(const struct scale *s, bool up, uint32_t count) {
    if (s->on_step != NULL && count % s->step == 0) {
        s->on_step(up, count, s->arg);
    }
}

void scale_run(struct scale *s) {
    static struct world w;
    uvm_vm **vms = calloc(s->vms, sizeof(uvm_vm *));
    UVM_ASSERT(vms != NULL);
    world_open_at(&w, &world_paces[1]);
    uint64_t idle = w.live_bytes;
    tell(s, true, 0);
    world_script(&w, NULL);
    for (uint32_t i = 0; i < s->vms; i += AT_ONCE) {
        uint32_t count = s->vms - i < AT_ONCE ? s->vms - i : AT_ONCE;
        come_up(&w, &vms[i], i, count);
        tell(s, true, i + count);
    }
    struct uvm__sim_ledger l = uvm__sim_ledger(w.host);
    EXPECT(&w, l.running == s->vms && l.disks == s->vms && w.seen.mounts == s->vms);
    tell(s, false, 0);
    for (uint32_t i = 0; i < s->vms; i++) {
        go_down(&w, vms[i]);
        tell(s, false, i + 1);
    }
    s->bytes_each = (w.live_bytes_peak - idle) / s->vms;
    s->bytes_left = w.live_bytes - idle;
    world_close(&w);
    free(vms);
}
