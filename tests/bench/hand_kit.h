/* SPDX-License-Identifier: MIT
 * hand_kit.h — the other way of a comparison: QMP commands on the VM's own socket, and a shell that waits in its guest.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Starts `script` in the guest; of all that it prints, hand_await() waits for words. */
void hand_open(const char *script);
void hand_close(void);
void hand_say(const char *line);
/* Until the shell has printed it; a colon before that is an error message of something there. */
void hand_await(const char *word);

/* One command, until its answer, which must be no error. */
void hand_qmp(const char *command, const char *arguments);
/* Again, until QEMU no longer refuses it. */
void hand_qmp_until_done(const char *command, const char *arguments);

/* The median of so many times, which are sorted by it; and one line of JSON for bench.py. */
uint64_t hand_median(uint64_t *us, size_t count);
void hand_print(const char *name, uint64_t us, uint64_t reference_us);
