/* SPDX-License-Identifier: MIT
 * control_test.c — the control socket as a well-behaved client uses it, and the life of the VM behind it.
 *
 * Real sockets and descriptors, a simulated VM. Hostile clients are in control_hostile_test.c.
 */
#include "tests/unit/control_kit.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define CALL(id, method, params)                                                                   \
    "{\"jsonrpc\":\"2.0\",\"id\":" #id ",\"method\":\"" method "\",\"params\":" params "}"

static void on_second_closed(void *arg) {
    *(bool *)arg = true;
}

static void hello_and_properties(void **state) {
    struct control_kit k = {0};
    struct client c;
    (void)state;
    control_kit_open(&k, true);
    client_hello(&c, &k);
    assert_non_null(strstr(c.line, "\"name\":\"demo\""));
    client_says(&c, CALL(1, "properties", "{}"));
    const char *line = client_expect(&c, "\"id\":1}");
    assert_non_null(strstr(line, "\"state\":\"running\""));
    assert_non_null(strstr(line, "\"owner_pid\":"));
    client_says(&c, CALL("a-b", "inspect", "{}"));
    line = client_expect(&c, "\"id\":\"a-b\"}");
    assert_non_null(strstr(line, "\"document\":{\"Owner\""));
    client_says(&c, CALL(2, "no_such", "{}"));
    client_expect(&c, "\"code\":-32601");
    client_says(&c, CALL(3, "properties", "{\"x\":1}"));
    client_expect(&c, "\"code\":-32602");
    client_close(&c);
    control_kit_expect_quiet(&k);
    control_kit_close(&k);
}

static void on_refused(uvm_op *op, const uvm_error *err, void *arg) {
    (void)op;
    assert_non_null(err);
    (void)snprintf(arg, 240, "%s", uvm_error_message(err));
}

/* A boot that has no room says how many others there are. */
static void expect_others(struct control_kit *k, unsigned vms, unsigned memory_mb) {
    char said[240] = "", want[80];
    assert_int_equal(uvm_vm_boot(k->vm, NULL, on_refused, said, NULL), 0);
    while (said[0] == 0) {
        (void)uv_run(&k->loop.loop, UV_RUN_ONCE);
    }
    (void)snprintf(want, sizeof want, "%u UVMs have %u MiB of the 1 MiB that are allowed", vms,
                   memory_mb);
    if (strstr(said, want) == NULL) {
        fail_msg("no \"%s\" in: %s", want, said);
    }
}

/* VMs of others in the state folder: those whose owner lives. Ours are in the ledger already. */
static void others_are_counted(void **state) {
    static const struct {
        const char *about;
        unsigned memory_mb;
    } rows[] = {
        {"{\"memory_mb\":100,\"ledger\":7}", 100},
        {"{\"memory_mb\":18446744073709551615,\"ledger\":7}", 0}, /* none that we wrote */
        {"{\"memory_mb\":-5,\"ledger\":\"x\"}", 0},
        {"no json", 0},
        {NULL, 0}, /* its owner has not written it yet */
    };
    struct control_kit k = {0};
    struct uvm__fail f;
    int fd = -1, parent;
    uvm_vm *second = NULL;
    bool closed = false;
    (void)state;
    control_kit_open(&k, false);
    uvm__sim_set_room(k.host, &(struct uvm__hcs_limits){.memory_mb_max = 1},
                      &(struct uvm__hcs_capacity){UINT64_MAX, UINT64_MAX, 0, 0, UINT64_MAX, 0});
    struct uvm_vm_params p = UVM_VM_PARAMS_INIT;
    p.name = "second";
    p.kernel = "/boot/vmlinux";
    p.initrd = "/boot/initrd.img";
    struct uvm_control_params cp = UVM_CONTROL_PARAMS_INIT;
    cp.folder = k.folder;
    assert_int_equal(uvm_vm_new(k.loop.engine, k.service, &p, &second, NULL), 0);
    assert_int_equal(uvm_control_listen(second, &cp, NULL, NULL), 0);
    expect_others(&k, 0, 0);
    assert_int_equal(uvm__folder_open(k.folder, false, &parent, &f), 0);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (fd >= 0) {
            uvm__folder_release(k.loop.engine, parent, "other", fd);
        }
        assert_int_equal(uvm__folder_claim(k.loop.engine, parent, "other", &fd, &f), 0);
        if (rows[i].about != NULL) {
            assert_int_equal(
                uvm__folder_write(fd, UVM_CONTROL_ABOUT, rows[i].about, strlen(rows[i].about), &f),
                0);
        }
        expect_others(&k, 1, rows[i].memory_mb);
    }
    close(fd); /* the owner died */
    expect_others(&k, 0, 0);
    assert_int_equal(uvm__folder_sweep(k.loop.engine, parent, "other", &f), 0);
    close(parent);
    uvm_vm_close(second, on_second_closed, &closed);
    loop_until(&k.loop, &closed);
    control_kit_close(&k);
}

/* `cat` between two pipes of the client. */
static void exec_with_descriptors(void **state) {
    struct control_kit k = {0};
    struct client c;
    int in[2], out[2];
    char buf[16] = {0};
    (void)state;
    control_kit_open(&k, true);
    client_hello(&c, &k);
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC | O_NONBLOCK), 0);
    static const char line[] =
        CALL(1, "exec", "{\"argv\":[\"cat\"],\"stdio\":[\"fd\",\"fd\",\"none\"]}") "\n";
    const int fds[] = {in[0], out[1]};
    client_send(&c, line, strlen(line), fds, 2);
    close(in[0]);
    close(out[1]);
    client_expect(&c, "\"process\":1");
    client_says(&c, CALL(2, "wait", "{\"process\":1}"));
    assert_int_equal(write(in[1], "hello", 5), 5);
    close(in[1]);
    client_expect(&c, "\"code\":0,\"signal\":0");
    assert_int_equal(read(out[0], buf, sizeof buf), 5);
    assert_string_equal(buf, "hello");
    assert_int_equal(read(out[0], buf, sizeof buf), 0); /* all copies of the other end are closed */
    client_says(&c, CALL(3, "wait", "{\"process\":1}"));
    client_expect(&c, "\"NOTFOUND\"");
    close(out[0]);
    client_close(&c);
    control_kit_expect_quiet(&k);
    control_kit_close(&k);
}

static void exec_statuses(void **state) {
    struct control_kit k = {0};
    struct client c;
    (void)state;
    control_kit_open(&k, true);
    client_hello(&c, &k);
    client_says(&c, CALL(1, "exec", "{\"argv\":[\"exit\",\"7\"]}"));
    client_expect(&c, "\"process\":1");
    client_says(&c, CALL(2, "wait", "{\"process\":1}"));
    client_expect(&c, "\"code\":7,");
    client_says(&c, CALL(3, "exec", "{\"argv\":[\"no-such-program\"]}"));
    assert_non_null(strstr(client_expect(&c, "\"error\""), "\"exec_status\":127"));
    client_says(&c, CALL(4, "exec", "{\"argv\":[]}"));
    client_expect(&c, "names no program");
    client_says(&c, CALL(5, "exec", "{\"argv\":[1]}"));
    client_expect(&c, "has a number in it");
    client_says(&c, CALL(6, "exec", "{\"argv\":[\"stay\"]}"));
    client_expect(&c, "\"process\":3");
    client_says(&c, CALL(7, "signal", "{\"process\":3,\"signal\":10}"));
    client_says(&c, CALL(8, "wait", "{\"process\":3}"));
    client_expect(&c, "\"signal\":10");
    client_says(&c, CALL(9, "resize", "{\"process\":3,\"rows\":1,\"cols\":1}"));
    client_expect(&c, "NOTFOUND");
    client_close(&c);
    control_kit_expect_quiet(&k);
    control_kit_close(&k);
}

/* The end of a connection is the end of what it runs. */
static void death_kills_what_it_started(void **state) {
    struct control_kit k = {0};
    struct client c, other;
    (void)state;
    control_kit_open(&k, true);
    client_hello(&other, &k);
    client_says(&other, CALL(1, "exec", "{\"argv\":[\"stay\"]}"));
    client_expect(&other, "\"process\":1");
    client_hello(&c, &k);
    for (int i = 0; i < 3; i++) {
        client_says(&c, i == 0   ? CALL(1, "exec", "{\"argv\":[\"stay\"]}")
                        : i == 1 ? CALL(2, "exec", "{\"argv\":[\"stubborn\"]}")
                                 : CALL(3, "wait", "{\"process\":1}"));
        if (i < 2) {
            client_expect(&c, "\"process\"");
        }
    }
    assert_int_equal(k.seen.processes, 3);
    client_close(&c);
    control_kit_clients(&k, 1);
    for (int i = 0; k.seen.processes != 1; i++) {
        assert_true(i < 1000);
        control_kit_run(&k, 2);
    }
    /* In the middle of an exec: the request is on its way, its answer is not here. */
    client_hello(&c, &k);
    client_says(&c, CALL(1, "exec", "{\"argv\":[\"stay\"]}"));
    client_close(&c);
    control_kit_clients(&k, 1);
    for (int i = 0; k.seen.processes != 1; i++) {
        assert_true(i < 1000);
        control_kit_run(&k, 2);
    }
    client_close(&other);
    control_kit_expect_quiet(&k);
    control_kit_close(&k);
}

static void console_and_log(void **state) {
    struct control_kit k = {0};
    struct client c;
    int out[2];
    char buf[65536] = {0};
    (void)state;
    control_kit_open(&k, true);
    uvm__sim_console(uvm__sim_newest(k.host), "before\r\n");
    client_hello(&c, &k);
    assert_int_equal(pipe2(out, O_CLOEXEC | O_NONBLOCK), 0);
    client_send(&c, CALL(1, "console", "{\"follow\":true}") "\n",
                strlen(CALL(1, "console", "{\"follow\":true}")) + 1, &out[1], 1);
    client_says(&c, CALL(2, "properties", "{}"));
    client_expect(&c, "\"id\":2}");
    uvm__sim_console(uvm__sim_newest(k.host), "after\r\n");
    control_kit_run(&k, 20);
    ssize_t n = read(out[0], buf, sizeof buf - 1);
    assert_true(n > 0);
    assert_non_null(strstr(buf, "before\r\nafter\r\n"));
    client_says(&c, CALL(3, "cancel", "{\"id\":1}"));
    client_expect(&c, "\"dropped\":0,\"closed\":false},\"id\":1}");
    /* The log: what is remembered, then the answer. */
    client_send(&c, CALL(4, "log", "{}") "\n", strlen(CALL(4, "log", "{}")) + 1, &out[1], 1);
    client_expect(&c, "\"id\":4}");
    close(out[1]);
    memset(buf, 0, sizeof buf);
    assert_true(read(out[0], buf, sizeof buf - 1) > 0);
    assert_non_null(strstr(buf, "\"msg\""));
    assert_int_equal(read(out[0], buf, sizeof buf), 0);
    close(out[0]);
    /* The wrong end. */
    int wrong = open("/dev/null", O_RDONLY | O_CLOEXEC);
    client_send(&c, CALL(5, "log", "{}") "\n", strlen(CALL(5, "log", "{}")) + 1, &wrong, 1);
    close(wrong);
    client_expect(&c, "cannot be written to");
    client_close(&c);
    control_kit_expect_quiet(&k);
    control_kit_close(&k);
}

/* A reader that does not: the VM goes on, what did not fit is counted. */
static void console_of_one_who_does_not_read(void **state) {
    struct control_kit k = {0};
    struct client c;
    int out[2];
    static char text[4096];
    (void)state;
    memset(text, 'x', sizeof text - 1);
    control_kit_open(&k, true);
    client_hello(&c, &k);
    assert_int_equal(pipe2(out, O_CLOEXEC | O_NONBLOCK), 0);
    client_send(&c, CALL(1, "console", "{\"follow\":true}") "\n",
                strlen(CALL(1, "console", "{\"follow\":true}")) + 1, &out[1], 1);
    client_says(&c, CALL(2, "properties", "{}"));
    client_expect(&c, "\"id\":2}");
    long blocks = k.loop.blocks;
    for (int i = 0; i < 200; i++) {
        uvm__sim_console(uvm__sim_newest(k.host), text);
        control_kit_run(&k, 1);
    }
    assert_true(k.loop.blocks < blocks + 10);
    close(out[0]);
    close(out[1]);
    const char *line = client_expect(&c, "\"closed\":true},\"id\":1}");
    assert_null(strstr(line, "\"dropped\":0"));
    client_close(&c);
    control_kit_expect_quiet(&k);
    control_kit_close(&k);
}

#define DISK(more) "{\"kind\":\"scsi\",\"settings\":{\"host_path\":\"/x.img\"" more "}}"

static void devices_come_and_go(void **state) {
    struct control_kit k = {0};
    struct client watcher, c, other;
    (void)state;
    control_kit_open(&k, true);
    client_hello(&watcher, &k);
    client_says(&watcher, CALL(1, "events", "{}"));
    client_expect(&watcher, "\"state\":\"running\"");
    client_hello(&c, &k);
    client_says(&c, CALL(1, "devices", "{}"));
    client_expect(&c, "\"result\":{\"devices\":[]},\"id\":1}");
    client_says(&c, CALL(2, "attach", DISK(",\"guest_path\":\"/d//x/\"")));
    client_expect(&c, "\"result\":{\"id\":\"scsi-1\",\"kind\":\"scsi\",\"guest_path\":\"/d/x\","
                      "\"location\":{\"controller\":0,\"lun\":0},\"shared\":false,\"refs\":1},"
                      "\"id\":2}");
    client_expect(&watcher, "\"change\":\"attached\"");
    assert_non_null(strstr(watcher.line, "\"event\":\"device\""));
    assert_non_null(strstr(watcher.line, "\"device\":{\"id\":\"scsi-1\",\"kind\":\"scsi\","
                                         "\"guest_path\":\"/d/x\",\"location\":{"));
    /* What was told of stays when its client goes; another one shares it. */
    client_close(&c);
    client_hello(&other, &k);
    client_says(&other, CALL(1, "attach", DISK(",\"mount\":true")));
    client_expect(&other, "\"shared\":true,\"refs\":2},\"id\":1}");
    client_says(&other, CALL(2, "attach", DISK(",\"read_only\":true")));
    client_expect(&other, "\"EXISTS\"");
    client_says(&other, CALL(3, "inspect", "{}"));
    client_expect(&other, "\"devices\":[{\"id\":\"scsi-1\",");
    assert_non_null(strstr(other.line, "\"refs\":2,\"state\":\"attached\""));
    client_says(&other, CALL(4, "detach", "{\"device\":\"scsi-1\"}"));
    client_expect(&other, "\"result\":{},\"id\":4}");
    client_says(&other, CALL(5, "detach", "{\"device\":\"scsi-1\"}"));
    client_expect(&other, "\"result\":{},\"id\":5}");
    client_expect(&watcher, "\"change\":\"detached\"");
    control_kit_disks(&k, 0);
    client_says(&other, CALL(6, "detach", "{\"device\":\"scsi-1\"}"));
    client_expect(&other, "\"NOTFOUND\"");
    /* One that nobody heard of coming is not told to go, either. */
    k.script.refuse_mounts = 1;
    client_says(&other, CALL(7, "attach", DISK(",\"mount\":true")));
    client_expect(&other, "\"PEER\"");
    control_kit_disks(&k, 0);
    client_says(&other, CALL(8, "attach", DISK("")));
    client_expect(&other, "\"id\":\"scsi-3\"");
    client_expect(&watcher, "\"event\":\"device\"");
    assert_non_null(strstr(watcher.line, "\"id\":\"scsi-3\""));
    client_close(&watcher);
    client_close(&other);
    control_kit_expect_quiet(&k);
    control_kit_close(&k);
}

/* The n-th mount of a disk whose path takes 8000 bytes as JSON. */
static void attach_long(struct client *c, unsigned n) {
    static char path[8001], text[9000];
    for (size_t i = 1; i < 4000 && path[0] == 0; i++) {
        memcpy(path + 2 * i, "\\\"", 2);
    }
    memcpy(path, "/a", 2);
    int bytes = snprintf(text, sizeof text,
                         CALL(1, "attach",
                              "{\"kind\":\"scsi\",\"settings\":{\"host_path\":\"%s\","
                              "\"guest_path\":\"/m%u\"}}") "\n",
                         path, n);
    client_send(c, text, (size_t)bytes, NULL, 0);
    client_expect(c, "\"refs\":1},\"id\":1}");
}

/* Answers about many devices are long, and come; one that is too long is an error, and the connection goes on. */
static void long_answers(void **state) {
    struct control_kit k = {0};
    struct client c;
    unsigned n = 0;
    (void)state;
    control_kit_open(&k, true);
    client_hello(&c, &k);
    for (; n < 200; n++) {
        attach_long(&c, n);
    }
    static const char *const calls[] = {CALL(2, "inspect", "{}"), CALL(2, "properties", "{}"),
                                        CALL(2, "devices", "{}")};
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        client_says(&c, calls[i]);
        client_expect(&c, "},\"id\":2}");
        assert_non_null(strstr(c.line, "\"result\":{"));
        assert_non_null(strstr(c.line, "\"guest_path\":\"/m199\""));
        assert_true(strlen(c.line) > UVM__SOCK_OUT_BYTES_MAX + (400u << 10));
    }
    for (; n < 540; n++) {
        attach_long(&c, n);
    }
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        client_says(&c, calls[i]);
        client_expect(&c, "\"id\":2}");
        assert_non_null(strstr(c.line, "\"code\":\"LIMIT\",\"message\":\"demo: the answer has 4"));
        assert_non_null(strstr(c.line, " bytes, and one may have 4194304"));
    }
    client_says(&c, CALL(3, "detach", "{\"device\":\"scsi-1\"}"));
    client_expect(&c, "\"result\":{},\"id\":3}");
    client_close(&c);
    control_kit_expect_quiet(&k);
    control_kit_close(&k);
}

/* At each moment of an attach: what was not answered is undone. */
static void an_attach_is_its_clients(void **state) {
    static const char line[] = CALL(1, "attach", DISK(",\"mount\":true"));
    struct control_kit k = {.script = {.step_ms = 2}};
    unsigned undone = 0;
    (void)state;
    control_kit_open(&k, true);
    for (unsigned turns = 0; turns < 50; turns++) {
        struct client c;
        client_hello(&c, &k);
        uint64_t before = uvm__sim_ledger(k.host).disks_added;
        client_says(&c, line);
        for (unsigned i = 0; i < turns; i++) {
            uv_run(&k.loop.loop, UV_RUN_NOWAIT);
        }
        if (turns > 30) {
            control_kit_run(&k, turns - 30);
        }
        char byte;
        bool answered = recv(c.fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) == 1;
        client_close(&c);
        control_kit_clients(&k, 0);
        control_kit_disks(&k, answered ? 1 : 0);
        undone += !answered && uvm__sim_ledger(k.host).disks_added > before;
        if (answered) {
            char call[128];
            const char *id = strstr(uvm_vm_devices(k.vm), "scsi-");
            assert_non_null(id);
            (void)snprintf(call, sizeof call, CALL(1, "detach", "{\"device\":\"%.*s\"}"),
                           (int)strcspn(id, "\""), id);
            client_hello(&c, &k);
            client_says(&c, call);
            client_expect(&c, "\"result\":{},\"id\":1}");
            client_close(&c);
            control_kit_disks(&k, 0);
        }
    }
    assert_true(undone > 0);
    /* By name, instead of by its end. */
    struct client c;
    client_hello(&c, &k);
    client_says(&c, line);
    client_says(&c, CALL(2, "cancel", "{\"id\":1}"));
    client_expect(&c, "\"CANCELED\"");
    client_close(&c);
    control_kit_disks(&k, 0);
    control_kit_expect_quiet(&k);
    control_kit_close(&k);
}

/* A client hears of all that the engine does for the VM while it listens, before the answers. */
static void spans_of_what_is_asked(void **state) {
    struct control_kit k = {0};
    struct client c, other;
    (void)state;
    control_kit_open(&k, true);
    client_hello(&c, &k);
    client_hello(&other, &k);
    client_says(&c, CALL(1, "spans", "{}"));
    client_says(&c, CALL(2, "spans", "{\"vm\":1}"));
    client_expect(&c, "\"vm\\\"");
    client_says(&other, CALL(1, "exec",
                             "{\"argv\":[\"no-such-thing\",\"hunter2\"],\"env\":[\"T=hunter2\"],"
                             "\"stdio\":[\"none\",\"none\",\"none\"]}"));
    const char *line = client_line(&c);
    assert_non_null(
        strstr(line, "\"params\":{\"event\":\"span\",\"kind\":\"op_begin\",\"op_id\":"));
    assert_non_null(strstr(line, "\"parent_id\":0,\"op\":\"vm exec\",\"step\":\"\",\"begin_us\":"));
    do {
        assert_null(strstr(line, "hunter2"));
        assert_null(strstr(line, "no-such"));
        line = client_line(&c);
    } while (strstr(line, "\"op_end\"") == NULL || strstr(line, "\"op\":\"vm exec\"") == NULL);
    client_line(&other);
    client_says(&c, CALL(3, "cancel", "{\"id\":1}"));
    client_expect(&c, "\"complete\":true},\"id\":1}");
    client_expect(&c, "\"id\":3}");
    /* One that listens when its connection ends, and one when the VM does. */
    client_says(&other, CALL(2, "spans", "{}"));
    client_says(&c, CALL(4, "spans", "{}"));
    client_says(&c, CALL(5, "stop", "{}"));
    client_expect(&c, "\"op\":\"vm stop\"");
    client_close(&other);
    client_expect(&c, "\"id\":5}");
    control_kit_close_vm(&k);
    client_expect(&c, "\"complete\":true},\"id\":4}");
    client_expect_end(&c);
    client_close(&c);
    control_kit_close(&k);
}

/* One that does not stop asking gets so many, and its other calls go on. */
static void spans_have_an_end(void **state) {
    struct control_kit k = {0};
    struct client c;
    unsigned got = 0;
    (void)state;
    control_kit_open(&k, true);
    client_hello(&c, &k);
    client_says(&c, CALL(1, "spans", "{}"));
    for (unsigned i = 0; got <= UVM__CONTROL_SPANS_MAX; i++) {
        char call[128];
        (void)snprintf(call, sizeof call,
                       "{\"jsonrpc\":\"2.0\",\"id\":%u,\"method\":\"exec\",\"params\":"
                       "{\"argv\":[\"no-such-thing\"]}}",
                       i + 10);
        client_says(&c, call);
        bool answered = false, over = false;
        while (!answered && !over) {
            const char *line = client_line(&c);
            got += strstr(line, "\"event\":\"span\"") != NULL;
            answered = strstr(line, "\"error\"") != NULL;
            over = strstr(line, "\"complete\":false},\"id\":1}") != NULL;
        }
        if (over) {
            client_expect(&c, "\"error\"");
            break;
        }
    }
    assert_int_equal(got, UVM__CONTROL_SPANS_MAX);
    client_says(&c, CALL(2, "properties", "{}"));
    client_expect(&c, "\"id\":2}");
    client_close(&c);
    control_kit_close(&k);
}

static void events_and_the_end(void **state) {
    struct control_kit k = {0};
    struct client watcher, waiter, stopper, other;
    (void)state;
    control_kit_open(&k, false);
    client_hello(&watcher, &k);
    client_says(&watcher, CALL(1, "events", "{}"));
    client_expect(&watcher, "\"state\":\"created\"");
    client_hello(&waiter, &k);
    client_says(&waiter, CALL(1, "wait_vm", "{}"));
    client_says(&waiter, CALL(2, "exec", "{\"argv\":[\"true\"]}"));
    client_expect(&waiter, "demo is created");
    client_hello(&stopper, &k);
    client_says(&stopper, CALL(1, "stop", "{}"));
    client_expect(&stopper, "\"STATE\"");
    control_kit_boot(&k);
    client_expect(&watcher, "\"state\":\"starting\"");
    client_expect(&watcher, "\"state\":\"running\"");
    client_hello(&other, &k);
    client_says(&stopper, CALL(2, "stop", "{\"grace_ms\":2000}")); /* two at once */
    client_says(&other, CALL(2, "stop", "{}"));
    client_expect(&stopper, "\"reason\":\"guest-shutdown\"");
    client_expect(&other, "\"reason\":\"guest-shutdown\"");
    client_expect(&waiter, "\"reason\":\"guest-shutdown\"");
    client_expect(&watcher, "\"state\":\"stopping\"");
    client_expect(&watcher, "\"state\":\"stopped\"");
    client_says(&waiter, CALL(3, "wait_vm", "{}"));
    client_expect(&waiter, "\"reason\":\"guest-shutdown\"");
    control_kit_close_vm(&k);
    client_expect(&watcher, "\"result\":{},\"id\":1}");
    client_expect_end(&watcher);
    client_expect_end(&waiter);
    client_expect_end(&stopper);
    client_expect_end(&other);
    client_close(&watcher);
    client_close(&waiter);
    client_close(&stopper);
    client_close(&other);
    control_kit_close(&k);
}

/* The file that remembers it; "" when there is none. */
static void read_end(const struct control_kit *k, char *ret, size_t bytes) {
    int state, ended;
    struct uvm__fail f = {0};
    ret[0] = 0;
    assert_int_equal(uvm__folder_open(k->folder, false, &state, &f), 0);
    if (uvm__folder_enter(state, UVM_CONTROL_ENDED, &ended, &f) == 0) {
        (void)uvm__folder_read(ended, "demo", ret, bytes);
        close(ended);
    }
    close(state);
}

static void an_end_is_remembered(void **state) {
    static const struct {
        enum uvm__hcs_exit exit;
        const char *detail, *said;
    } rows[] = {
        {UVM__HCS_EXIT_GUEST_SHUTDOWN, "",
         "\"exit\":{\"reason\":\"guest-shutdown\",\"text\":\"the guest shut down\",\"code\":0,"},
        {UVM__HCS_EXIT_GUEST_PANIC, "of \x1b[2J\xff",
         "\"reason\":\"guest-panic\",\"text\":\"the guest's kernel panicked\",\"code\":null,"
         "\"detail\":\"of \\u001b[2J?\"}"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct control_kit k = {0};
        static char text[UVM__CONTROL_ENDED_BYTES];
        control_kit_open(&k, true);
        read_end(&k, text, sizeof text);
        assert_string_equal(text, "");
        uvm__sim_end(uvm__sim_newest(k.host), rows[i].exit, rows[i].detail);
        while (uvm_vm_state(k.vm) != UVM_VM_STOPPED) {
            control_kit_run(&k, 1);
        }
        control_kit_close_vm(&k);
        loop_until(&k.loop, &k.closed);
        read_end(&k, text, sizeof text);
        if (strstr(text, rows[i].said) == NULL) {
            fail_msg("%s lacks %s", text, rows[i].said);
        }
        assert_non_null(strstr(text, "\"name\":\"demo\",\"state\":\"stopped\""));
        assert_non_null(strstr(text, "\"ended_ms\":"));
        control_kit_close(&k);
    }
}

/* Nor does it hold up anything that the end cannot be written down. */
static void an_end_that_cannot_be_remembered(void **state) {
    struct control_kit k = {0};
    char text[64];
    int folder;
    struct uvm__fail f = {0};
    (void)state;
    control_kit_open(&k, true);
    assert_int_equal(uvm__folder_open(k.folder, false, &folder, &f), 0);
    assert_int_equal(uvm__folder_write(folder, UVM_CONTROL_ENDED, "x", 1, &f), 0);
    control_kit_close_vm(&k);
    loop_until(&k.loop, &k.closed);
    read_end(&k, text, sizeof text);
    assert_string_equal(text, "");
    assert_true(uvm__folder_unlink(folder, UVM_CONTROL_ENDED));
    close(folder);
    control_kit_close(&k);
}

static void kill_during_boot(void **state) {
    struct control_kit k = {.script = {.conduct = GUEST_NEVER_DIALS}};
    struct client c;
    (void)state;
    control_kit_open(&k, false);
    client_hello(&c, &k);
    control_kit_boot(&k);
    control_kit_run(&k, 20);
    client_says(&c, CALL(1, "kill", "{}"));
    client_expect(&c, "\"result\":{\"exit\":null},\"id\":1}");
    assert_true(k.booted);
    assert_int_equal(k.boot_code, UVM_E_CANCELED);
    client_says(&c, CALL(2, "kill", "{}"));
    client_expect(&c, "\"STATE\"");
    client_close(&c);
    char text[64];
    control_kit_close_vm(&k);
    loop_until(&k.loop, &k.closed);
    read_end(&k, text, sizeof text);
    assert_string_equal(text, ""); /* it never ran */
    control_kit_close(&k);
}

/* The owner closes a VM that runs, with clients in the middle of everything. */
static void closing_answers_everybody(void **state) {
    struct control_kit k = {0};
    struct client c;
    int out[2];
    (void)state;
    control_kit_open(&k, true);
    client_hello(&c, &k);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    client_says(&c, CALL(1, "exec", "{\"argv\":[\"stay\"]}"));
    client_expect(&c, "\"process\":1");
    client_says(&c, CALL(2, "wait", "{\"process\":1}"));
    client_says(&c, CALL(3, "wait_vm", "{}"));
    client_send(&c, CALL(4, "console", "{\"follow\":true}") "\n",
                strlen(CALL(4, "console", "{\"follow\":true}")) + 1, &out[1], 1);
    client_says(&c, CALL(5, "properties", "{}"));
    client_expect(&c, "\"id\":5}");
    client_says(&c, CALL(6, "exec", "{\"argv\":[\"stay\"]}"));
    control_kit_run(&k, 1);
    control_kit_close_vm(&k);
    unsigned answered = 0;
    while (answered != 0x5c) { /* 2, 3, 4, 6 */
        const char *id = strstr(client_line(&c), "\"id\":");
        assert_non_null(id);
        answered |= 1u << (id[5] - '0');
    }
    client_expect_end(&c);
    close(out[0]);
    close(out[1]);
    client_close(&c);
    control_kit_close(&k);
}

static void close_of_the_control_alone(void **state) {
    struct control_kit k = {0};
    struct client c;
    struct stat st;
    char path[128];
    bool closed = false;
    (void)state;
    control_kit_open(&k, true);
    (void)snprintf(path, sizeof path, "%s/demo", k.folder);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    (void)snprintf(path, sizeof path, "%s/demo/%s", k.folder, UVM_CONTROL_SOCKET);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    client_hello(&c, &k);
    client_says(&c, CALL(1, "exec", "{\"argv\":[\"stay\"]}"));
    client_expect(&c, "\"process\":1");
    uvm_control_close(k.control, NULL, NULL);
    client_expect_end(&c);
    client_close(&c);
    struct uvm_control_params cp = UVM_CONTROL_PARAMS_INIT;
    cp.folder = k.folder;
    while (k.seen.processes != 0) {
        control_kit_run(&k, 2);
    }
    control_kit_run(&k, 10);
    assert_int_equal(uvm_vm_state(k.vm), UVM_VM_RUNNING);
    /* And again. */
    assert_int_equal(uvm_control_listen(k.vm, &cp, &k.control, NULL), 0);
    client_hello(&c, &k);
    client_close(&c);
    control_kit_clients(&k, 0);
    (void)closed;
    control_kit_close(&k);
}

static void a_name_is_taken_once(void **state) {
    struct control_kit k = {0};
    uvm_vm *vm;
    uvm_error *err = NULL;
    bool closed = false;
    (void)state;
    control_kit_open(&k, false);
    struct uvm_control_params cp = UVM_CONTROL_PARAMS_INIT;
    cp.folder = k.folder;
    assert_int_equal(uvm_control_listen(k.vm, &cp, NULL, NULL), -UVM_E_STATE);
    struct uvm_vm_params p = UVM_VM_PARAMS_INIT;
    p.name = "demo";
    p.kernel = p.initrd = "/x";
    assert_int_equal(uvm_vm_new(k.loop.engine, k.service, &p, &vm, NULL), 0);
    assert_int_equal(uvm_control_listen(vm, &cp, NULL, &err), -UVM_E_EXISTS);
    assert_string_equal(uvm_error_message(err), "demo: a UVM of this name is there already");
    uvm_error_unref(err);
    cp.folder = "relative";
    assert_int_equal(uvm_control_listen(vm, &cp, NULL, NULL), -UVM_E_INVAL);
    cp.folder = "/tmp/not/there";
    assert_int_equal(uvm_control_listen(vm, &cp, NULL, NULL), -UVM_E_IO);
    cp.folder = "/tmp"; /* everybody may write there */
    assert_int_equal(uvm_control_listen(vm, &cp, NULL, &err), -UVM_E_HOST);
    uvm_error_unref(err);
    uvm_vm_close(vm, NULL, NULL);
    loop_turns(&k.loop);
    (void)closed;
    control_kit_close(&k);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(others_are_counted),
        cmocka_unit_test(hello_and_properties),
        cmocka_unit_test(exec_with_descriptors),
        cmocka_unit_test(exec_statuses),
        cmocka_unit_test(death_kills_what_it_started),
        cmocka_unit_test(console_and_log),
        cmocka_unit_test(console_of_one_who_does_not_read),
        cmocka_unit_test(devices_come_and_go),
        cmocka_unit_test(long_answers),
        cmocka_unit_test(an_attach_is_its_clients),
        cmocka_unit_test(events_and_the_end),
        cmocka_unit_test(spans_of_what_is_asked),
        cmocka_unit_test(spans_have_an_end),
        cmocka_unit_test(an_end_is_remembered),
        cmocka_unit_test(an_end_that_cannot_be_remembered),
        cmocka_unit_test(kill_during_boot),
        cmocka_unit_test(closing_answers_everybody),
        cmocka_unit_test(close_of_the_control_alone),
        cmocka_unit_test(a_name_is_taken_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
