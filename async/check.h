/* SPDX-License-Identifier: MIT
 * check.h — assertions that stay on in release builds; for the engine's own invariants only.
 *
 * Input from outside is validated, never asserted on. A failed assertion prints and aborts.
 */
#pragma once
#include <stdint.h>

#define UVM_STATIC_ASSERT(cond, text) _Static_assert(cond, text)

_Noreturn void uvm__check_failed(const char *file, int line, const char *text);
_Noreturn void uvm__check_failed_cmp(const char *file, int line, const char *text, int64_t a,
                                     int64_t b);

#define UVM_ASSERT(cond)                                                                           \
    do {                                                                                           \
        if (__builtin_expect(!(cond), 0)) {                                                        \
            uvm__check_failed(__FILE__, __LINE__, #cond);                                          \
        }                                                                                          \
    } while (0)

/* Compares two integers and prints both: UVM_ASSERT_CMP(used, <=, size). */
#define UVM_ASSERT_CMP(a, op, b)                                                                   \
    do {                                                                                           \
        if (__builtin_expect(!((a)op(b)), 0)) {                                                    \
            uvm__check_failed_cmp(__FILE__, __LINE__, #a " " #op " " #b, (int64_t)(a),             \
                                  (int64_t)(b));                                                   \
        }                                                                                          \
    } while (0)
