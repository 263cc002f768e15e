/* SPDX-License-Identifier: MIT
 * plan9_server_test.c — the 9P server of a share against a guest's kernel that lies: messages are written by hand,
 * and what they ask for is outside of the folder.
 *
 * argument: uvm-launch
 */
#include "async/le.h"
#include "hcs/qemu/plan9_server.h"
#include "tests/unit/child_kit.h"
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>

enum {
    TVERSION = 100,
    TATTACH = 104,
    TWALK = 110,
    TLOPEN = 12,
    TREAD = 116,
    TLCREATE = 14,
    RLERROR = 7
};
enum { TMKNOD = 18, TSYMLINK = 16, TCLUNK = 120 };
enum { ROOT = 1, NEXT = 2, NOFID = -1 };

static char folder[] = "/tmp/uvm-plan9-server-XXXXXX";

/* ---- messages ----------------------------------------------------------------------------- */

struct message {
    uint8_t bytes[8192];
    size_t used;
};

static void put(struct message *m, uint64_t value, unsigned bytes) {
    for (unsigned i = 0; i < bytes; i++) {
        m->bytes[m->used++] = (uint8_t)(value >> (8 * i));
    }
}

static void put_text(struct message *m, const char *text) {
    put(m, strlen(text), 2);
    memcpy(m->bytes + m->used, text, strlen(text));
    m->used += strlen(text);
}

static struct message begin(uint8_t type) {
    struct message m = {.used = 0};
    put(&m, 0, 4);
    put(&m, type, 1);
    put(&m, type == TVERSION ? 0xffff : 1, 2);
    return m;
}

static void read_all(int fd, uint8_t *to, size_t bytes) {
    while (bytes > 0) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        assert_int_equal(poll(&p, 1, 10000), 1);
        ssize_t n = recv(fd, to, bytes, 0);
        assert_true(n > 0);
        to += n;
        bytes -= (size_t)n;
    }
}

/* The answer's type; what it says is in `m`, behind the header. An error's number becomes negative. */
static int call(int fd, struct message *m) {
    uint32_t bytes;
    for (unsigned i = 0; i < 4; i++) {
        m->bytes[i] = (uint8_t)(m->used >> (8 * i));
    }
    assert_int_equal(send(fd, m->bytes, m->used, MSG_NOSIGNAL), m->used);
    read_all(fd, m->bytes, 7);
    bytes = (uint32_t)uvm__le_get(m->bytes, 4);
    assert_in_range(bytes, 7, sizeof m->bytes);
    read_all(fd, m->bytes + 7, bytes - 7);
    m->used = bytes;
    return m->bytes[4] == RLERROR ? -(int)uvm__le_get(m->bytes + 7, 4) : m->bytes[4];
}

static int attach(int fd, const char *name) {
    struct message m = begin(TATTACH);
    put(&m, ROOT, 4);
    put(&m, (uint32_t)NOFID, 4);
    put_text(&m, "root");
    put_text(&m, name);
    put(&m, 0, 4);
    return call(fd, &m);
}

/* From the root, all names or none; 0: the fid NEXT is there. */
static int walk(int fd, const char *const *names, unsigned count) {
    struct message m = begin(TCLUNK);
    put(&m, NEXT, 4);
    (void)call(fd, &m);
    m = begin(TWALK);
    put(&m, ROOT, 4);
    put(&m, NEXT, 4);
    put(&m, count, 2);
    for (unsigned i = 0; i < count; i++) {
        put_text(&m, names[i]);
    }
    int type = call(fd, &m);
    return type < 0 ? type : (unsigned)uvm__le_get(m.bytes + 7, 2) == count ? 0 : -ENOENT;
}

/* What NEXT reads as; negative: why not. */
static int read_next(int fd, char *ret, size_t bytes) {
    struct message m = begin(TLOPEN);
    put(&m, NEXT, 4);
    put(&m, O_RDONLY, 4);
    int type = call(fd, &m);
    if (type < 0) {
        return type;
    }
    m = begin(TREAD);
    put(&m, NEXT, 4);
    put(&m, 0, 8);
    put(&m, bytes - 1, 4);
    type = call(fd, &m);
    size_t n = type < 0 ? 0 : (uint32_t)uvm__le_get(m.bytes + 7, 4);
    memcpy(ret, m.bytes + 11, n);
    ret[n] = 0;
    return type < 0 ? type : (int)n;
}

static int create(int fd, const char *name) {
    struct message m = begin(TLCREATE);
    const char *const none[] = {""};
    assert_int_equal(walk(fd, none, 0), 0);
    put(&m, NEXT, 4);
    put_text(&m, name);
    put(&m, O_RDWR, 4);
    put(&m, 0644, 4);
    put(&m, 0, 4);
    return call(fd, &m);
}

static int make_symlink(int fd, const char *name, const char *to) {
    struct message m = begin(TSYMLINK);
    put(&m, ROOT, 4);
    put_text(&m, name);
    put_text(&m, to);
    put(&m, 0, 4);
    return call(fd, &m);
}

static int make_device(int fd, const char *name) {
    struct message m = begin(TMKNOD);
    put(&m, ROOT, 4);
    put_text(&m, name);
    put(&m, S_IFCHR | 0666, 4);
    put(&m, 1, 4);
    put(&m, 3, 4);
    put(&m, 0, 4);
    return call(fd, &m);
}

/* ---- servers ------------------------------------------------------------------------------ */

struct server {
    struct kid kid;
    int socket;
};

static void serve(struct server *s, bool read_only) {
    int fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    struct uvm__fail f = {.msg = ""};
    const struct uvm__plan9_server p = {.launch_path = kid_launch,
                                        .name = "7",
                                        .folder = fd,
                                        .read_only = read_only,
                                        .on_started = kid_on_started,
                                        .on_exit = kid_on_exit,
                                        .arg = &s->kid};
    memset(s, 0, sizeof *s);
    if (uvm__plan9_server_spawn(kit.engine, &p, &s->kid.c, &s->socket, &f) < 0) {
        fail_msg("%s", f.msg);
    }
    assert_int_equal(close(fd), 0);
    loop_until(&kit, &s->kid.started);
    assert_int_equal(s->kid.code, 0);
    struct message m = begin(TVERSION);
    put(&m, sizeof m.bytes, 4);
    put_text(&m, "9P2000.L");
    assert_int_equal(call(s->socket, &m), TVERSION + 1);
}

static void stop(struct server *s) {
    assert_int_equal(close(s->socket), 0);
    loop_until(&kit, &s->kid.exited); /* by itself */
    kid_close(&s->kid);
    loop_until(&kit, &s->kid.closed);
}

/* ---- tests -------------------------------------------------------------------------------- */

static void no_name_leads_out(void **state) {
    struct server s;
    char text[256];
    (void)state;
    serve(&s, false);
    assert_int_equal(attach(s.socket, "/"), -EPERM);
    assert_int_equal(attach(s.socket, "/etc"), -EPERM);
    assert_true(attach(s.socket, "/7/../..") < 0);
    assert_int_equal(attach(s.socket, "/7"), TATTACH + 1);
    assert_int_equal(walk(s.socket, (const char *const[]){"word"}, 1), 0);
    assert_true(read_next(s.socket, text, sizeof text) > 0);
    assert_string_equal(text, "inside\n");

    /* Links that the guest makes, each name looked at by the server: there is nothing to find. */
    assert_int_equal(make_symlink(s.socket, "out", "/"), TSYMLINK + 1);
    assert_int_equal(make_symlink(s.socket, "up", "../../../../../.."), TSYMLINK + 1);
    static const char *const ways[][4] = {{"out", "etc", "passwd"},
                                          {"out", "proc", "1", "environ"},
                                          {"up", "etc", "passwd"},
                                          {"..", "..", "etc", "passwd"},
                                          {"out", "tmp"}};
    for (unsigned i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        unsigned n = 0;
        while (n < 4 && ways[i][n] != NULL) {
            n++;
        }
        assert_true(walk(s.socket, ways[i], n) < 0);
    }
    assert_true(walk(s.socket, (const char *const[]){"../../etc/passwd"}, 1) < 0);
    /* What it has of the system is its libraries, and these it cannot change. */
    if (walk(s.socket, (const char *const[]){"out", "etc", "diod.conf"}, 3) == 0) {
        assert_true(read_next(s.socket, text, sizeof text) > 0);
        assert_non_null(strstr(text, "exports"));
    }
    assert_int_equal(make_device(s.socket, "null"), -EPERM);
    stop(&s);
}

static void read_only_is_the_servers(void **state) {
    struct server s;
    char text[256];
    (void)state;
    serve(&s, true);
    assert_int_equal(attach(s.socket, "/7"), TATTACH + 1);
    assert_int_equal(walk(s.socket, (const char *const[]){"word"}, 1), 0);
    assert_true(read_next(s.socket, text, sizeof text) > 0);
    assert_int_equal(create(s.socket, "new"), -EROFS);
    assert_int_equal(make_symlink(s.socket, "more", "/"), -EROFS);
    stop(&s);
    serve(&s, false);
    assert_int_equal(attach(s.socket, "/7"), TATTACH + 1);
    assert_int_equal(create(s.socket, "new"), TLCREATE + 1);
    stop(&s);
}

static int setup(void **state) {
    char path[128];
    (void)state;
    assert_non_null(mkdtemp(folder));
    (void)snprintf(path, sizeof path, "%s/word", folder);
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    assert_true(fputs("inside\n", f) >= 0);
    return fclose(f);
}

static int teardown(void **state) {
    static const char *const names[] = {"word", "out", "up", "new", "null"};
    char path[128];
    (void)state;
    for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        (void)unlink(path);
    }
    return rmdir(folder);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {KID_CASE(no_name_leads_out),
                                       KID_CASE(read_only_is_the_servers)};
    if (argc != 2 || geteuid() != 0) {
        (void)fprintf(stderr, "plan9_server_test UVM-LAUNCH, as root\n");
        return argc != 2 ? 2 : 0;
    }
    kid_launch = argv[1];
    return cmocka_run_group_tests(tests, setup, teardown);
}
