/* SPDX-License-Identifier: MIT
 * uvmctl_kit.h — a copy of uvmctl in a folder of its own, with boot files, and ways to run it.
 *
 *   FOLDER/bin/uvmctl, uvm-launch     FOLDER/vmlinux, initrd.img (tools.img)    FOLDER/empty/ (the working folder)
 *   FOLDER/state/ (for UVM_STATE_DIR)
 *
 * After each case nothing may be left: no process, no descriptor, no file, nothing that the census knows.
 */
#pragma once
#include "tests/harness/harness_census.h"
#include "tests/integration/command.h"
#include "tests/unit/cm.h"

#define BOOT_MS 90000 /* nothing here takes as long; a loaded machine under emulation may */
#define LIST(...) ((const char *const[]){__VA_ARGS__, NULL})

struct kit {
    char folder[64];
    char uvmctl[96], empty[96], state[96], kernel[96], initrd[96];
    char liar[96];               /* initrd.img and the liar */
    uvm_harness_census *nothing; /* what there is while nothing runs */
};
extern struct kit kit;

/* Fails the test unless, within the time, we have no descendant at all. */
void expect_nobody_left(unsigned timeout_ms);

/* argv of the test: uvmctl, uvm-launch, vmlinux, initrd.img, liar.img, and for some tools.img. */
void kit_open(char **argv);
void kit_close(void);
/* cmocka's teardown: nobody left, nothing written. */
int kit_check(void **state);

/* `uvmctl boot WORDS…`, or any other verb when the first word is not an option. */
void boot_start(struct command *c, const struct command_options *o, const char *const *words);
int boot_run(struct command *c, const char *const *words);
/* Its stdout, exactly. */
void expect_out(const struct command *c, const char *text);
/* Its stderr has it. */
void expect_err(const struct command *c, const char *text);

/* Writes FOLDER/NAME; the test removes it by kit_forget(). */
void kit_write(const char *name, const void *data, size_t bytes, char ret_path[128]);
void kit_forget(const char *path);
/* A document that boots with this initrd and lets /init run `agent`. */
void kit_document(const char *initrd, const char *agent, char ret_path[128]);
