/* SPDX-License-Identifier: MIT
 * control_hostile_test.c — control clients that mean harm or are broken: each loses its connection at most,
 * and costs nothing that lasts.
 *
 * After each case there are as many descriptors as before, no process in the guest, and a client who behaves
 * is served.
 */
#include "tests/unit/control_kit.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define CALL(id, method, params)                                                                   \
    "{\"jsonrpc\":\"2.0\",\"id\":" #id ",\"method\":\"" method "\",\"params\":" params "}"

static struct control_kit k;

static void expect_served(void) {
    struct client c;
    client_hello(&c, &k);
    client_says(&c, CALL(1, "exec", "{\"argv\":[\"true\"]}"));
    client_expect(&c, "\"process\":1");
    client_says(&c, CALL(2, "wait", "{\"process\":1}"));
    client_expect(&c, "\"code\":0");
    client_close(&c);
    control_kit_expect_quiet(&k);
}

static int setup(void **state) {
    (void)state;
    k = (struct control_kit){0};
    control_kit_open(&k, true);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    control_kit_clients(&k, 0);
    expect_served();
    control_kit_close(&k);
    return 0;
}

/* Lines that end the connection, with what its last words say. */
static void lines_that_are_no_requests(void **state) {
    static const struct {
        const char *line, *said;
    } rows[] = {
        {"", "-32700"},
        {"{", "-32700"},
        {"nonsense", "-32700"},
        {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"stop\"}{}", "-32700"},
        {"{\"jsonrpc\":\"2.0\",\"id\":1,\"id\":2,\"method\":\"properties\"}", "-32700"},
        {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\\ud800\"}", "-32700"},
        {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xff\"}", "-32700"},
        {"[]", "-32600"},
        {"[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"properties\"}]", "-32600"},
        {"17", "-32600"},
        {"null", "-32600"},
        {"{}", "-32600"},
        {"{\"jsonrpc\":\"1.0\",\"id\":1,\"method\":\"properties\"}", "-32600"},
        {"{\"id\":1,\"method\":\"properties\"}", "-32600"},
        {"{\"jsonrpc\":\"2.0\",\"method\":\"properties\"}", "-32600"},
        {"{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"properties\"}", "-32600"},
        {"{\"jsonrpc\":\"2.0\",\"id\":1.5,\"method\":\"properties\"}", "-32600"},
        {"{\"jsonrpc\":\"2.0\",\"id\":-1,\"method\":\"properties\"}", "-32600"},
        {"{\"jsonrpc\":\"2.0\",\"id\":\"a\\\"b\",\"method\":\"properties\"}", "-32600"},
        {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":7}", "-32600"},
        {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"properties\",\"more\":1}", "-32600"},
        {"{\"JSONRPC\":\"2.0\",\"id\":1,\"method\":\"properties\"}", "-32600"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct client c;
        client_hello(&c, &k);
        client_says(&c, rows[i].line);
        client_expect(&c, rows[i].said);
        client_expect_end(&c);
        client_close(&c);
    }
    /* Deep nesting. */
    struct client c;
    char deep[2001];
    memset(deep, '[', 2000);
    deep[2000] = 0;
    client_hello(&c, &k);
    client_says(&c, deep);
    client_expect(&c, "-32700");
    client_expect_end(&c);
    client_close(&c);
}

/* Params that make no sense are refused, and the connection goes on. */
static void params_that_make_no_sense(void **state) {
    static const char *const rows[] = {
        CALL(1, "properties", "[]"),
        CALL(1, "properties", "7"),
        CALL(1, "exec", "{\"argv\":\"true\"}"),
        CALL(1, "exec", "{\"argv\":[\"true\",null]}"),
        CALL(1, "exec", "{\"argv\":[\"\"]}"),
        CALL(1, "exec", "{\"argv\":{}}"),
        CALL(1, "exec", "{}"),
        CALL(1, "exec", "{\"argv\":[\"true\"],\"tty\":1}"),
        CALL(1, "exec", "{\"argv\":[\"true\"],\"rows\":65536}"),
        CALL(1, "exec", "{\"argv\":[\"true\"],\"rows\":-1}"),
        CALL(1, "exec", "{\"argv\":[\"true\"],\"cwd\":[]}"),
        CALL(1, "exec", "{\"argv\":[\"true\"],\"stdio\":[]}"),
        CALL(1, "exec", "{\"argv\":[\"true\"],\"stdio\":[\"fd\",\"none\",\"pipe\"]}"),
        CALL(1, "exec", "{\"argv\":[\"true\"],\"stdio\":[\"fd\",\"none\",\"none\"]}"),
        CALL(1, "exec", "{\"argv\":[\"true\"],\"Argv\":[\"x\"]}"),
        CALL(1, "signal", "{\"process\":1,\"signal\":9}"),
        CALL(1, "wait", "{\"process\":18446744073709551616}"),
        CALL(1, "wait", "{\"process\":\"1\"}"),
        CALL(1, "wait", "{}"),
        CALL(1, "stop", "{\"grace_ms\":0}"),
        CALL(1, "stop", "{\"grace_ms\":4294967296}"),
        CALL(1, "console", "{}"),
        CALL(1, "log", "{\"follow\":\"yes\"}"),
        CALL(1, "cancel", "{}"),
        CALL(1, "devices", "{\"all\":true}"),
        CALL(1, "detach", "{}"),
        CALL(1, "detach", "{\"device\":7}"),
        CALL(1, "detach", "{\"device\":\"\"}"),
        CALL(1, "detach", "{\"device\":\"scsi-1111111111111111111111111\"}"),
        CALL(1, "detach", "{\"device\":\"scsi-1\"}"),
    };
    struct client c;
    (void)state;
    client_hello(&c, &k);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        client_says(&c, rows[i]);
        const char *line = client_line(&c);
        assert_non_null(strstr(line, "\"error\":{\"code\":-32"));
        assert_non_null(strstr(line, ",\"id\":1}"));
    }
    client_says(&c, CALL(2, "cancel", "{\"id\":99}"));
    client_expect(&c, "\"result\":{},\"id\":2}");
    client_close(&c);
}

/* Settings of a disk: each is refused by what is wrong with it, and nothing is attached. */
static void disks_that_make_no_sense(void **state) {
#define ATTACH(settings) "{\"kind\":\"scsi\",\"settings\":" settings "}"
#define DISK(more) ATTACH("{\"host_path\":\"/x\"," more "}")
    static const struct {
        const char *params, *said;
    } rows[] = {
        {"{}", "\\\"kind\\\""},
        {"{\"kind\":1}", "\\\"kind\\\" is no string"},
        {"{\"kind\":\"floppy\",\"settings\":{}}", "floppy"},
        {"{\"kind\":\"scsi\",\"path\":\"/x\"}", "\\\"path\\\" is not known"},
        {"{\"kind\":\"scsi\"}", "host_path: no path"},
        {ATTACH("[]"), "an object is wanted"},
        {ATTACH("\"/x\""), "an object is wanted"},
        {ATTACH("{}"), "host_path: no path"},
        {ATTACH("{\"host_path\":[]}"), "\\\"host_path\\\" is no string"},
        {ATTACH("{\"host_path\":\"\"}"), "host_path: it is empty"},
        {ATTACH("{\"host_path\":\"x.img\"}"), "does not begin with /"},
        {ATTACH("{\"host_path\":\"/x\\ny\"}"), "host_path: it has a control character"},
        {ATTACH("{\"Host_path\":\"/x\"}"), "\\\"Host_path\\\" is not known"},
        {DISK("\"read_only\":1"), "\\\"read_only\\\" is neither"},
        {DISK("\"physical\":\"no\""), "\\\"physical\\\" is neither"},
        {DISK("\"mount\":{}"), "\\\"mount\\\" is neither"},
        {DISK("\"block_dev\":0"), "\\\"block_dev\\\" is neither"},
        {DISK("\"encrypted\":null"), "\\\"encrypted\\\" is neither"},
        {DISK("\"ensure_filesystem\":[]"), "\\\"ensure_filesystem\\\" is neither"},
        {DISK("\"guest_path\":7"), "\\\"guest_path\\\" is no string"},
        {DISK("\"guest_path\":\"d\""), "guest_path: \\\"d\\\" does not begin"},
        {DISK("\"guest_path\":\"/\""), "guest_path: / is"},
        {DISK("\"guest_path\":\"/a/../b\""), "has a part \\\"..\\\""},
        {DISK("\"guest_path\":\"/a/./b\""), "has a part \\\".\\\""},
        {DISK("\"partition\":-1,\"mount\":true"), "\\\"partition\\\" is no number"},
        {DISK("\"partition\":1.5,\"mount\":true"), "\\\"partition\\\" is no number"},
        {DISK("\"partition\":4294967296,\"mount\":true"), "\\\"partition\\\" is no number"},
        {DISK("\"partition\":1"), "options of a mount"},
        {DISK("\"options\":\"ro\",\"mount\":true"), "\\\"options\\\" is no list"},
        {DISK("\"options\":[1],\"mount\":true"), "\\\"options\\\" has a number"},
        {DISK("\"options\":[\"\"],\"mount\":true"), "options: it is empty"},
        {DISK("\"filesystem\":\"\",\"mount\":true"), "filesystem: it is empty"},
        {DISK("\"ensure_filesystem\":true,\"mount\":true"), "which one is not said"},
        {DISK("\"ensure_filesystem\":true,\"mount\":true,\"filesystem\":\"ext4\","
              "\"read_only\":true"),
         "read-only cannot be formatted"},
    };
    static char line[4096];
    struct client c;
    (void)state;
    client_hello(&c, &k);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        (void)snprintf(line, sizeof line, CALL(1, "attach", "%s"), rows[i].params);
        client_says(&c, line);
        const char *answer = client_line(&c);
        if (strstr(answer, "\"code\":-32602") == NULL || strstr(answer, rows[i].said) == NULL) {
            fail_msg("%s lacks %s: %s", rows[i].params, rows[i].said, answer);
        }
    }
    client_says(&c, CALL(2, "devices", "{}"));
    client_expect(&c, "\"devices\":[]");
    client_close(&c);
}

/* More of it than there may be. */
static void disks_that_are_too_much(void **state) {
    static char line[65536], path[40000];
    struct client c;
    (void)state;
    client_hello(&c, &k);
    memset(path, 'a', sizeof path - 1);
    int n = snprintf(line, sizeof line, CALL(1, "attach", ATTACH("{\"host_path\":\"/%s\"}")) "\n",
                     path);
    client_send(&c, line, (size_t)n, NULL, 0);
    client_expect(&c, "host_path: it has more than 4095 bytes");
    n = snprintf(line, sizeof line, CALL(1, "attach", DISK("\"guest_path\":\"/%.1023s\"")) "\n",
                 path);
    client_send(&c, line, (size_t)n, NULL, 0);
    client_expect(&c, "guest_path: it has more than 1023 bytes");
    char options[33 * 4 + 1] = "";
    for (size_t i = 0; i < 33; i++) {
        memcpy(options + i * 4, "\"x\",", 5);
    }
    options[33 * 4 - 1] = 0;
    (void)snprintf(line, sizeof line, CALL(1, "attach", DISK("\"options\":[%s],\"mount\":true")),
                   options);
    client_says(&c, line);
    client_expect(&c, "no list of at most 32 strings");
    client_says(&c, CALL(2, "devices", "{}"));
    client_expect(&c, "\"devices\":[]");
    client_close(&c);
}

static void not_greeted(void **state) {
    struct client c;
    (void)state;
    client_open(&c, &k);
    client_says(&c, CALL(1, "kill", "{}"));
    client_expect(&c, "the first call is hello");
    client_expect_end(&c);
    client_close(&c);
    client_open(&c, &k);
    client_says(&c, CALL(1, "hello", "{\"version\":2}"));
    client_expect(&c, "speaks version 1 of the control protocol, not 2");
    client_expect_end(&c);
    client_close(&c);
    client_open(&c, &k);
    client_says(&c, CALL(1, "hello", "{}"));
    client_expect(&c, "UNSUPPORTED");
    client_expect_end(&c);
    client_close(&c);
    assert_int_equal(uvm_vm_state(k.vm), UVM_VM_RUNNING);
}

/* Says nothing, or half a line: has its time, and no more. */
static void silence_before_hello(void **state) {
    struct client silent, half;
    (void)state;
    client_open(&silent, &k);
    client_open(&half, &k);
    client_send(&half, HELLO, 20, NULL, 0);
    control_kit_clients(&k, 2);
    client_expect_end(&silent);
    client_expect_end(&half);
    client_close(&silent);
    client_close(&half);
    /* After hello half a line may wait for ever; the client's end is its end. */
    client_hello(&half, &k);
    client_send(&half, HELLO, 20, NULL, 0);
    control_kit_run(&k, 50);
    assert_int_equal(uvm_control_clients(k.control), 1);
    client_close(&half);
}

static void one_gib(void **state) {
    struct client c;
    static char block[1u << 20];
    (void)state;
    memset(block, 'x', sizeof block);
    client_hello(&c, &k);
    long blocks = k.loop.blocks;
    for (unsigned i = 0; i < 1024; i++) {
        client_send(&c, block, sizeof block, NULL, 0); /* returns once nobody reads */
    }
    client_expect(&c, "at most 131071 bytes");
    client_expect_end(&c);
    client_close(&c);
    control_kit_clients(&k, 0);
    assert_true(k.loop.blocks <= blocks);
}

/* Asks and asks, reads nothing. */
static void never_reads(void **state) {
    struct client c;
    char many[4096 + 1];
    (void)state;
    client_hello(&c, &k);
    for (size_t at = 0; at < 4096; at += 64) {
        (void)snprintf(many + at, 65, "%-63s\n", CALL(1, "inspect", "{}"));
    }
    for (unsigned i = 0; i < 100000 && uvm_control_clients(k.control) == 1; i++) {
        client_send(&c, many, 4096, NULL, 0);
        control_kit_run(&k, 1);
    }
    control_kit_clients(&k, 0);
    client_close(&c);
}

static void descriptors(void **state) {
    struct client c;
    int fds[16];
    (void)state;
    for (size_t i = 0; i < 16; i++) {
        fds[i] = open("/dev/null", O_RDWR | O_CLOEXEC);
        assert_true(fds[i] >= 0);
    }
    /* With a call that wants none. */
    client_hello(&c, &k);
    client_send(&c, CALL(1, "properties", "{}") "\n", strlen(CALL(1, "properties", "{}")) + 1, fds,
                2);
    client_expect(&c, "descriptors came that no call takes");
    client_expect_end(&c);
    client_close(&c);
    /* More than one call takes, in pieces. */
    client_hello(&c, &k);
    for (int i = 0; i < 5; i++) {
        client_send(&c, "{", 1, fds, 3);
    }
    client_expect(&c, "too many descriptors");
    client_expect_end(&c);
    client_close(&c);
    client_hello(&c, &k);
    client_send(&c, "{", 1, fds, 16);
    client_expect(&c, "too many descriptors");
    client_expect_end(&c);
    client_close(&c);
    /* Half a line with some, then gone. */
    client_hello(&c, &k);
    client_send(&c, "{", 1, fds, 3);
    control_kit_run(&k, 20);
    client_close(&c);
    control_kit_clients(&k, 0);
    /* Kinds that no process can have as stdio: refused, or used without harm. */
    int pair[2], one_way[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(pipe2(one_way, O_CLOEXEC), 0);
    int folder = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int path = open("/", O_PATH | O_CLOEXEC);
    const int odd[] = {one_way[1], folder, path, pair[0]};
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
        static const char line[] =
            CALL(1, "exec", "{\"argv\":[\"cat\"],\"stdio\":[\"fd\",\"none\",\"none\"]}") "\n";
        client_hello(&c, &k);
        client_send(&c, line, strlen(line), &odd[i], 1);
        client_expect(&c, "\"id\":1}");
        client_close(&c);
        control_kit_clients(&k, 0);
    }
    close(folder);
    close(path);
    close(pair[0]);
    close(pair[1]);
    close(one_way[0]);
    close(one_way[1]);
    for (size_t i = 0; i < 16; i++) {
        close(fds[i]);
    }
}

static void too_many_of_everything(void **state) {
    struct client c, clients[UVM__CONTROL_CLIENTS_MAX], one_more;
    (void)state;
    client_hello(&c, &k);
    for (unsigned i = 0; i < UVM__CONTROL_CALLS_MAX; i++) {
        char line[128];
        (void)snprintf(line, sizeof line, "{\"jsonrpc\":\"2.0\",\"id\":%u,\"method\":\"wait_vm\"}",
                       i);
        client_says(&c, line);
    }
    client_says(&c, CALL(5000, "properties", "{}"));
    client_expect(&c, "\"LIMIT\"");
    client_says(&c, CALL(7, "wait_vm", "{}"));
    client_expect(&c, "a call with this id is in flight");
    client_expect(&c, "no longer waited for");
    client_close(&c);
    control_kit_clients(&k, 0);
    client_hello(&c, &k);
    for (unsigned i = 0; i < UVM__CONTROL_PROCESSES_MAX; i++) {
        client_says(&c, CALL(1, "exec", "{\"argv\":[\"stay\"]}"));
        client_expect(&c, "\"process\"");
    }
    client_says(&c, CALL(1, "exec", "{\"argv\":[\"stay\"]}"));
    client_expect(&c, "runs 64 processes");
    client_close(&c);
    control_kit_expect_quiet(&k);
    for (unsigned i = 0; i < UVM__CONTROL_CLIENTS_MAX; i++) {
        client_hello(&clients[i], &k);
    }
    client_open(&one_more, &k);
    client_expect_end(&one_more);
    client_close(&one_more);
    for (unsigned i = 0; i < UVM__CONTROL_CLIENTS_MAX; i++) {
        client_close(&clients[i]);
    }
}

/* At each byte of an exec, its answer not awaited. */
static void dies_in_the_middle_of_an_exec(void **state) {
    static const char line[] =
        CALL(1, "exec", "{\"argv\":[\"yes\"],\"stdio\":[\"none\",\"fd\",\"none\"]}") "\n";
    (void)state;
    for (unsigned turns = 0; turns < 40; turns++) {
        struct client c;
        int out[2];
        assert_int_equal(pipe2(out, O_CLOEXEC), 0);
        client_hello(&c, &k);
        client_send(&c, line, turns < 5 ? turns * 10 + 1 : strlen(line), &out[1], 1);
        for (unsigned i = 0; i < turns; i++) {
            uv_run(&k.loop.loop, UV_RUN_NOWAIT);
        }
        if (turns > 30) {
            control_kit_run(&k, turns - 30);
        }
        client_close(&c);
        close(out[0]);
        close(out[1]);
        control_kit_expect_quiet(&k);
    }
}

/* Without memory at any point: the connection may end, the VM goes on. */
static void without_memory(void **state) {
    (void)state;
    for (long n = 0; n < 60; n++) {
        struct client c;
        client_open(&c, &k);
        control_kit_run(&k, 2);
        k.loop.fail_at = n;
        client_says(&c, CALL(0, "hello", "{\"version\":1}"));
        client_says(&c, CALL(1, "inspect", "{}"));
        client_says(&c, CALL(2, "exec", "{\"argv\":[\"stay\"],\"env\":[\"A=B\"]}"));
        client_says(&c, CALL(3, "wait", "{\"process\":1}"));
        client_says(&c, CALL(4, "events", "{}"));
        client_says(&c, CALL(5, "attach", DISK("\"mount\":true")));
        control_kit_run(&k, 15);
        k.loop.fail_at = -1;
        client_close(&c);
        if (uvm_vm_state(k.vm) != UVM_VM_RUNNING) {
            fail_msg("allocation %ld", n);
        }
        control_kit_expect_quiet(&k);
    }
}

/* The host has no descriptor left: clients wait, and come in when there is one. */
static void without_descriptors(void **state) {
    struct rlimit before, now;
    struct client c, later;
    (void)state;
    client_hello(&c, &k);
    client_open(&later, &k);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    now = before;
    now.rlim_cur = 3;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &now), 0);
    control_kit_run(&k, 150);
    assert_int_equal(uvm_control_clients(k.control), 1);
    client_says(&c, CALL(1, "properties", "{}"));
    client_expect(&c, "running");
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    control_kit_clients(&k, 2);
    client_send(&later, HELLO, strlen(HELLO), NULL, 0);
    client_expect(&later, "\"version\":1");
    client_close(&c);
    client_close(&later);
}

/* As user 12345: a connected socket, or -errno. */
static int dial_as_another(void) {
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    (void)snprintf(a.sun_path, sizeof a.sun_path, "%s/demo/%s", k.folder, UVM_CONTROL_SOCKET);
    if (seteuid(12345) != 0) {
        close(fd);
        return -EPERM;
    }
    int rc = connect(fd, (struct sockaddr *)&a, sizeof a) == 0 ? 0 : -errno;
    assert_int_equal(seteuid(0), 0);
    if (rc < 0) {
        close(fd);
    }
    return rc < 0 ? rc : fd;
}

/* Folder and socket keep others out; and if somebody opened both, the socket itself does. */
static void another_user(void **state) {
    char path[128];
    char byte;
    (void)state;
    if (geteuid() != 0 || seteuid(12345) != 0) {
        skip(); /* only root may become another */
    }
    assert_int_equal(seteuid(0), 0);
    assert_int_equal(dial_as_another(), -EACCES);
    assert_int_equal(chmod(k.folder, 0755), 0);
    assert_int_equal(dial_as_another(), -EACCES);
    (void)snprintf(path, sizeof path, "%s/demo", k.folder);
    assert_int_equal(chmod(path, 0755), 0);
    assert_int_equal(dial_as_another(), -EACCES);
    (void)snprintf(path, sizeof path, "%s/demo/%s", k.folder, UVM_CONTROL_SOCKET);
    assert_int_equal(chmod(path, 0666), 0);
    int fd = dial_as_another();
    assert_true(fd >= 0);
    (void)send(fd, HELLO, strlen(HELLO), MSG_NOSIGNAL);
    control_kit_run(&k, 50);
    assert_true(recv(fd, &byte, 1, MSG_DONTWAIT) <= 0 && errno != EAGAIN); /* not a word */
    close(fd);
    assert_int_equal(uvm_control_clients(k.control), 0);
    assert_int_equal(chmod(k.folder, 0700), 0); /* or no client of ours would trust it */
}

int main(void) {
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(lines_that_are_no_requests),
        CASE(params_that_make_no_sense),
        CASE(disks_that_make_no_sense),
        CASE(disks_that_are_too_much),
        CASE(not_greeted),
        CASE(silence_before_hello),
        CASE(one_gib),
        CASE(never_reads),
        CASE(descriptors),
        CASE(too_many_of_everything),
        CASE(dies_in_the_middle_of_an_exec),
        CASE(without_memory),
        CASE(without_descriptors),
        CASE(another_user),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
