/* SPDX-License-Identifier: MIT
 * qemu_kit.h — a compute service on real QEMU for tests: a document, a VM, its events, and a census.
 *
 * Tests read like blocking code: each helper runs the loop until what it waits for has come, or fails after
 * KIT_WAIT_MS with the guest's console on stderr.
 */
#pragma once
#include "hcs/compute_service.h"
#include "hcs/doc.h"
#include "hcs/qemu/qemu_service.h"
#include "tests/unit/loop.h"

enum { KIT_WAIT_MS = 60000 };

/* Of the test program's arguments; absolute. */
struct kit_files {
    const char *kernel, *initrd, *launch;
};
extern struct kit_files kit_files;

/* The agent's place is taken by a shell that runs what comes by the console, line by line. */
#define KIT_SHELL                                                                                  \
    " initcall_blacklist=virtio_vsock_init 8250_core.nr_uarts=0 panic=-1 quiet pci=off nr_cpus=1 " \
    "brd.rd_nr=0 pmtmr=0 -- -e 1 sh -c \"stty -echo; echo guest is up; while read x; do eval $x; " \
    "done\""

struct kit {
    struct loop_kit base;
    struct uvm__hcs *service;
    bool service_closed;
    struct uvm__doc doc; /* a small VM; tests change it before create */

    const char *cgroup; /* of create; NULL: none */
    uvm_scope *scope;   /* of create; NULL: the engine's */
    long fail_at;       /* allocations of the engine from create on; negative: none fails */
    bool fail_for_good;
    uvm_op *create; /* NULL: it did not even start */
    bool created;   /* create's op has resolved */
    int create_code;
    struct uvm__hcs_system *system;
    int console; /* our end of the guest's COM1; -1: none */

    char text[65536]; /* of the console; the begin is dropped when full */
    size_t text_bytes;
    size_t text_seen; /* by kit_expect() */
    bool text_came;
    bool exited, paused, resumed;
    enum uvm__hcs_exit exit;
    char exit_detail[4096];
    unsigned released; /* how often that was told, and the last one's path */
    char released_path[128];
};

void kit_arguments(int argc, char **argv);

void kit_open(struct kit *k);
void kit_service(struct kit *k, const struct uvm_qemu_params *params); /* NULL: the usual ones */
struct uvm_qemu_params kit_params(void);

/* Starts create, with a console; kit_wait_created() takes the system when it succeeded. */
void kit_create(struct kit *k);
void kit_wait_created(struct kit *k);
/* Both, and start: the guest has said "guest is up". */
void kit_boot(struct kit *k);

typedef int kit_verb(struct uvm__hcs_system *s, uvm_scope *scope, uvm_done_fn on_done, void *arg,
                     uvm_op **ret_op);
/* Runs a verb to its end; the code of its error, or UVM_OK. */
int kit_run(struct kit *k, kit_verb *verb);

/* Waits until the console has shown `text` behind what was expected before. */
void kit_expect(struct kit *k, const char *text);
void kit_type(struct kit *k, const char *line);
void kit_wait_exit(struct kit *k);
/* Of the process that is QEMU; 0: none. */
long kit_vmm(void);
int kit_children(void);
/* What the properties say, by a path like "Vmm.Accelerator"; NULL: absent. Valid until the next call. */
const char *kit_property(struct kit *k, const char *path);

/* Closes system, service and engine; asserts that no process, descriptor or block is left. */
void kit_close_system(struct kit *k);
void kit_close(struct kit *k);
