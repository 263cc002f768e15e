/* SPDX-License-Identifier: MIT
 * cm.h — cmocka with the headers that it wants before itself.
 */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after those */
#include <cmocka.h>
