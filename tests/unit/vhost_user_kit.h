/* SPDX-License-Identifier: MIT
 * vhost_user_kit.h — one device behind a front end, for each case anew.
 */
#pragma once
#include "tests/unit/vhost_front.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

static struct loop_kit kit;

static struct front front;

static inline int setup(void **state) {
    loop_open(&kit);
    front_open(&front, &kit);
    *state = &front;
    return 0;
}

static inline int teardown(void **state) {
    front_close(*state);
    loop_close(&kit); /* counts descriptors and blocks */
    return 0;
}

static inline void on_flag(void *arg) {
    *(bool *)arg = true;
}

/* 35, 36: each ends the connection, with an error and nothing left open. */
static inline void ends_in_error(struct front *f) {
    char byte;
    front_turns(f);
    assert_true(f->ended);
    assert_int_equal(f->ends, 1);
    assert_int_not_equal(f->end_code, 0);
    ssize_t n = read(f->fd, &byte, 1);
    assert_true(n == 0 || (n < 0 && errno == ECONNRESET)); /* it has hung up */
}
