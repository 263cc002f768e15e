/* SPDX-License-Identifier: MIT
 * view_test.c — offered devices found in a sysfs and shown as on Hyper-V; the sysfs is a folder made here.
 */
#include "cmd/gcs/view.h"
#include "tests/unit/cm.h"
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define GUID "df6d0690-79e5-55b6-a5ec-c1e2f77f580a"
#define ROOT "devices/pci0000:00/"
#define SHOWN "bus/vmbus/devices/" GUID

static char sys[64];

static const char *at(const char *path) {
    static char texts[4][PATH_MAX];
    static unsigned n;
    char *text = texts[n++ % 4];
    (void)snprintf(text, PATH_MAX, "%s/%s", sys, path);
    return text;
}

/* All folders of the path. */
static void folder(const char *path) {
    char text[PATH_MAX];
    (void)snprintf(text, sizeof text, "%s/%s/", sys, path);
    for (char *c = text + 1; (c = strchr(c, '/')) != NULL; c++) {
        *c = '\0';
        assert_true(mkdir(text, 0755) == 0 || errno == EEXIST);
        *c = '/';
    }
}

static void bus0(const char *function) {
    char to[128], from[128];
    (void)snprintf(to, sizeof to, "../../../" ROOT "%s", function);
    (void)snprintf(from, sizeof from, "bus/pci/devices/%s", function);
    (void)unlink(at(from));
    assert_int_equal(symlink(to, at(from)), 0);
}

/* Where the entry leads, below sys; "" where there is none. */
static const char *leads(const char *path) {
    static char text[PATH_MAX];
    if (realpath(at(path), text) == NULL) {
        return "";
    }
    assert_int_equal(strncmp(text, sys, strlen(sys)), 0);
    return text + strlen(sys) + 1;
}

static struct uvm__vmbus_device device(enum uvm__vmbus_class kind, const char *location) {
    struct uvm__vmbus_device d = {.kind = kind};
    assert_int_equal(uvm__guid_read(GUID, strlen(GUID), &d.instance), 0);
    (void)snprintf(d.location, sizeof d.location, "%s", location);
    assert_true(uvm__vmbus_location_valid(d.location));
    return d;
}

static int setup(void **state) {
    (void)state;
    (void)snprintf(sys, sizeof sys, "/tmp/view_test.XXXXXX");
    assert_non_null(mkdtemp(sys));
    folder("bus/vmbus/devices");
    folder("bus/pci/devices");
    return 0;
}

static int teardown(void **state) {
    (void)state;
    /* Nothing half made is left beside what is shown. */
    assert_int_equal(access(at("bus/vmbus/." GUID), F_OK), -1);
    char *const argv[] = {"rm", "-rf", sys, NULL};
    pid_t pid = fork();
    if (pid == 0) {
        execvp(argv[0], argv);
        _exit(127);
    }
    int status = 1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    return 0;
}

static void controller(void **state) {
    const struct uvm__vmbus_device d = device(UVM__VMBUS_STORVSC, "0000:00:04.0");
    char said[16] = "";
    (void)state;

    assert_false(uvm__view_show(sys, &d)); /* no function */
    folder(ROOT "0000:00:04.0");
    bus0("0000:00:04.0");
    assert_false(uvm__view_show(sys, &d)); /* no driver of its bus */
    folder(ROOT "0000:00:04.0/virtio1");
    assert_false(uvm__view_show(sys, &d)); /* no host yet */
    assert_int_equal(access(at(SHOWN), F_OK), -1);
    folder(ROOT "0000:00:04.0/virtio1/host12/scsi_host/host12");
    assert_true(uvm__view_show(sys, &d));
    assert_string_equal(leads(SHOWN "/host12"), ROOT "0000:00:04.0/virtio1/host12");
    assert_true(uvm__view_show(sys, &d)); /* there already */

    FILE *f = fopen(at(ROOT "0000:00:04.0/virtio1/host12/scsi_host/host12/scan"), "we");
    assert_non_null(f);
    (void)fclose(f);
    uvm__view_scan(sys, &d.instance);
    f = fopen(at(ROOT "0000:00:04.0/virtio1/host12/scsi_host/host12/scan"), "re");
    assert_non_null(f);
    assert_int_equal(fread(said, 1, sizeof said, f), 5);
    (void)fclose(f);
    assert_string_equal(said, "0 0 -");

    uvm__view_hide(sys, &d.instance);
    uvm__view_hide(sys, &d.instance);
    assert_int_equal(access(at(SHOWN), F_OK), -1);
    assert_string_equal(leads(ROOT "0000:00:04.0/virtio1/host12"),
                        ROOT "0000:00:04.0/virtio1/host12");
}

static void adapter_behind_a_port(void **state) {
    const struct uvm__vmbus_device d = device(UVM__VMBUS_NETVSC, "0000:00:11.0/00.0");
    (void)state;

    folder(ROOT "0000:00:11.0/pci_bus");
    bus0("0000:00:11.0");
    assert_false(uvm__view_show(sys, &d));                     /* nothing is plugged */
    folder(ROOT "0000:00:11.0/0000:07:01.0/virtio3/net/eth9"); /* another slot */
    assert_false(uvm__view_show(sys, &d));
    folder(ROOT "0000:00:11.0/0000:07:00.0/virtio0/net");
    assert_false(uvm__view_show(sys, &d)); /* its interface has no name yet */
    folder(ROOT "0000:00:11.0/0000:07:00.0/virtio0/net/eth0");
    assert_true(uvm__view_show(sys, &d));
    assert_string_equal(leads(SHOWN "/net/eth0"),
                        ROOT "0000:00:11.0/0000:07:00.0/virtio0/net/eth0");
    uvm__view_hide(sys, &d.instance);
    assert_string_equal(leads(SHOWN), "");
}

static void adapter_of_its_own_driver(void **state) {
    const struct uvm__vmbus_device d = device(UVM__VMBUS_NETVSC, "0000:00:05.0");
    (void)state;

    folder(ROOT "0000:00:05.0/net/enp5");
    bus0("0000:00:05.0");
    assert_true(uvm__view_show(sys, &d));
    assert_string_equal(leads(SHOWN "/net/enp5"), ROOT "0000:00:05.0/net/enp5");
}

static void function_behind_ports(void **state) {
    const struct uvm__vmbus_device d = device(UVM__VMBUS_VPCI, "0000:00:11.0/1f.7/02.1");
    (void)state;

    folder(ROOT "0000:00:11.0/0000:05:1f.7/0000:0a:02.1");
    bus0("0000:00:11.0");
    assert_true(uvm__view_show(sys, &d));
    assert_string_equal(leads(SHOWN "/pci0000:0a/0000:0a:02.1"),
                        ROOT "0000:00:11.0/0000:05:1f.7/0000:0a:02.1");
    uvm__view_hide(sys, &d.instance); /* a folder deeper */
    assert_int_equal(access(at(SHOWN), F_OK), -1);
    assert_string_equal(leads(ROOT "0000:00:11.0/0000:05:1f.7/0000:0a:02.1"),
                        ROOT "0000:00:11.0/0000:05:1f.7/0000:0a:02.1");
}

/* The driver is asked by the function's name; without one, and not shown, there is nothing to ask. */
static void function_with_a_driver(void **state) {
    const struct uvm__vmbus_device d = device(UVM__VMBUS_VPCI, "0000:00:11.0/00.0");
    const char *unbind = "bus/pci/drivers/virtio-pci/unbind";
    char said[32] = "";
    (void)state;

    folder(ROOT "0000:00:11.0/0000:05:00.0");
    folder("bus/pci/drivers/virtio-pci");
    bus0("0000:00:11.0");
    uvm__view_release(sys, &d.instance);
    assert_true(uvm__view_show(sys, &d));
    uvm__view_release(sys, &d.instance);
    assert_int_equal(access(at(unbind), F_OK), -1);
    assert_int_equal(symlink("../../../../bus/pci/drivers/virtio-pci",
                             at(ROOT "0000:00:11.0/0000:05:00.0/driver")),
                     0);
    FILE *f = fopen(at(unbind), "we");
    assert_non_null(f);
    (void)fclose(f);
    uvm__view_release(sys, &d.instance);
    f = fopen(at(unbind), "re");
    assert_non_null(f);
    assert_int_equal(fread(said, 1, sizeof said, f), strlen("0000:05:00.0"));
    (void)fclose(f);
    assert_string_equal(said, "0000:05:00.0");
    assert_true(uvm__view_show(sys, &d)); /* it is shown until the host has heard */
    uvm__view_hide(sys, &d.instance);
}

static void unknown_class(void **state) {
    const struct uvm__vmbus_device d = device(UVM__VMBUS_CLASS_MAX, "0000:00:04.0");
    (void)state;
    folder(ROOT "0000:00:04.0/virtio1/host0");
    bus0("0000:00:04.0");
    assert_false(uvm__view_show(sys, &d));
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        T(controller),
        T(adapter_behind_a_port),
        T(adapter_of_its_own_driver),
        T(function_behind_ports),
        T(function_with_a_driver),
        T(unknown_class),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
