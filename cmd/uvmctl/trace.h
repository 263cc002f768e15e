/* SPDX-License-Identifier: MIT
 * trace.h — `--trace FILE` of every verb: what happened when, as Chrome trace JSON.
 *
 * A program writes one trace. It has a process for uvmctl itself (the verb, and its calls to an owner), and
 * one for each UVM, in which each operation is a thread and its steps are nested: complete events, in
 * microseconds of CLOCK_MONOTONIC. Names of verbs, UVMs, operations and steps are all that is in it, never
 * words of a command. After each event the file is valid JSON, however the program ends.
 */
#pragma once
#include "async/async.h"

/* Creates FILE, 0600, or empties the regular file that is there. False: it said why. */
bool trace_open(const char *verb, const char *path);
bool trace_wanted(void);
/* A span of the engine's; text is ignored. `owner`: it happened in the process that owns the UVM. */
void trace_record(const struct uvm_log_record *record, bool owner);
/* A call to an owner that has been answered, or not (`result` a code's name). */
void trace_call(const char *method, uint64_t begin_us, const char *result);
/* From here on, spans of owners are missing. */
void trace_owner_lost(void);
uint64_t trace_now_us(void);
/* Writes the verb's own span, and says what is missing. Idempotent. */
void trace_close(int status);
/* Another process writes FILE from here on. */
void trace_leave(void);
