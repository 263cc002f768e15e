/* SPDX-License-Identifier: MIT
 * scale.c — see scale.h. In a world where everything takes no time: no VM waits for another's heartbeats.
 */
#include "tests/sim/scale.h"
#include "async/check.h"
#include "tests/sim/disk_flow.h"
#include "tests/sim/flow.h"
#include <stdio.h>
#include <stdlib.h>

static void come_up(struct world *w, uvm_vm **vm, uint32_t number) {
    char name[16], id[32];
    (void)snprintf(name, sizeof name, "sim-%u", number);
    struct uvm_scsi_params disk = disk_mount("/disk", "/data");
    *vm = w->vm = world_vm_new(w, name);
    world_boot_well(w, w->vm);
    disk_attach_well(w, &disk, id);
    flow_well(w, w->vm, FLOW_TRUE);
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
    for (uint32_t i = 0; i < s->vms; i++) {
        come_up(&w, &vms[i], i);
        tell(s, true, i + 1);
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
