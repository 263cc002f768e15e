/* SPDX-License-Identifier: MIT
 * nic_test.c — network adapters of a real VM through the public API: joined to the host user's network, to a tap and
 * to a namespace's veth; known bytes both ways, taken away and attached again; and what cannot be.
 *
 * Namespaces are the test's own, by files in its folder, in a mount namespace of its own, so that they go with
 * it whatever happens. Without root the parts that need them are left out, with a word.
 *
 * arguments: kernel, initrd, uvm-launch
 */
#include "tests/harness/harness.h"
#include "tests/harness/harness_qemu.h"
#include "tests/unit/cm.h"
#include "uvm/devices.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define CALL_MS 60000u
#define ROUNDS 10u
#define UP_BYTES 200000u
#define DOWN_BYTES 300000u

static const char *kernel, *initrd, *launch;

/* ---- a server ----------------------------------------------------------------------------- */

static bool read_all(int fd, char *buf, size_t bytes) {
    for (size_t used = 0; used < bytes;) {
        ssize_t n = read(fd, buf + used, bytes - used);
        if (n <= 0) {
            return false;
        }
        used += (size_t)n;
    }
    return true;
}

static void fill(char *buf, size_t bytes, const char *line) {
    for (size_t i = 0; i < bytes; i++) {
        buf[i] = line[i % strlen(line)];
    }
}

/* Takes UP_BYTES, says whether they are what they should be, and sends DOWN_BYTES. */
_Noreturn static void serve(int listener) {
    static char got[UP_BYTES], wanted[UP_BYTES], down[DOWN_BYTES];
    fill(wanted, sizeof wanted, "from the guest\n");
    fill(down, sizeof down, "from the host\n");
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0) {
            _exit(1);
        }
        bool same = read_all(fd, got, sizeof got) && memcmp(got, wanted, sizeof got) == 0;
        if (write(fd, same ? "same\n" : "else\n", 5) == 5) {
            (void)!write(fd, down, sizeof down);
        }
        close(fd);
    }
}

/* A process that ends with this one; in the namespace at `netns`, if any. */
static pid_t start_server(const char *netns, const char *address, uint16_t *ret_port) {
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t bytes = sizeof at;
    int ports[2];
    assert_int_equal(pipe(ports), 0);
    pid_t pid = fork();
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        int ns = netns == NULL ? -1 : open(netns, O_RDONLY | O_CLOEXEC);
        if (netns != NULL && (ns < 0 || setns(ns, CLONE_NEWNET) < 0)) {
            _exit(1);
        }
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        (void)inet_pton(AF_INET, address, &at.sin_addr);
        if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at) < 0 || listen(fd, 8) < 0 ||
            getsockname(fd, (struct sockaddr *)&at, &bytes) < 0 ||
            write(ports[1], &at.sin_port, sizeof at.sin_port) != sizeof at.sin_port) {
            _exit(1);
        }
        serve(fd);
    }
    close(ports[1]);
    assert_int_equal(read(ports[0], &at.sin_port, sizeof at.sin_port), sizeof at.sin_port);
    close(ports[0]);
    *ret_port = ntohs(at.sin_port);
    return pid;
}

static void end_server(pid_t pid) {
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* ---- calls -------------------------------------------------------------------------------- */

struct call {
    bool done;
    enum uvm_error_code code;
    char message[400];
    uvm_op *op;
};

static void on_done(uvm_op *op, const uvm_error *err, void *arg) {
    struct call *c = arg;
    (void)op;
    c->done = true;
    c->code = err == NULL ? UVM_OK : uvm_error_code(err);
    (void)snprintf(c->message, sizeof c->message, "%s", err == NULL ? "" : uvm_error_message(err));
}

static void expect(uvm_harness *h, struct call *c, enum uvm_error_code code) {
    assert_int_equal(uvm_harness_until(h, &c->done, CALL_MS), 0);
    if (c->code != code) {
        fail_msg("%s: %s\n%s", uvm_error_code_name((int)c->code), c->message,
                 uvm_harness_console(h));
    }
}

struct nic {
    char id[32], instance[40], mac[24];
    uint32_t refs;
    bool shared;
};

static void attach(uvm_harness *h, const struct uvm_nic_params *p, struct nic *ret) {
    struct call c = {0};
    assert_int_equal(uvm_nic_attach(uvm_harness_vm(h), p, NULL, on_done, &c, &c.op), 0);
    expect(h, &c, UVM_OK);
    const struct uvm_attach_result r = uvm_attach_result(c.op);
    assert_string_equal(r.kind, "nic");
    *ret = (struct nic){.refs = r.refs, .shared = r.shared};
    (void)snprintf(ret->id, sizeof ret->id, "%s", r.id);
    (void)snprintf(ret->instance, sizeof ret->instance, "%s", r.instance);
    (void)snprintf(ret->mac, sizeof ret->mac, "%s", r.mac);
    uvm_op_unref(c.op);
}

static void attach_fails(uvm_harness *h, const struct uvm_nic_params *p, enum uvm_error_code code,
                         const char *words) {
    struct call c = {0};
    assert_int_equal(uvm_nic_attach(uvm_harness_vm(h), p, NULL, on_done, &c, &c.op), 0);
    expect(h, &c, code);
    if (strstr(c.message, words) == NULL) {
        fail_msg("\"%s\" without \"%s\"", c.message, words);
    }
    uvm_op_unref(c.op);
}

static void detach(uvm_harness *h, const char *id) {
    struct call c = {0};
    assert_int_equal(uvm_detach(uvm_harness_vm(h), id, NULL, on_done, &c, &c.op), 0);
    expect(h, &c, UVM_OK);
    uvm_op_unref(c.op);
}

static void guest(uvm_harness *h, int status, const char *said, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
static void guest(uvm_harness *h, int status, const char *said, const char *fmt, ...) {
    struct uvm_harness_result r;
    char line[512];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    if (uvm_harness_sh(h, line, &r) != 0) {
        fail_msg("%s: %s", line, uvm_harness_message(h));
    }
    if (r.status != status || strstr(r.out, said) == NULL) {
        fail_msg("%s: %d, \"%s\" \"%s\"", line, r.status, r.out, r.err);
    }
}

/* Known bytes to the server, and known bytes back. */
static void exchange(uvm_harness *h, const char *address, uint16_t port) {
    guest(h, 0, "same", "timeout 20 nc %s %u < /tmp/up > /tmp/down; head -n 1 /tmp/down", address,
          port);
    guest(h, 0, "",
          "tail -c +6 /tmp/down | md5sum > /tmp/a; md5sum < /tmp/wanted > /tmp/b; cmp /tmp/a "
          "/tmp/b || test \"$(cat /tmp/a)\" = \"$(cat /tmp/b)\"");
}

static void prepare_guest(uvm_harness *h) {
    guest(h, 0, "",
          "yes 'from the guest' | head -c %u > /tmp/up; yes 'from the host' | head -c %u > "
          "/tmp/wanted",
          UP_BYTES, DOWN_BYTES);
}

static uvm_harness *boot(const struct uvm_nic_params *first) {
    struct uvm_qemu_params qp = UVM_QEMU_PARAMS_INIT;
    struct uvm_harness_params hp = UVM_HARNESS_PARAMS_INIT;
    struct uvm_vm_params vp = UVM_VM_PARAMS_INIT;
    const struct uvm_nic_params *list[] = {first, NULL};
    uvm_harness *h = NULL;
    qp.launch_path = launch;
    hp.service = uvm_harness_qemu;
    hp.service_arg = &qp;
    assert_int_equal(uvm_harness_new(&hp, &h), 0);
    vp.name = "nic";
    vp.kernel = kernel;
    vp.initrd = initrd;
    vp.nics = first == NULL ? NULL : list;
    if (uvm_harness_boot(h, &vp) < 0) {
        fail_msg("%s\n%s", uvm_harness_message(h), uvm_harness_console(h));
    }
    prepare_guest(h);
    return h;
}

static void close_all(uvm_harness *h) {
    if (uvm_harness_close(h) < 0) {
        fail_msg("%s", uvm_harness_message(h));
    }
    uvm_harness_free(h);
}

/* Nothing of an adapter is left in the guest. */
static void none_left(uvm_harness *h) {
    guest(h, 0, "", "test \"$(ls /sys/class/net | grep -v -e lo -e sit)\" = ''");
    guest(h, 0, "", "test ! -e /etc/resolv.conf");
    guest(h, 0, "", "test \"$(ls /run/uvm/nics)\" = ''");
    guest(h, 1, "", "ps | grep -v grep | grep udhcpc");
}

/* ---- the user's network ------------------------------------------------------------------- */

static void a_user_network(void **state) {
    (void)state;
    struct uvm_nic_params p = UVM_NIC_PARAMS_INIT;
    static const char *const addresses[] = {"10.0.2.77/24", NULL},
                             *const gateways[] = {"10.0.2.2", NULL},
                             *const dns[] = {"10.0.2.3", "10.0.2.4", NULL},
                             *const search[] = {"example.test", NULL};
    uint16_t port;
    pid_t server = start_server(NULL, "127.0.0.1", &port);
    struct nic n, other;
    uvm_harness *h = boot(&p); /* the first one comes with the boot, and asks by DHCP */
    guest(h, 0, "10.0.2.15/24", "ip addr");
    guest(h, 0, "nameserver 10.0.2.3", "cat /etc/resolv.conf");
    exchange(h, "10.0.2.2", port);
    detach(h, "nic-1");
    none_left(h);
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct uvm_nic_params q = p;
        if (round % 2 == 1) {
            q.addresses = addresses;
            q.gateways = gateways;
            q.dns = dns;
            q.search = search;
            q.mtu = 1400;
            q.mac = "02-00-00-AA-BB-CC";
        }
        attach(h, &q, &n);
        guest(h, 0, n.mac, "cat /sys/bus/vmbus/devices/%s/net/*/address", n.instance);
        exchange(h, "10.0.2.2", port);
        if (round % 2 == 1) {
            assert_string_equal(n.mac, "02:00:00:aa:bb:cc");
            guest(h, 0, "10.0.2.77/24", "ip addr");
            guest(h, 0, "mtu 1400", "ip link");
            guest(h, 0, "search example.test\nnameserver 10.0.2.3\nnameserver 10.0.2.4\n",
                  "cat /etc/resolv.conf");
        }
        detach(h, n.id);
        none_left(h);
    }
    /* Two at a time, each with its own; of one MAC, or of one id in another way, is refused. */
    p.mac = "02:00:00:00:00:01";
    p.id = "aaaaaaaa-0000-4000-8000-00000000000A";
    attach(h, &p, &n);
    assert_string_equal(n.instance, "aaaaaaaa-0000-4000-8000-00000000000a");
    attach(h, &p, &other);
    assert_true(other.shared && other.refs == 2);
    p.id = NULL;
    attach_fails(h, &p, UVM_E_EXISTS, "MAC address");
    p.id = "aaaaaaaa-0000-4000-8000-00000000000A";
    p.mac = "02:00:00:00:00:02";
    attach_fails(h, &p, UVM_E_EXISTS, "in another way");
    p.id = NULL;
    attach(h, &p, &other);
    guest(h, 0, "2", "ls /sys/class/net | grep -c eth");
    detach(h, other.id);
    detach(h, n.id);
    detach(h, n.id);
    none_left(h);
    close_all(h);
    end_server(server);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_user_network),
    };
    if (argc != 4) {
        return 2;
    }
    kernel = argv[1];
    initrd = argv[2];
    launch = argv[3];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
