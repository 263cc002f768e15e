/* SPDX-License-Identifier: MIT
 * child_kit.h — children for tests: one with its story, and what each test begins and ends with.
 *
 * The first argument of the test program is the path of uvm-launch.
 */
#pragma once
#include "async/child.h"
#include "tests/unit/loop.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *kid_launch;
static struct loop_kit kit;

/* What a child's callbacks saw, and what they do. */
struct kid {
    struct uvm__child *c;
    bool started, exited, closed;
    int code; /* of the error that on_started got; 0: none */
    int64_t sys;
    char step[32], message[256];
    int status;
    char said[16384];
    bool close_when_started, close_when_exited;
};

static inline void kid_on_closed(void *arg) {
    struct kid *k = arg;
    assert_false(k->closed);
    k->closed = true;
}
static inline void kid_close(struct kid *k) {
    struct uvm__child *c = k->c;
    k->c = NULL;
    uvm__child_close(c, kid_on_closed, k);
    assert_false(k->closed); /* never inside the call */
}
static inline void kid_on_started(struct uvm__child *c, const uvm_error *err, void *arg) {
    struct kid *k = arg;
    assert_ptr_equal(k->c, c);
    assert_false(k->started || k->exited);
    k->started = true;
    if (err != NULL) {
        k->code = (int)uvm_error_code(err);
        k->sys = uvm_error_sys(err);
        (void)snprintf(k->step, sizeof k->step, "%s", uvm_error_step(err));
        (void)snprintf(k->message, sizeof k->message, "%s", uvm_error_message(err));
    }
    if (k->close_when_started) {
        kid_close(k);
    }
}
static inline void kid_on_exit(struct uvm__child *c, int status, void *arg) {
    struct kid *k = arg;
    assert_ptr_equal(k->c, c);
    assert_true(k->started);
    assert_false(k->exited);
    assert_true(uvm__child_exited(c));
    k->exited = true;
    k->status = status;
    (void)uvm__child_stderr(c, k->said, sizeof k->said);
    if (k->close_when_exited) {
        kid_close(k);
    }
}

static inline struct uvm__child_params kid_params(struct kid *k, const char *const *argv) {
    memset(k, 0, sizeof *k);
    return (struct uvm__child_params){.launch_path = kid_launch,
                                      .name = "kid",
                                      .argv = argv,
                                      .on_started = kid_on_started,
                                      .on_exit = kid_on_exit,
                                      .arg = k};
}

static inline void kid_spawn(struct kid *k, const struct uvm__child_params *p) {
    struct uvm__fail f = {.msg = ""};
    if (uvm__child_spawn(kit.engine, p, &k->c, &f) != 0) {
        fail_msg("%s", f.msg);
    }
    assert_false(k->started || k->exited); /* never inside the call */
    assert_true(uvm__child_pid(k->c) > 0);
}

/* From the start to the end. */
static inline void kid_run(struct kid *k, const struct uvm__child_params *p) {
    kid_spawn(k, p);
    loop_until(&kit, &k->exited);
    kid_close(k);
    loop_until(&kit, &k->closed);
}

/* Runs the loop until the child has said something on its captured stderr. */
static inline void kid_until_said(struct kid *k, const char *text) {
    while (strcmp(k->said, text) != 0) {
        uv_run(&kit.loop, UV_RUN_ONCE);
        (void)uvm__child_stderr(k->c, k->said, sizeof k->said);
        assert_false(k->exited);
    }
}

static inline int kid_setup(void **unused) {
    (void)unused;
    loop_open(&kit);
    return 0;
}

/* No child may be left either, dead or alive. */
static inline int kid_teardown(void **unused) {
    (void)unused;
    loop_close(&kit);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
    return 0;
}

#define KID_CASE(name) cmocka_unit_test_setup_teardown(name, kid_setup, kid_teardown)
#define KID_SHELL(script)                                                                          \
    (const char *const[]) {                                                                        \
        "/bin/sh", "-c", (script), NULL                                                            \
    }
