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
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define CALL_MS 60000u
#define ROUNDS 10u
#define UP_BYTES 200000u
#define DOWN_BYTES 300000u

static const char *kernel, *initrd, *launch;
static char folder[64];

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

/* ---- other namespaces --------------------------------------------------------------------- */

/* By a shell; `inside` and `outside` are the files of the namespaces. */
static int host(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static int host(const char *fmt, ...) {
    char line[1024];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    pid_t pid = fork();
    if (pid == 0) {
        if (chdir(folder) < 0) {
            _exit(127);
        }
        (void)setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);
        execl("/bin/sh", "sh", "-c", line, (char *)NULL);
        _exit(127);
    }
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

static void host_well(const char *line) {
    if (host("%s", line) != 0) {
        fail_msg("%s", line);
    }
}

static void make_namespace(const char *file) {
    int fd = open(file, O_CREAT | O_RDONLY | O_CLOEXEC, 0644);
    assert_true(fd >= 0 && close(fd) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        _exit(unshare(CLONE_NEWNET) == 0 &&
                      mount("/proc/self/ns/net", file, NULL, MS_BIND, NULL) == 0
                  ? 0
                  : 1);
    }
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

/* A folder with two namespaces, "in" and "out", and a veth between them: eth0 and peer. */
static bool make_namespaces(void) {
    if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0 ||
        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
        print_message("left out: namespaces of its own need root\n");
        return false;
    }
    (void)snprintf(folder, sizeof folder, "/tmp/uvm-nic-XXXXXX");
    assert_non_null(mkdtemp(folder));
    char in[96], out[96];
    (void)snprintf(in, sizeof in, "%s/in", folder);
    (void)snprintf(out, sizeof out, "%s/out", folder);
    make_namespace(in);
    make_namespace(out);
    host_well(
        "nsenter --net=in ip link add eth0 mtu 1400 address 02:00:00:77:00:02 type veth peer name "
        "peer mtu 1400");
    host_well("nsenter --net=in sh -c 'exec 9<out; ip link set peer netns /proc/self/fd/9'");
    host_well("nsenter --net=in ip addr add 10.77.0.2/24 dev eth0 && nsenter --net=in ip addr add "
              "fd77::2/64 dev eth0 nodad && nsenter --net=in ip link set eth0 up");
    host_well(
        "nsenter --net=out ip addr add 10.77.0.1/24 dev peer && nsenter --net=out ip addr add "
        "fd77::1/64 dev peer nodad && nsenter --net=out ip link set peer up && nsenter --net=out "
        "ip addr add 10.78.0.1/32 dev peer && nsenter --net=out ip link set lo up");
    host_well(
        "nsenter --net=in ip route add default via 10.77.0.1 && nsenter --net=in ip route add "
        "10.79.0.0/16 dev eth0 metric 7");
    return true;
}

static void remove_namespaces(void) {
    (void)host("umount -l %s/in %s/out; rm -r %s", folder, folder, folder);
}

static const char *in_folder(const char *name) {
    static char paths[4][96];
    static unsigned next;
    char *path = paths[next++ % 4];
    (void)snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

/* The interface is the namespace's own again, and no tap is there. */
static void given_back(void) {
    host_well("test \"$(nsenter --net=in ip -o link | grep -c -e lo: -e eth0)\" = 2");
    host_well("! nsenter --net=in ip -o link | grep uvm");
    host_well("! nsenter --net=in tc qdisc show dev eth0 | grep ingress");
    host_well("nsenter --net=out busybox ping -c 1 -W 5 10.77.0.2 > /dev/null");
}

static void rounds_in_a_namespace(uvm_harness *h, uint16_t port) {
    struct uvm_nic_params p = UVM_NIC_PARAMS_INIT;
    struct nic n;
    p.type = UVM_NIC_NETNS;
    p.target = in_folder("in");
    for (unsigned round = 0; round < ROUNDS; round++) {
        attach(h, &p, &n);
        assert_string_equal(n.mac, "02:00:00:77:00:02");
        exchange(h, "10.77.0.1", port);
        if (round == 0) {
            guest(h, 0, "10.77.0.2/24", "ip addr");
            guest(h, 0, "fd77::2/64", "ip addr");
            guest(h, 0, "mtu 1400", "ip link");
            guest(h, 0, "default via 10.77.0.1", "ip route");
            guest(h, 0, "10.79.0.0/16 dev eth0", "ip route");
            guest(h, 0, "1 packets received", "ping -c 1 -W 5 10.78.0.1"); /* by the gateway */
            guest(h, 0, "1 packets received", "ping -c 1 -W 5 fd77::1");
            host_well(
                "nsenter --net=out busybox ping -c 1 -W 5 10.77.0.2 > /dev/null"); /* the guest answers */
            host_well("nsenter --net=in tc qdisc show dev eth0 | grep -q ingress");
            attach_fails(h, &p, UVM_E_HOST, "another VM has its place");
        }
        detach(h, n.id);
        none_left(h);
        given_back();
    }
}

/* Nobody serves DHCP there: bounded, and all is taken back. */
static void what_cannot_be(uvm_harness *h) {
    struct uvm_nic_params p = UVM_NIC_PARAMS_INIT;
    struct nic n, others[9];
    p.type = UVM_NIC_NETNS;
    p.target = in_folder("in");
    p.dhcp = true;
    attach_fails(h, &p, UVM_E_PEER, "no server gave it an address");
    none_left(h);
    given_back();
    p.dhcp = false;
    p.interface = "eth7";
    attach_fails(h, &p, UVM_E_HOST, "interface eth7: No such device");
    p.interface = NULL;
    p.target = in_folder("gone");
    attach_fails(h, &p, UVM_E_NOTFOUND, "it is gone");
    p.target = "/dev/null";
    attach_fails(h, &p, UVM_E_HOST, "that is no network namespace");
    p.target = "/proc/self/ns/mnt";
    attach_fails(h, &p, UVM_E_HOST, "that is no network namespace");
    p = (struct uvm_nic_params)UVM_NIC_PARAMS_INIT;
    p.type = UVM_NIC_TAP;
    p.target = "uvm-no-such-tap";
    attach_fails(h, &p, UVM_E_NOTFOUND, "there is no such interface");
    p.target = "lo";
    attach_fails(h, &p, UVM_E_HOST, "is no tap");
    p.type = UVM_NIC_STREAM;
    p.target = in_folder("gone");
    attach_fails(h, &p, UVM_E_NOTFOUND, "No such file");
    /* All ports are taken. */
    static char text[16];
    static const char *const addresses[] = {text, NULL};
    p = (struct uvm_nic_params)UVM_NIC_PARAMS_INIT;
    p.addresses = addresses;
    unsigned count = 8;
    for (unsigned i = 0; i < count; i++) {
        (void)snprintf(text, sizeof text, "10.1.%u.2/24", i);
        attach(h, &p, &others[i]);
    }
    (void)snprintf(text, sizeof text, "10.1.9.2/24");
    attach_fails(h, &p, UVM_E_LIMIT, "all 8 PCI ports of the VM are taken");
    guest(h, 0, "8", "ls /sys/class/net | grep -c eth");
    for (unsigned i = 0; i < count; i++) {
        detach(h, others[i].id);
    }
    none_left(h);
    /* The namespace's file goes while the adapter is there. */
    p = (struct uvm_nic_params)UVM_NIC_PARAMS_INIT;
    p.type = UVM_NIC_NETNS;
    p.target = in_folder("in");
    attach(h, &p, &n);
    host_well("umount -l in && rm in");
    guest(h, 0, "1 packets received", "ping -c 1 -W 5 10.77.0.1");
    detach(h, n.id);
    none_left(h);
    attach_fails(h, &p, UVM_E_NOTFOUND, "it is gone");
}

static void other_namespaces(void **state) {
    (void)state;
    if (!make_namespaces()) {
        return;
    }
    uint16_t port;
    pid_t server = start_server(in_folder("out"), "10.77.0.1", &port);
    uvm_harness *h = boot(NULL);
    rounds_in_a_namespace(h, port);
    what_cannot_be(h);
    close_all(h);
    end_server(server);
    remove_namespaces();
}

/* ---- a tap, a stream ---------------------------------------------------------------------- */

/* Ends well when the first frame that comes is an ARP request for 10.81.0.1. */
static pid_t start_switch(const char *path) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    (void)snprintf(at.sun_path, sizeof at.sun_path, "%s", path);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(listener >= 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(listener, 1), 0);
    pid_t pid = fork();
    if (pid == 0) {
        static const unsigned char wanted[] = {10, 81, 0, 1};
        static char frame[65536];
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)alarm(60);
        int fd = accept(listener, NULL, NULL);
        for (;;) {
            uint32_t bytes;
            if (!read_all(fd, (char *)&bytes, sizeof bytes) || ntohl(bytes) > sizeof frame ||
                !read_all(fd, frame, ntohl(bytes))) {
                _exit(1);
            }
            if (ntohl(bytes) >= 42 && frame[12] == 8 && frame[13] == 6 &&
                memcmp(frame + 38, wanted, sizeof wanted) == 0) {
                _exit(0);
            }
        }
    }
    close(listener);
    return pid;
}

/* In a network namespace of the test's own from here on. */
static void a_tap_and_a_stream(void **state) {
    (void)state;
    static const char *const tap_addresses[] = {"10.80.0.2/24", NULL}, *const stream_addresses[] = {
                                                                           "10.81.0.2/24", NULL};
    struct uvm_nic_params p = UVM_NIC_PARAMS_INIT;
    struct nic n, other;
    uint16_t port;
    (void)snprintf(folder, sizeof folder, "/tmp/uvm-nic-XXXXXX");
    assert_non_null(mkdtemp(folder));
    if (unshare(CLONE_NEWNET) < 0) {
        print_message("left out: a tap of its own needs root\n");
        (void)rmdir(folder);
        return;
    }
    host_well(
        "ip link set lo up && ip tuntap add tap0 mode tap && ip link set tap0 mtu 1300 && ip addr add "
        "10.80.0.1/24 dev tap0 && ip link set tap0 up");
    pid_t server = start_server(NULL, "10.80.0.1", &port);
    uvm_harness *h = boot(NULL);
    p.type = UVM_NIC_TAP;
    p.target = "tap0";
    p.addresses = tap_addresses;
    for (unsigned round = 0; round < 3; round++) {
        attach(h, &p, &n);
        exchange(h, "10.80.0.1", port);
        guest(h, 0, "mtu 1300", "ip link");
        attach_fails(h, &p, UVM_E_HOST, "is in use by another VM or program");
        detach(h, n.id);
        none_left(h);
    }
    host_well("ip link show tap0 > /dev/null"); /* it was there before us */
    p.type = UVM_NIC_STREAM;
    p.target = in_folder("switch");
    p.addresses = stream_addresses;
    pid_t sw = start_switch(p.target);
    attach(h, &p, &other);
    guest(h, 1, "", "ping -c 1 -W 1 10.81.0.1 > /dev/null");
    int status = -1;
    assert_int_equal(waitpid(sw, &status, 0), sw);
    assert_int_equal(status, 0);
    detach(h, other.id);
    attach_fails(h, &p, UVM_E_HOST, "nobody listens");
    none_left(h);
    close_all(h);
    end_server(server);
    host_well("rm -r \"$PWD\"");
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_user_network),
        cmocka_unit_test(other_namespaces),
        cmocka_unit_test(a_tap_and_a_stream),
    };
    if (argc != 4) {
        return 2;
    }
    kernel = argv[1];
    initrd = argv[2];
    launch = argv[3];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
