/* SPDX-License-Identifier: MIT
 * error.h — building errors. See async.h for reading them.
 *
 * A new error belongs to its maker with one reference; it may be amended until it is shared. When
 * memory runs out every maker returns a preallocated error of the same code, so reporting never fails;
 * the amenders accept it and do nothing. Messages: one line, lower-case, no full stop, the object named.
 */
#pragma once
#include "async/async.h"
#include <stdarg.h>

__attribute__((format(printf, 4, 5))) uvm_error *uvm__error(uvm_engine *e, enum uvm_error_code code,
                                                            int64_t sys, const char *fmt, ...);
uvm_error *uvm__error_v(uvm_engine *e, enum uvm_error_code code, int64_t sys, const char *fmt,
                        va_list ap);
/* "message: strerror(err)" with code IO (or NOMEM for ENOMEM) and sys = err (positive errno). */
__attribute__((format(printf, 3, 4))) uvm_error *uvm__error_errno(uvm_engine *e, int err,
                                                                  const char *fmt, ...);
uvm_error *uvm__error_nomem(void);

/* Amenders: take and return the caller's reference. A shared error is cloned first. */
uvm_error *uvm__error_detail(uvm_error *take_err, const char *text, size_t bytes);
uvm_error *uvm__error_cause(uvm_error *take_err, uvm_error *take_cause);
uvm_error *uvm__error_retryable(uvm_error *take_err);
/* Puts "name › " before the step path. */
uvm_error *uvm__error_step(uvm_error *take_err, const char *name);

/* A small value for synchronous leaf functions that have something to say: they return a negative
 * code and fill `msg`; the caller turns it into an error with uvm__fail_error(). */
struct uvm__fail {
    int64_t sys;
    char msg[240];
};
__attribute__((format(printf, 4, 5))) int uvm__fail(struct uvm__fail *f, enum uvm_error_code code,
                                                    int64_t sys, const char *fmt, ...);
uvm_error *uvm__fail_error(uvm_engine *e, int negative_code, const struct uvm__fail *f);
