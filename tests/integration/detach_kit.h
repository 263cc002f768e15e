/* SPDX-License-Identifier: MIT
 * detach_kit.h — UVMs in the background, in a state folder of the test's own.
 */
#pragma once
#include "tests/integration/uvmctl_kit.h"

#define SHORT_MS 20000

/* How many names are in the state folder. */
int entries(void);
/* Runs it; its status must be this one, and its output have these words (NULL: any). */
void expect(int status, const char *out, const char *err, const char *const *words);
/* -1: there is no such UVM. */
pid_t owner_of(const char *name);

/* cmocka's setup: a UVM called demo. */
int boot_demo(void **state);
/* cmocka's teardown: nothing is left, nor a UVM in the state folder. */
int nothing_left(void **state);
