/* SPDX-License-Identifier: MIT
 * qemu_vpci_test.c — PCI functions that come and go, over a model of QEMU and a guest that is this test: what each may
 * refuse, leave unanswered or say too late; what is left is read off the model, the ports and the offers.
 */
#include "async/engine_int.h"
#include "async/op_int.h"
#include "hcs/qemu/resource.h"
#include "hvsock/hvsock.h"
#include "tests/unit/qemu_fake.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define GUID "aaaaaaaa-1111-4222-8333-bbbbbbbbbbb"
#define DEVICES "VirtualMachine/Devices/VirtualPci/"
#define FIRST GUID "0"
#define PATH DEVICES FIRST
#define EDU "{\"Functions\":[{\"DeviceInstancePath\":\"emulated:edu\"}]}"

/* The guest: it opens what is offered and closes what is rescinded, unless told not to. */
struct guest {
    struct fake f;
    struct uvm__hvsock *host, *end;
    struct uvm__stream *stream; /* NULL: it has not dialled */
    bool opens, closes;
    char in[4096], said[4096]; /* the second: all lines that came */
    size_t in_bytes;
    unsigned redials;
    char late[512]; /* what it would have said */
};

static void guest_says(struct guest *g, const char *what, const char *guid, bool now) {
    char text[128];
    (void)snprintf(text, sizeof text, "{\"%s\":\"%.36s\"}\n", what, guid);
    if (!now) {
        size_t len = strlen(g->late);
        (void)snprintf(g->late + len, sizeof g->late - len, "%s", text);
        return;
    }
    ssize_t n = uvm__stream_write(g->stream, text, strlen(text));
    n = n == -UVM_E_NOMEM ? uvm__stream_write(g->stream, text, strlen(text)) : n;
    assert_int_equal(n, (ssize_t)strlen(text));
}

static void guest_hears(struct guest *g, const char *line) {
    const char *instance = strstr(line, "\"instance\":\"");
    size_t len = strlen(g->said);
    (void)snprintf(g->said + len, sizeof g->said - len, "%.9s ", line);
    if (instance != NULL) {
        guest_says(g, "opened", instance + sizeof "\"instance\":\"" - 1, g->opens);
    } else if (strncmp(line, "{\"rescind\":\"", 12) == 0) {
        guest_says(g, "closed", line + 12, g->closes);
    }
}

static void dial(struct guest *g);

static void on_guest(struct uvm__stream *s, unsigned events, void *arg) {
    struct guest *g = arg;
    ssize_t n;
    (void)events;
    while ((n = uvm__stream_read(s, g->in + g->in_bytes, sizeof g->in - 1 - g->in_bytes)) > 0) {
        g->in_bytes += (size_t)n;
        g->in[g->in_bytes] = '\0';
    }
    for (char *end; (end = strchr(g->in, '\n')) != NULL;) {
        *end = '\0';
        guest_hears(g, g->in);
        g->in_bytes -= (size_t)(end + 1 - g->in);
        memmove(g->in, end + 1, g->in_bytes + 1);
    }
    if (n != -UVM_E_AGAIN) { /* a host without memory hangs up: all is heard anew */
        uvm__stream_reset(s);
        g->stream = NULL;
        g->in_bytes = 0;
        dial(g);
    }
}

static void on_dialled(uvm_op *op, const uvm_error *err, void *arg) {
    struct guest *g = arg;
    if (err == NULL) {
        g->stream = uvm__hvsock_connect_result(op);
        uvm__stream_set_handler(g->stream, on_guest, g);
    } else if (uvm_error_code(err) != UVM_E_CANCELED && g->redials++ < 8) {
        dial(g);
    }
}

static void dial(struct guest *g) {
    uvm_op *op = NULL;
    if (uvm__hvsock_connect(g->end, UVM__PORT_OFFERS, NULL, on_dialled, g, &op) == 0) {
        uvm_op_unref(op);
    }
}

static void guest_dials(struct guest *g) {
    dial(g);
    fake_turns(&g->f);
    assert_non_null(g->stream);
}

static void guest_says_late(struct guest *g) {
    assert_true(g->late[0] != '\0');
    assert_int_equal(uvm__stream_write(g->stream, g->late, strlen(g->late)),
                     (ssize_t)strlen(g->late));
    g->late[0] = '\0';
    fake_turns(&g->f);
}

static void open_vm(struct guest *g) {
    memset(g, 0, sizeof *g);
    g->opens = g->closes = true;
    fake_open(&g->f);
    assert_int_equal(uvm__loopback_new(g->f.kit.engine, 4096, &g->host, &g->end), 0);
    assert_int_equal(uvm__vmbus_open(g->f.kit.engine, g->host, "test", &g->f.system->vmbus), 0);
}

/* Nothing is left: no device, no port, no offer. */
static void expect_nothing(struct guest *g) {
    struct uvm__guid guid;
    bool opened;
    fake_expect_empty(&g->f);
    assert_int_equal(g->f.system->ports.taken, 0);
    assert_int_equal(uvm__guid_read(FIRST, strlen(FIRST), &guid), 0);
    assert_false(g->f.system->vmbus != NULL && uvm__vmbus_has(g->f.system->vmbus, &guid, &opened));
    assert_null(uvm__resource_find(g->f.system, PATH));
}

static void close_vm(struct guest *g) {
    if (g->stream != NULL) {
        uvm__stream_reset(g->stream);
    }
    if (g->f.system->vmbus != NULL) {
        uvm__vmbus_close(g->f.system->vmbus);
        g->f.system->vmbus = NULL;
    }
    fake_turns(&g->f);
    uvm__loopback_free(g->host, g->end);
    fake_close(&g->f);
}

/* ---- changes ------------------------------------------------------------------------------ */

static int add(struct guest *g, const char *path, const char *settings) {
    struct fake_change c;
    fake_change(&g->f, &c, NULL, path, "Add", settings);
    return fake_finish(&g->f, &c);
}

static int remove_it(struct guest *g, const char *path) {
    struct fake_change c;
    fake_change(&g->f, &c, NULL, path, "Remove", NULL);
    return fake_finish(&g->f, &c);
}

static void expect_as_new(struct guest *g) {
    g->opens = g->closes = true;
    assert_int_equal(add(g, PATH, EDU), UVM_OK);
    assert_int_equal(remove_it(g, PATH), UVM_OK);
    expect_nothing(g);
}

static void set_fault(struct guest *g, const char *command, enum fake_fault fault) {
    g->f.fault_command = command;
    g->f.fault = fault;
    g->f.fault_times = 1;
    g->f.faulted = false;
}

static void start(struct guest *g, struct fake_change *c, const char *verb) {
    fake_change(&g->f, c, NULL, PATH, verb, strcmp(verb, "Add") == 0 ? EDU : NULL);
    fake_turns(&g->f);
    assert_false(c->done);
}

/* The time of the rescind that waits for its guest is over. */
static void guest_had_its_time(struct guest *g) {
    struct uvm__list *it;
    UVM__LIST_FOREACH(it, &g->f.kit.engine->ops) {
        uvm_op *op = UVM__CONTAINER_OF(it, uvm_op, link);
        if (strcmp(op->saga->name, "rescind") == 0) {
            uvm__scope_fail(&op->scope, UVM__TIMED_OUT, NULL);
        }
    }
    fake_turns(&g->f);
    fake_give_up(&g->f);
}

/* ---- as it should be ---------------------------------------------------------------------- */

static void attached_and_detached(void **state) {
    (void)state;
    struct guest g;
    open_vm(&g);
    guest_dials(&g);
    for (unsigned round = 0; round < 3; round++) {
        g.f.said[0] = g.said[0] = '\0';
        assert_int_equal(add(&g, PATH, EDU), UVM_OK);
        assert_string_equal(g.said, "{\"offer\": ");
        assert_non_null(strstr(g.f.last_device, "\"driver\":\"edu\""));
        assert_non_null(strstr(g.f.last_device, "\"bus\":\"rp0\",\"addr\":\"0x0\""));
        const char *text = uvm__hcs_properties(&g.f.system->base);
        assert_non_null(strstr(text, "\"Location\":\"0000:00:10.0/00.0\""));
        assert_non_null(strstr(text, "\"Function\":\"edu\""));
        assert_int_equal(remove_it(&g, PATH), UVM_OK);
        assert_string_equal(g.said, "{\"offer\": {\"rescind ");
        assert_string_equal(g.f.said, "device_add device_del ");
        expect_nothing(&g);
    }
    close_vm(&g);
}

/* A VM that has not begun waits for nobody, and hears of it when it dials. */
static void before_the_first_instruction(void **state) {
    (void)state;
    struct guest g;
    open_vm(&g);
    g.f.system->state = UVM__QEMU_CREATED;
    assert_int_equal(add(&g, PATH, EDU), UVM_OK);
    assert_string_equal(g.f.said, "device_add ");
    g.f.system->state = UVM__QEMU_RUNNING;
    guest_dials(&g);
    assert_non_null(strstr(g.said, "{\"offer\": "));
    assert_int_equal(remove_it(&g, PATH), UVM_OK);
    expect_nothing(&g);
    close_vm(&g);
}

static void refused_by_words(void **state) {
    (void)state;
    static const struct {
        const char *path, *settings;
        int code;
        const char *words;
    } rows[] = {
        {DEVICES GUID "1", "{\"Functions\":[{\"DeviceInstancePath\":\"emulated:gpu\"}]}",
         UVM_E_UNSUPPORTED, "no model \"gpu\" is emulated; edu, "},
        {DEVICES GUID "1", "{\"Functions\":[{\"DeviceInstancePath\":\"gpu\"}]}", UVM_E_INVAL,
         "is no PCI address"},
        {DEVICES GUID "1", "{\"Functions\":[{\"DeviceInstancePath\":\"fff0:1f:00.0\"}]}",
         UVM_E_NOTFOUND, "this host has no such function"},
        {DEVICES GUID "1", EDU, UVM_E_EXISTS, "pci edu: is the VM's already, as " PATH},
        {PATH, "{\"Functions\":[{\"DeviceInstancePath\":\"emulated:nvme\"}]}", UVM_E_EXISTS,
         "is taken (Present)"},
        {DEVICES GUID "2", "{\"Functions\":[{\"DeviceInstancePath\":\"emulated:nvme\"}]}",
         UVM_E_EXISTS, "cannot be offered to the guest: its GUID is in use"},
    };
    struct guest g;
    struct uvm__vmbus_device other = {.kind = UVM__VMBUS_STORVSC, .location = "0000:00:04.0"};
    open_vm(&g);
    guest_dials(&g);
    assert_int_equal(uvm__guid_read(GUID "2", strlen(GUID "2"), &other.instance), 0);
    assert_int_equal(uvm__vmbus_present(g.f.system->vmbus, &other), 0);
    assert_int_equal(add(&g, PATH, EDU), UVM_OK);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct fake_change c;
        fake_change(&g.f, &c, NULL, rows[i].path, "Add", rows[i].settings);
        if (fake_finish(&g.f, &c) != rows[i].code || strstr(c.message, rows[i].words) == NULL) {
            fail_msg("%s: %d, \"%s\"", rows[i].settings, c.code, c.message);
        }
        assert_int_equal(g.f.system->ports.taken, 1);
    }
    struct fake_change c;
    fake_change(&g.f, &c, NULL, PATH, "Update", EDU);
    assert_int_equal(fake_finish(&g.f, &c), UVM_E_UNSUPPORTED);
    assert_int_equal(remove_it(&g, PATH), UVM_OK);
    assert_int_equal(remove_it(&g, PATH), UVM_E_NOTFOUND);
    expect_nothing(&g);
    close_vm(&g);
}

static void every_port_is_taken(void **state) {
    (void)state;
    struct guest g;
    char path[9][96], settings[128];
    open_vm(&g);
    guest_dials(&g);
    for (unsigned i = 0; i <= UVM__QEMU_ROOT_PORTS; i++) {
        struct fake_change c;
        (void)snprintf(path[i], sizeof path[i], DEVICES GUID "%u", i);
        (void)snprintf(
            settings, sizeof settings,
            "{\"Functions\":[{\"DeviceInstancePath\":\"emulated:edu\",\"VirtualFunction\":%u}]}",
            i);
        fake_change(&g.f, &c, NULL, path[i], "Add", settings);
        bool room = i < UVM__QEMU_ROOT_PORTS;
        assert_int_equal(fake_finish(&g.f, &c), room ? UVM_OK : UVM_E_LIMIT);
        assert_true(room || strstr(c.message, "pci edu: all 8 PCI ports") != NULL);
    }
    assert_int_equal(remove_it(&g, path[4]), UVM_OK);
    assert_int_equal(add(&g, path[8], settings), UVM_OK);
    assert_non_null(strstr(g.f.last_device, "\"bus\":\"rp4\""));
    for (unsigned i = 0; i <= UVM__QEMU_ROOT_PORTS; i++) {
        assert_int_equal(remove_it(&g, path[i]), i == 4 ? UVM_E_NOTFOUND : UVM_OK);
    }
    expect_nothing(&g);
    close_vm(&g);
}

/* ---- faults of an attach ------------------------------------------------------------------ */

static void qemu_refuses_or_is_late(void **state) {
    (void)state;
    static const enum fake_fault faults[] = {FAKE_REFUSE, FAKE_HOLD, FAKE_HOLD_REFUSE};
    for (size_t i = 0; i < 3; i++) {
        for (int give_up = 0; give_up < 2; give_up++) {
            struct guest g;
            struct fake_change c;
            if (i == 0 && give_up) {
                continue;
            }
            open_vm(&g);
            guest_dials(&g);
            set_fault(&g, "device_add", faults[i]);
            if (i == 0) {
                assert_int_equal(add(&g, PATH, EDU), UVM_E_PEER);
            } else {
                start(&g, &c, "Add");
                uvm_op_cancel(c.op);
                fake_turns(&g.f);
                assert_false(c.done);
            }
            if (give_up) {
                fake_give_up(&g.f);
                assert_int_equal(fake_finish(&g.f, &c), UVM_E_UNDO);
                assert_int_equal(add(&g, PATH, EDU), UVM_E_EXISTS);
                assert_int_equal(g.f.system->ports.taken, 1);
                fake_release(&g.f);
                assert_int_equal(g.f.released, 1);
                assert_string_equal(g.f.released_path, PATH);
            } else if (i > 0) {
                fake_release(&g.f);
                assert_int_equal(fake_finish(&g.f, &c), UVM_E_CANCELED);
            }
            expect_nothing(&g);
            expect_as_new(&g);
            close_vm(&g);
        }
    }
}

/* A guest that does not open it, whether it listens or not, until the caller gives up; it closes what it heard of
 * before the function is taken away, late if need be. */
static void the_guest_does_not_open_it(void **state) {
    (void)state;
    for (int how = 0; how < 3; how++) { /* not there; there; there, and does not close it either */
        struct guest g;
        struct fake_change c;
        open_vm(&g);
        if (how > 0) {
            guest_dials(&g);
        }
        g.opens = false;
        g.closes = how < 2;
        start(&g, &c, "Add");
        uvm_op_cancel(c.op);
        fake_turns(&g.f);
        if (how == 2) {
            assert_string_equal(g.f.said, "device_add "); /* it is the guest's still */
            fake_give_up(&g.f);
            assert_int_equal(fake_finish(&g.f, &c), UVM_E_UNDO);
            g.late[0] = '\0';
            guest_says(&g, "closed", FIRST, true);
            fake_turns(&g.f);
            guest_had_its_time(&g);
            assert_int_equal(g.f.released, 1);
        } else {
            assert_int_equal(fake_finish(&g.f, &c), UVM_E_CANCELED);
        }
        assert_string_equal(g.f.said, "device_add device_del ");
        expect_nothing(&g);
        if (how == 0) {
            guest_dials(&g);
        }
        g.late[0] = '\0';
        expect_as_new(&g);
        close_vm(&g);
    }
}

/* The offer's own undo is given up on; what comes later is taken back all the same, and told as undone. */
static void an_offer_is_closed_late(void **state) {
    (void)state;
    struct guest g;
    struct fake_change c;
    struct uvm__list *it;
    open_vm(&g);
    guest_dials(&g);
    g.opens = g.closes = false;
    start(&g, &c, "Add");
    uvm_op_cancel(c.op);
    fake_turns(&g.f);
    UVM__LIST_FOREACH(it, &g.f.kit.engine->ops) {
        uvm_op *op = UVM__CONTAINER_OF(it, uvm_op, link);
        if (strcmp(op->saga->name, "offer") == 0) {
            uvm__scope_fail(&op->undo_scope, UVM__TIMED_OUT, NULL);
        }
    }
    fake_turns(&g.f);
    assert_false(c.done);
    guest_says_late(&g);
    assert_int_equal(fake_finish(&g.f, &c), UVM_E_CANCELED);
    assert_int_equal(g.f.released, 0);
    expect_nothing(&g);
    expect_as_new(&g);
    close_vm(&g);
}

/* ---- faults of a detach ------------------------------------------------------------------- */

/* Nothing is taken from a guest that holds on to it; when it lets go, the next Remove works. */
static void the_guest_holds_on_to_it(void **state) {
    (void)state;
    for (int late = 0; late < 2; late++) { /* it closes it before, or during the next try */
        struct guest g;
        struct fake_change c;
        open_vm(&g);
        guest_dials(&g);
        assert_int_equal(add(&g, PATH, EDU), UVM_OK);
        g.closes = false;
        start(&g, &c, "Remove");
        assert_int_equal(remove_it(&g, PATH), UVM_E_STATE);
        guest_had_its_time(&g);
        assert_int_equal(fake_finish(&g.f, &c), UVM_E_PEER);
        assert_non_null(strstr(c.message, "pci edu: the guest does not let go of it"));
        assert_string_equal(g.f.said, "device_add ");
        assert_int_equal(g.f.system->ports.taken, 1);
        if (late) {
            start(&g, &c, "Remove");
            guest_says_late(&g);
            assert_int_equal(fake_finish(&g.f, &c), UVM_OK);
        } else {
            guest_says_late(&g);
            assert_int_equal(remove_it(&g, PATH), UVM_OK);
        }
        expect_nothing(&g);
        expect_as_new(&g);
        close_vm(&g);
    }
}

static void a_detach_goes_forward(void **state) {
    (void)state;
    static const enum fake_fault faults[] = {FAKE_NOT_FOUND, FAKE_EVENT_FIRST, FAKE_HOLD,
                                             FAKE_NO_EVENT};
    for (size_t k = 0; k < 4; k++) {
        for (int how = 0; how < 3; how++) { /* wait, cancel, give up */
            struct guest g;
            struct fake_change c;
            bool waits = k >= 2;
            if (how > 0 && !waits) {
                continue;
            }
            open_vm(&g);
            guest_dials(&g);
            assert_int_equal(add(&g, PATH, EDU), UVM_OK);
            set_fault(&g, "device_del", faults[k]);
            if (!waits) {
                assert_int_equal(remove_it(&g, PATH), UVM_OK);
            } else {
                start(&g, &c, "Remove");
                if (how > 0) {
                    uvm_op_cancel(c.op);
                    fake_turns(&g.f);
                    assert_false(c.done);
                }
                if (how == 2) {
                    fake_give_up(&g.f);
                    assert_int_equal(fake_finish(&g.f, &c), UVM_E_UNDO);
                    assert_int_equal(remove_it(&g, PATH), UVM_E_STATE);
                }
                fake_release(&g.f);
                if (how < 2) {
                    assert_int_equal(fake_finish(&g.f, &c), UVM_OK);
                }
            }
            assert_int_equal(g.f.released, how == 2 ? 1 : 0);
            expect_nothing(&g);
            expect_as_new(&g);
            close_vm(&g);
        }
    }
}

static void qemu_refuses_to_remove_it(void **state) {
    (void)state;
    struct guest g;
    open_vm(&g);
    guest_dials(&g);
    assert_int_equal(add(&g, PATH, EDU), UVM_OK);
    set_fault(&g, "device_del", FAKE_REFUSE);
    assert_int_equal(remove_it(&g, PATH), UVM_E_PEER);
    assert_int_equal(g.f.system->ports.taken, 1);
    assert_int_equal(remove_it(&g, PATH), UVM_OK); /* the guest knows it no more */
    expect_nothing(&g);
    close_vm(&g);
}

/* ---- the VM's end, memory ----------------------------------------------------------------- */

static void the_vm_dies(void **state) {
    (void)state;
    for (int how = 0; how < 8; how++) {
        struct guest g;
        struct fake_change c;
        bool removes = how >= 4;
        static const enum fake_fault dies[] = {FAKE_DIE_BEFORE, FAKE_DIE_AFTER, FAKE_HOLD};
        open_vm(&g);
        guest_dials(&g);
        if (removes) {
            assert_int_equal(add(&g, PATH, EDU), UVM_OK);
        }
        if (how % 4 < 3) {
            set_fault(&g, removes ? "device_del" : "device_add", dies[how % 4]);
        } else {
            g.opens = g.closes = false; /* while the guest's word is waited for */
        }
        fake_change(&g.f, &c, NULL, PATH, removes ? "Remove" : "Add", removes ? NULL : EDU);
        fake_turns(&g.f);
        if (how % 4 >= 2) {
            assert_false(c.done);
            fake_die(&g.f);
            fake_turns(&g.f);
        }
        if (how % 4 == 3 && !c.done) { /* nobody is asked any more: it ends with the parts */
            uvm__stream_reset(g.stream);
            g.stream = NULL;
            uvm__vmbus_close(g.f.system->vmbus);
            g.f.system->vmbus = NULL;
        }
        assert_int_equal(fake_finish(&g.f, &c), UVM_E_EXITED);
        assert_true(g.f.exited);
        assert_int_equal(g.f.released, 0);
        assert_int_equal(add(&g, PATH, EDU), UVM_E_EXITED);
        close_vm(&g);
    }
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    long failed = 0;
    for (int removes = 0; removes < 2; removes++) {
        bool reached = true;
        for (long n = 0; reached; n++) {
            struct guest g;
            struct fake_change c;
            open_vm(&g);
            guest_dials(&g);
            if (removes) {
                assert_int_equal(add(&g, PATH, EDU), UVM_OK);
            }
            g.f.kit.fail_at = n;
            fake_change(&g.f, &c, NULL, PATH, removes ? "Remove" : "Add", removes ? NULL : EDU);
            int code = fake_finish(&g.f, &c);
            reached = g.f.kit.fail_at < 0;
            g.f.kit.fail_at = -1;
            failed += code != UVM_OK;
            if (!g.f.exited) {
                if (removes != (code == UVM_OK)) {
                    assert_int_equal(remove_it(&g, PATH), UVM_OK);
                }
                expect_nothing(&g);
                expect_as_new(&g);
            }
            close_vm(&g);
        }
    }
    assert_true(failed > 5);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attached_and_detached),
        cmocka_unit_test(before_the_first_instruction),
        cmocka_unit_test(refused_by_words),
        cmocka_unit_test(every_port_is_taken),
        cmocka_unit_test(qemu_refuses_or_is_late),
        cmocka_unit_test(the_guest_does_not_open_it),
        cmocka_unit_test(an_offer_is_closed_late),
        cmocka_unit_test(the_guest_holds_on_to_it),
        cmocka_unit_test(a_detach_goes_forward),
        cmocka_unit_test(qemu_refuses_to_remove_it),
        cmocka_unit_test(the_vm_dies),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
