/* SPDX-License-Identifier: MIT
 * basics_test.c — errors, buffers, tails, GUIDs, event ring.
 */
#include "async/buf.h"
#include "async/engine.h"
#include "async/error.h"
#include "async/guid.h"
#include "async/log.h"
#include "tests/unit/cm.h"
#include <errno.h>
#include <string.h>

static uvm_engine *engine;

static int setup(void **unused) {
    (void)unused;
    return uvm__engine_new_virtual(NULL, 3, &engine);
}
static int teardown(void **unused) {
    (void)unused;
    uvm__engine_free_virtual(engine);
    return 0;
}

static void errors_chain_and_clone_when_shared(void **unused) {
    (void)unused;
    uvm_error *err = uvm__error_errno(engine, ENOENT, "kernel '%s'", "/boot/x");
    assert_string_equal(uvm_error_message(err), "kernel '/boot/x': No such file or directory");
    assert_int_equal(uvm_error_sys(err), ENOENT);
    uvm_error *other = uvm_error_ref(err);
    err = uvm__error_step(err, "create");
    err = uvm__error_step(err, "vm boot");
    err = uvm__error_detail(err, "line one\nline two", 8);
    assert_string_equal(uvm_error_step(err), "vm boot › create");
    assert_string_equal(uvm_error_detail(err), "line one");
    assert_string_equal(uvm_error_step(other), ""); /* untouched */
    err = uvm__error_cause(err, other);
    assert_ptr_equal(uvm_error_cause(err), other);
    assert_null(uvm_error_unref(err));
    assert_null(uvm_error_unref(NULL));
}

static void code_names_and_texts(void **unused) {
    (void)unused;
    assert_string_equal(uvm_error_code_name(UVM_E_TIMEDOUT), "TIMEDOUT");
    assert_string_equal(uvm_error_code_name(-UVM_E_TIMEDOUT), "TIMEDOUT");
    assert_string_equal(uvm_error_code_name(12345), "UNKNOWN");
    assert_string_equal(uvm_error_code_text(UVM_OK), "success");
    uvm_error *oom = uvm__error_nomem();
    assert_ptr_equal(uvm_error_ref(oom), oom);
    assert_true(uvm_error_retryable(oom));
    assert_string_equal(uvm_error_message(oom), "out of memory");
}

static void buffers_grow_to_their_cap_and_no_further(void **unused) {
    (void)unused;
    struct uvm__buf b;
    uvm__buf_init(&b, engine, 10);
    assert_int_equal(uvm__buf_puts(&b, "12345"), 0);
    assert_int_equal(uvm__buf_printf(&b, "%d", 67890), 0);
    assert_int_equal(uvm__buf_append(&b, "x", 1), -UVM_E_LIMIT);
    assert_string_equal((char *)b.data, "1234567890");
    uvm__buf_consume(&b, 3);
    assert_string_equal((char *)b.data, "4567890");
    uvm__buf_deinit(&b);
}

static void a_tail_keeps_the_newest(void **unused) {
    (void)unused;
    struct uvm__tail t;
    char buf[16];
    assert_int_equal(uvm__tail_init(&t, engine, 4), 0);
    uvm__tail_write(&t, "ab", 2);
    assert_int_equal(uvm__tail_read(&t, buf, sizeof buf), 2);
    assert_string_equal(buf, "ab");
    uvm__tail_write(&t, "cdefgh", 6);
    assert_int_equal(uvm__tail_read(&t, buf, sizeof buf), 4);
    assert_string_equal(buf, "efgh");
    uvm__tail_write(&t, "i", 1);
    assert_int_equal(uvm__tail_read(&t, buf, 3), 2);
    assert_string_equal(buf, "hi");
    uvm__tail_deinit(&t);
}

static void guids_read_and_print(void **unused) {
    (void)unused;
    struct uvm__guid g;
    char text[UVM_GUID_TEXT];
    assert_int_equal(uvm__guid_read("ACEF5661-84a1-4e44-856b-6245e69f4620", 36, &g), 0);
    uvm__guid_text(&g, text);
    assert_string_equal(text, "acef5661-84a1-4e44-856b-6245e69f4620");
    assert_int_equal(uvm__guid_read("acef5661-84a1-4e44-856b-6245e69f462", 35, &g), -UVM_E_INVAL);
    assert_int_equal(uvm__guid_read("acef5661x84a1-4e44-856b-6245e69f4620", 36, &g), -UVM_E_INVAL);
    assert_int_equal(uvm__guid_read("gcef5661-84a1-4e44-856b-6245e69f4620", 36, &g), -UVM_E_INVAL);
    struct uvm__guid r;
    uvm__guid_random(engine, &r);
    uvm__guid_text(&r, text);
    assert_int_equal(text[14], '4');
    assert_false(uvm__guid_equal(&g, &r));
}

static void the_ring_keeps_the_last_events(void **unused) {
    (void)unused;
    struct uvm__ring ring = {0};
    for (unsigned i = 0; i < UVM__EVENT_RING + 2; i++) {
        uvm__ring_note(engine, &ring, "event %u", i);
        uvm__engine_advance(engine, 1);
    }
    char buf[4096];
    assert_true(uvm__ring_print(&ring, buf, sizeof buf) > 0);
    assert_memory_equal(buf, "+0 ms event 2\n+1 ms event 3\n", 28);
    assert_int_equal(uvm__ring_print(&ring, buf, 20), 14); /* whole lines */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_chain_and_clone_when_shared),
        cmocka_unit_test(code_names_and_texts),
        cmocka_unit_test(buffers_grow_to_their_cap_and_no_further),
        cmocka_unit_test(a_tail_keeps_the_newest),
        cmocka_unit_test(guids_read_and_print),
        cmocka_unit_test(the_ring_keeps_the_last_events),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
