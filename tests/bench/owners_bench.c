/* SPDX-License-Identifier: MIT
 * owners_bench.c — many UVMs in the background, without their machines: a process each that serves the real
 * control socket of a VM of the simulation.
 *
 *   owners_bench FOLDER COUNT     says "ready" when all of them run; they end when its stdin does
 */
#include "hcs/sim/sim.h"
#include "tests/sim/guest.h"
#include "uvm/control.h"
#include "uvm/uvm.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>
#include <uv.h>

static struct {
    uv_loop_t loop;
    uvm_engine *engine;
    struct guest *guest;
    struct guest_script script;
    struct guest_seen seen;
    int ready; /* a byte goes there */
} owner;

static void check(int rc, const char *what) {
    if (rc < 0) {
        (void)fprintf(stderr, "owners_bench: %s: %s\n", what, uvm_error_code_text(rc));
        exit(1);
    }
}

static void on_start(struct uvm__hcs_system *s, struct uvm__hvsock *hvsock, void *arg) {
    (void)arg;
    owner.guest = guest_new(owner.engine, s, hvsock, &owner.script, &owner.seen);
}

static void on_stop(struct uvm__hcs_system *s, void *arg) {
    (void)s;
    (void)arg;
    guest_stop(owner.guest);
}

static void on_booted(uvm_op *op, const uvm_error *err, void *arg) {
    (void)op;
    (void)arg;
    check(err == NULL ? 0 : -1, "boot");
    check(write(owner.ready, "r", 1) == 1 ? 0 : -1, "pipe");
}

static _Noreturn void own(const char *folder, unsigned nth) {
    const struct uvm__sim_params sim = {
        .act_ms = 1, .answer_ms = 1, .on_start = on_start, .on_stop = on_stop};
    struct uvm_vm_params p = UVM_VM_PARAMS_INIT;
    struct uvm_control_params cp = UVM_CONTROL_PARAMS_INIT;
    struct uvm__sim_host *host = NULL;
    uvm_vm *vm = NULL;
    char name[16];
    (void)snprintf(name, sizeof name, "vm-%u", nth);
    p.name = name;
    p.kernel = "/boot/vmlinux";
    p.initrd = "/boot/initrd.img";
    cp.folder = folder;
    cp.owner_pid = (uint32_t)getpid();
    check(prctl(PR_SET_PDEATHSIG, SIGKILL), "prctl");
    check(uv_loop_init(&owner.loop), "loop");
    check(uvm_engine_new(&owner.loop, NULL, &owner.engine), "engine");
    check(uvm__sim_host_new(owner.engine, &sim, &host), "host");
    check(uvm_vm_new(owner.engine, uvm__sim_service(host), &p, &vm, NULL), "vm");
    check(uvm_control_listen(vm, &cp, NULL, NULL), "control socket");
    check(uvm_vm_boot(vm, NULL, on_booted, NULL, NULL), "boot");
    (void)uv_run(&owner.loop, UV_RUN_DEFAULT);
    exit(1); /* it is killed before */
}

int main(int argc, char **argv) {
    unsigned count = argc == 3 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;
    int ends[2];
    char byte;
    if (count == 0) {
        (void)fprintf(stderr, "usage: owners_bench FOLDER COUNT\n");
        return 2;
    }
    check(pipe(ends), "pipe");
    owner.ready = ends[1];
    for (unsigned i = 0; i < count; i++) {
        pid_t pid = fork();
        check(pid, "fork");
        if (pid == 0) {
            own(argv[1], i);
        }
    }
    close(ends[1]);
    for (unsigned i = 0; i < count; i++) {
        check(read(ends[0], &byte, 1) == 1 ? 0 : -1, "an owner");
    }
    printf("ready\n");
    (void)fflush(stdout);
    (void)!read(STDIN_FILENO, &byte, 1);
    return 0; /* and they die with us */
}
