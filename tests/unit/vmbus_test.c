/* SPDX-License-Identifier: MIT
 * vmbus_test.c — the host's end of the offer channel over loopback: every answer of a guest, and every lack of one.
 *
 * The guest is this test, which reads and writes lines. The window is small enough that the snapshot does not fit.
 */
#include "async/engine.h"
#include "async/limits.h"
#include "hvsock/hvsock.h"
#include "tests/unit/cm.h"
#include "tests/unit/heap.h"
#include "vmbus/vmbus.h"
#include "vmbus/wire.h"
#include <stdio.h>
#include <string.h>

#define G(n) "0000000" #n "-1111-2222-3333-444444444444"
#define STORVSC "ba6163d9-04a1-4d29-b605-72e2ffb1dc7f"
#define OFFER(n)                                                                                   \
    "{\"offer\":{\"class\":\"" STORVSC                                                             \
    "\",\"instance\":\"" G(n) "\",\"location\":\"0000:00:04.0\"}}\n"
#define HELLO "{\"version\":1}\n"
#define SYNC "{\"sync\":true}\n"

struct result {
    uvm_op *op;
    unsigned count;
    int code;
    char text[256];
};

struct bed {
    struct heap heap;
    uvm_engine *engine;
    struct uvm__hvsock *host, *guest;
    struct uvm__vmbus *bus;
    struct uvm__stream *stream;
    bool end; /* the host hung up */
    char said[16384];
    size_t bytes, seen;
    struct result a, b;
};

static void turn(struct bed *t) {
    while (uvm__engine_turn(t->engine)) {
    }
}

static struct uvm__vmbus_device device(const char *guid) {
    struct uvm__vmbus_device d = {.kind = UVM__VMBUS_STORVSC, .location = "0000:00:04.0"};
    assert_int_equal(uvm__guid_read(guid, strlen(guid), &d.instance), 0);
    return d;
}

static void on_guest(struct uvm__stream *s, unsigned events, void *arg) {
    struct bed *t = arg;
    ssize_t n;
    (void)events;
    while ((n = uvm__stream_read(s, t->said + t->bytes, sizeof t->said - 1 - t->bytes)) > 0) {
        t->bytes += (size_t)n;
    }
    t->said[t->bytes] = '\0';
    t->end = t->end || n != -UVM_E_AGAIN;
}

/* False: refused. */
static bool dial(struct bed *t) {
    uvm_op *op;
    assert_int_equal(uvm__hvsock_connect(t->guest, UVM__PORT_OFFERS, NULL, NULL, NULL, &op), 0);
    turn(t);
    t->stream = uvm__hvsock_connect_result(op);
    uvm_op_unref(op);
    t->bytes = t->seen = 0;
    t->end = false;
    if (t->stream != NULL) {
        uvm__stream_set_handler(t->stream, on_guest, t);
        turn(t);
    }
    return t->stream != NULL;
}

static void hang_up(struct bed *t) {
    if (t->stream != NULL) {
        uvm__stream_reset(t->stream);
        t->stream = NULL;
        turn(t);
    }
}

static void say(struct bed *t, const char *text) {
    assert_int_equal(uvm__stream_write(t->stream, text, strlen(text)), (ssize_t)strlen(text));
    turn(t);
}

/* Exactly this was said since. */
static void expect(struct bed *t, const char *text) {
    turn(t);
    assert_string_equal(t->said + t->seen, text);
    t->seen = t->bytes;
}

static void on_done(uvm_op *op, const uvm_error *err, void *arg) {
    struct result *r = arg;
    (void)op;
    r->count++;
    r->code = err == NULL ? UVM_OK : (int)uvm_error_code(err);
    (void)snprintf(r->text, sizeof r->text, "%s", err == NULL ? "" : uvm_error_message(err));
}

/* Done once, with this code. */
static void expect_done(struct bed *t, struct result *r, int code) {
    turn(t);
    assert_int_equal(r->count, 1);
    assert_int_equal(r->code, code);
    r->op = uvm_op_unref(r->op);
    r->count = 0;
}

static void present(struct bed *t, const char *guid) {
    const struct uvm__vmbus_device d = device(guid);
    assert_int_equal(uvm__vmbus_present(t->bus, &d), 0);
    turn(t);
}

static void offer(struct bed *t, const char *guid, struct result *r) {
    const struct uvm__vmbus_device d = device(guid);
    assert_int_equal(uvm__vmbus_offer(t->bus, &d, NULL, on_done, r, &r->op), 0);
    turn(t);
}

static void wait_for(struct bed *t, const char *guid, struct result *r) {
    const struct uvm__vmbus_device d = device(guid);
    assert_int_equal(uvm__vmbus_wait(t->bus, &d.instance, NULL, on_done, r, &r->op), 0);
    turn(t);
}

static void rescind(struct bed *t, const char *guid, struct result *r) {
    const struct uvm__vmbus_device d = device(guid);
    assert_int_equal(uvm__vmbus_rescind(t->bus, &d.instance, NULL, on_done, r, &r->op), 0);
    turn(t);
}

static bool has(struct bed *t, const char *guid, bool *opened) {
    const struct uvm__vmbus_device d = device(guid);
    return uvm__vmbus_has(t->bus, &d.instance, opened);
}

static int setup(void **state) {
    static struct bed bed;
    struct bed *t = &bed;
    memset(t, 0, sizeof *t);
    struct uvm_allocator allocator = heap_allocator(&t->heap);
    struct uvm_engine_params params = UVM_ENGINE_PARAMS_INIT;
    params.allocator = &allocator;
    assert_int_equal(uvm__engine_new_virtual(&params, 1, &t->engine), 0);
    assert_int_equal(uvm__loopback_new(t->engine, 512, &t->host, &t->guest), 0);
    assert_int_equal(uvm__vmbus_open(t->engine, t->host, "test", &t->bus), 0);
    *state = t;
    return 0;
}

static int teardown(void **state) {
    struct bed *t = *state;
    uvm__vmbus_close(t->bus);
    turn(t);
    hang_up(t);
    t->a.op = uvm_op_unref(t->a.op);
    t->b.op = uvm_op_unref(t->b.op);
    uvm__loopback_free(t->host, t->guest);
    turn(t);
    uvm__engine_free_virtual(t->engine);
    assert_int_equal(t->heap.live, 0);
    return 0;
}

/* ---- as it should be ---------------------------------------------------------------------- */

static void snapshot_then_live(void **state) {
    struct bed *t = *state;
    bool opened = true;

    present(t, G(1));
    present(t, G(2));
    assert_int_equal(uvm__vmbus_link(t->bus), UVM__VMBUS_NEVER);
    assert_true(dial(t));
    expect(t, HELLO OFFER(1) OFFER(2) SYNC);
    assert_int_equal(uvm__vmbus_link(t->bus), UVM__VMBUS_UP);
    assert_true(has(t, G(1), &opened));
    assert_false(opened);
    wait_for(t, G(1), &t->a);
    assert_int_equal(t->a.count, 0);
    say(t, "{\"opened\":\"" G(1) "\"}\n{\"opened\":\"" G(2) "\"}\n");
    expect_done(t, &t->a, UVM_OK);
    assert_true(has(t, G(2), &opened) && opened);
    wait_for(t, G(2), &t->a); /* it has happened */
    expect_done(t, &t->a, UVM_OK);

    offer(t, G(3), &t->a);
    expect(t, OFFER(3));
    assert_int_equal(t->a.count, 0);
    say(t, "{\"opened\":");
    say(t, "\"" G(3) "\"}\n");
    expect_done(t, &t->a, UVM_OK);

    rescind(t, G(3), &t->a);
    rescind(t, G(3), &t->b);
    expect(t, "{\"rescind\":\"" G(3) "\"}\n");
    say(t, "{\"closed\":\"" G(3) "\"}\n");
    expect_done(t, &t->a, UVM_OK);
    expect_done(t, &t->b, UVM_OK);
    assert_false(has(t, G(3), &opened));
}

static void snapshot_larger_than_the_window(void **state) {
    struct bed *t = *state;
    size_t lines = 0;

    for (unsigned i = 0; i < UVM__VMBUS_DEVICES_MAX; i++) {
        char guid[UVM_GUID_TEXT];
        (void)snprintf(guid, sizeof guid, "%08x-1111-2222-3333-444444444444", i);
        present(t, guid);
    }
    const struct uvm__vmbus_device more = device("ffffffff-1111-2222-3333-444444444444");
    assert_int_equal(uvm__vmbus_present(t->bus, &more), -UVM_E_LIMIT);
    assert_true(dial(t));
    turn(t);
    for (const char *at = t->said; (at = strchr(at, '\n')) != NULL; at++) {
        lines++;
    }
    assert_int_equal(lines, UVM__VMBUS_DEVICES_MAX + 2);
    assert_string_equal(t->said + t->bytes - strlen(SYNC), SYNC);
}

static void dials_again_and_hears_all_again(void **state) {
    struct bed *t = *state;
    bool opened;

    present(t, G(1));
    assert_true(dial(t));
    say(t, "{\"opened\":\"" G(1) "\"}\n");
    offer(t, G(2), &t->a);
    struct uvm__stream *first = t->stream;
    assert_false(dial(t)); /* a second peer is none */
    t->stream = first;
    hang_up(t);
    assert_int_equal(uvm__vmbus_link(t->bus), UVM__VMBUS_LOST);
    assert_int_equal(t->a.count, 0);
    assert_true(dial(t));
    expect(t, HELLO OFFER(1) OFFER(2) SYNC);
    assert_true(has(t, G(1), &opened));
    assert_false(opened); /* by this one */
    say(t, "{\"opened\":\"" G(2) "\"}\n{\"opened\":\"" G(1) "\"}\n");
    expect_done(t, &t->a, UVM_OK);
}

static void rescind_that_nobody_hears(void **state) {
    struct bed *t = *state;
    bool opened;

    present(t, G(1));
    rescind(t, G(1), &t->a); /* nobody dialled */
    expect_done(t, &t->a, UVM_OK);
    const struct uvm__vmbus_device d = device(G(1));
    assert_int_equal(uvm__vmbus_rescind(t->bus, &d.instance, NULL, NULL, NULL, NULL),
                     -UVM_E_NOTFOUND);
    assert_int_equal(uvm__vmbus_wait(t->bus, &d.instance, NULL, NULL, NULL, NULL), -UVM_E_NOTFOUND);

    present(t, G(1));
    present(t, G(2));
    assert_true(dial(t));
    rescind(t, G(1), &t->a);
    assert_int_equal(t->a.count, 0);
    hang_up(t); /* who will not be told again has let go */
    expect_done(t, &t->a, UVM_OK);
    rescind(t, G(2), &t->a);
    expect_done(t, &t->a, UVM_OK);
    assert_false(has(t, G(2), &opened));
    assert_true(dial(t));
    expect(t, HELLO SYNC);
}

/* ---- a guest that says nothing ------------------------------------------------------------ */

static void guest_that_never_dials(void **state) {
    struct bed *t = *state;
    bool opened;

    offer(t, G(1), &t->a);
    present(t, G(2));
    wait_for(t, G(2), &t->b);
    uvm__engine_advance(t->engine, UVM__VMBUS_OPEN_MS - 1);
    turn(t);
    assert_int_equal(t->a.count, 0);
    uvm__engine_advance(t->engine, 1);
    expect_done(t, &t->a, UVM_E_UNSUPPORTED);
    assert_non_null(strstr(t->a.text, "never dialled the offer channel"));
    assert_false(has(t, G(1), &opened)); /* undone */
    expect_done(t, &t->b, UVM_E_UNSUPPORTED);
    assert_true(has(t, G(2), &opened)); /* stays */
}

static void guest_that_does_not_find_it(void **state) {
    struct bed *t = *state;
    bool opened;

    assert_true(dial(t));
    offer(t, G(1), &t->a);
    expect(t, HELLO SYNC OFFER(1));
    uvm__engine_advance(t->engine, UVM__VMBUS_OPEN_MS);
    turn(t);
    expect(t, "{\"rescind\":\"" G(1) "\"}\n");
    assert_int_equal(t->a.count, 0);
    say(t, "{\"opened\":\"" G(1) "\"}\n{\"closed\":\"" G(1) "\"}\n"); /* crossed the rescind */
    expect_done(t, &t->a, UVM_E_TIMEDOUT);
    assert_non_null(strstr(t->a.text, "did not find it"));
    assert_false(has(t, G(1), &opened));
    assert_false(t->end);
}

static void guest_that_does_not_let_go(void **state) {
    struct bed *t = *state;
    bool opened;

    present(t, G(1));
    assert_true(dial(t));
    rescind(t, G(1), &t->a);
    uvm_op_cancel(t->a.op); /* changes nothing: it may have let go */
    turn(t);
    assert_int_equal(t->a.count, 0);
    uvm__engine_advance(t->engine, UVM__VMBUS_CLOSE_MS + UVM__UNDO_MS);
    turn(t);
    assert_int_equal(t->a.count, 1);
    assert_int_equal(t->a.code, UVM_E_UNDO);
    const struct uvm__vmbus_device d = device(G(1));
    assert_int_equal(uvm__vmbus_present(t->bus, &d), -UVM_E_EXISTS); /* still taken */
    say(t, "{\"closed\":\"" G(1) "\"}\n");
    assert_false(has(t, G(1), &opened));
    expect_done(t, &t->a, UVM_E_UNDO);
    present(t, G(1));
}

static void cancels(void **state) {
    struct bed *t = *state;
    bool opened;

    offer(t, G(1), &t->a); /* nobody heard of it */
    uvm_op_cancel(t->a.op);
    expect_done(t, &t->a, UVM_E_CANCELED);
    assert_false(has(t, G(1), &opened));

    assert_true(dial(t));
    offer(t, G(1), &t->a);
    uvm_op_cancel(t->a.op);
    expect(t, HELLO SYNC OFFER(1) "{\"rescind\":\"" G(1) "\"}\n");
    assert_int_equal(t->a.count, 0);
    say(t, "{\"closed\":\"" G(1) "\"}\n");
    expect_done(t, &t->a, UVM_E_CANCELED);

    offer(t, G(1), &t->a); /* and again, to the end; the word is before the cancel */
    say(t, "{\"opened\":\"" G(1) "\"}\n");
    uvm_op_cancel(t->a.op);
    expect_done(t, &t->a, UVM_OK);

    wait_for(t, G(1), &t->b);
    expect_done(t, &t->b, UVM_OK);
    present(t, G(2));
    wait_for(t, G(2), &t->b);
    uvm_op_cancel(t->b.op);
    expect_done(t, &t->b, UVM_E_CANCELED);
    assert_true(has(t, G(2), &opened)); /* waiting has no effect to undo */
}

static void rescinded_while_waited_for(void **state) {
    struct bed *t = *state;

    assert_true(dial(t));
    offer(t, G(1), &t->a);
    rescind(t, G(1), &t->b);
    say(t, "{\"closed\":\"" G(1) "\"}\n");
    expect_done(t, &t->a, UVM_E_STATE);
    expect_done(t, &t->b, UVM_OK);
    const struct uvm__vmbus_device d = device(G(2));
    offer(t, G(2), &t->a);
    assert_int_equal(uvm__vmbus_offer(t->bus, &d, NULL, NULL, NULL, NULL), -UVM_E_EXISTS);
}

static void vm_ends(void **state) {
    struct bed *t = *state;

    assert_true(dial(t));
    offer(t, G(1), &t->a);
    present(t, G(2));
    rescind(t, G(2), &t->b);
    uvm__vmbus_close(t->bus);
    expect_done(t, &t->a, UVM_E_EXITED);
    expect_done(t, &t->b, UVM_OK);
    assert_true(t->end);
    hang_up(t);
    assert_false(dial(t));
    assert_int_equal(uvm__vmbus_open(t->engine, t->host, "test", &t->bus), 0);
}

/* ---- a guest that lies -------------------------------------------------------------------- */

static void hostile(void **state) {
    struct bed *t = *state;
    static char endless[UVM__VMBUS_LINE_BYTES_MAX + 1];
    static const char *const lies[] = {
        "{\"opened\":\"" G(9) "\"}\n",                            /* unknown */
        "{\"opened\":\"" G(1) "\"}\n{\"opened\":\"" G(1) "\"}\n", /* twice */
        "{\"closed\":\"" G(1) "\"}\n",                            /* not rescinded */
        "{\"opened\":\"" G(1) "\",\"closed\":\"" G(1) "\"}\n",
        "{\"opened\":17}\n",
        "{\"opened\":\"no guid\"}\n",
        "{\"freed\":\"" G(1) "\"}\n",
        "{}\n",
        "[]\n",
        "\n",
        "\xff\xfe\n",
        "HTTP/1.1 400 Bad Request\r\n",
        HELLO,
        SYNC,
        OFFER(1),
        endless,
    };

    memset(endless, ' ', sizeof endless - 1);
    present(t, G(1));
    offer(t, G(2), &t->a);
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        assert_true(dial(t));
        assert_false(t->end);
        say(t, lies[i]);
        if (!t->end) {
            fail_msg("believed: %s", lies[i]);
        }
        assert_int_equal(uvm__vmbus_link(t->bus), UVM__VMBUS_LOST);
        hang_up(t);
    }
    assert_int_equal(t->a.count, 0); /* the others do not suffer from it */
    assert_true(dial(t));
    say(t, "{\"opened\":\"" G(2) "\"}\n");
    expect_done(t, &t->a, UVM_OK);
}

/* What it was not told of it cannot have opened, even if it knows the name. */
static void guest_that_does_not_read(void **state) {
    struct bed *t = *state;
    bool opened;

    assert_true(dial(t));
    expect(t, HELLO SYNC);
    uvm__stream_set_handler(t->stream, NULL, NULL);
    for (unsigned i = 0; i < UVM__VMBUS_DEVICES_MAX; i++) {
        char guid[UVM_GUID_TEXT];
        (void)snprintf(guid, sizeof guid, "%08x-1111-2222-3333-444444444444", i);
        present(t, guid);
    }
    say(t, "{\"opened\":\"00000000-1111-2222-3333-444444444444\"}\n");
    assert_int_equal(uvm__vmbus_link(t->bus), UVM__VMBUS_UP);
    rescind(t, "0000003f-1111-2222-3333-444444444444", &t->a); /* at once, for it is not told */
    expect_done(t, &t->a, UVM_OK);
    say(t, "{\"opened\":\"0000003e-1111-2222-3333-444444444444\"}\n");
    assert_int_equal(uvm__vmbus_link(t->bus), UVM__VMBUS_LOST);
    assert_true(has(t, "0000003e-1111-2222-3333-444444444444", &opened) && !opened);
}

/* ---- memory, lines ------------------------------------------------------------------------ */

static void no_memory(void **state) {
    struct bed *t = *state;
    const struct uvm__vmbus_device d = device(G(1));
    int rc = -UVM_E_NOMEM;
    bool opened;

    assert_true(dial(t));
    for (uint32_t n = 1; rc == -UVM_E_NOMEM; n++) {
        long live = t->heap.live;
        assert_in_range(n, 1, 8);
        t->heap.allocs = 0;
        t->heap.fail_at = n;
        rc = uvm__vmbus_offer(t->bus, &d, NULL, on_done, &t->a, &t->a.op);
        t->heap.fail_at = 0;
        assert_true(rc == 0 || t->heap.live == live);
    }
    assert_int_equal(rc, 0);
    turn(t);
    say(t, "{\"opened\":\"" G(1) "\"}\n");
    expect_done(t, &t->a, UVM_OK);

    /* A line that does not fit into memory costs the connection, not the device; the undo needs none. */
    offer(t, G(2), &t->a);
    t->heap.allocs = 0;
    t->heap.fail_at = 1;
    t->heap.fail_for_good = true;
    uvm_op_cancel(t->a.op);
    turn(t);
    t->heap.fail_at = 0;
    turn(t);
    if (t->a.count == 0) {
        say(t, "{\"closed\":\"" G(2) "\"}\n");
    }
    expect_done(t, &t->a, UVM_E_CANCELED);
    assert_false(has(t, G(2), &opened));
    assert_true(has(t, G(1), &opened));
}

static void places(void **state) {
    static const struct {
        const char *text;
        bool valid;
    } rows[] = {
        {"0000:00:04.0", true},
        {"0000:00:11.0/00.0", true},
        {"0000:00:11.0/1f.7/00.0", true},
        {"0000:00:11.0/00.0/00.0/00.0/00.0", false}, /* too long */
        {"", false},
        {"0000:00:04", false},
        {"0000:00:04.0/", false},
        {"0000:00:04.0/..", false},
        {"../../../../", false},
        {"0000:00:04.0 ", false},
        {"0000:00:0A.0", false},
        {"0000:00:04.0//00.0", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (uvm__vmbus_location_valid(rows[i].text) != rows[i].valid) {
            fail_msg("%s", rows[i].text);
        }
    }
}

static void lines_survive(void **state) {
    struct uvm__vmbus_line line = {.kind = UVM__VMBUS_LINE_VERSION, .version = UINT32_MAX}, back;
    char text[UVM__VMBUS_LINE_BYTES_MAX];
    struct uvm__fail f;

    (void)state;
    line.device = device("fedcba98-7654-3210-fedc-ba9876543210");
    memcpy(line.device.location, "0000:00:11.0/1f.7/00.0", sizeof "0000:00:11.0/1f.7/00.0");
    for (unsigned kind = 0; kind < UVM__VMBUS_LINE_MAX; kind++) {
        line.kind = (enum uvm__vmbus_line_kind)kind;
        size_t bytes = uvm__vmbus_line_write(&line, text);
        assert_int_equal(text[bytes - 1], '\n');
        assert_int_equal(uvm__vmbus_line_read(text, bytes - 1, &back, &f), 0);
        assert_int_equal(back.kind, kind);
        if (kind == UVM__VMBUS_LINE_OFFER) {
            assert_int_equal(back.device.kind, UVM__VMBUS_STORVSC);
            assert_string_equal(back.device.location, line.device.location);
        }
        if (kind != UVM__VMBUS_LINE_VERSION && kind != UVM__VMBUS_LINE_SYNC) {
            assert_true(uvm__guid_equal(&back.device.instance, &line.device.instance));
        }
        for (size_t cut = 0; cut < bytes - 1; cut++) {
            assert_int_equal(uvm__vmbus_line_read(text, cut, &back, &f), -UVM_E_PROTOCOL);
        }
    }
    /* A class of tomorrow is no fault of the host's. */
    static const char other[] =
        "{\"offer\":{\"class\":\"" G(1) "\",\"instance\":\"" G(2) "\","
                                                                  "\"location\":\"0000:00:04.0\"}}";
    assert_int_equal(uvm__vmbus_line_read(other, sizeof other - 1, &back, &f), 0);
    assert_int_equal(back.device.kind, UVM__VMBUS_CLASS_MAX);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        T(snapshot_then_live),
        T(snapshot_larger_than_the_window),
        T(dials_again_and_hears_all_again),
        T(rescind_that_nobody_hears),
        T(guest_that_never_dials),
        T(guest_that_does_not_find_it),
        T(guest_that_does_not_let_go),
        T(cancels),
        T(rescinded_while_waited_for),
        T(vm_ends),
        T(hostile),
        T(guest_that_does_not_read),
        T(no_memory),
        cmocka_unit_test(places),
        cmocka_unit_test(lines_survive),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
