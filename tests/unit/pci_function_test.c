/* SPDX-License-Identifier: MIT
 * pci_function_test.c — paths of assigned devices, and a host's sysfs that has or lacks what vfio needs; the sysfs and
 * the devices' files are folders made here.
 */
#include "hcs/qemu/pci_function.h"
#include "tests/unit/cm.h"
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define NIC "0000:3b:00.0"
#define VF "0000:3b:02.1" /* its second virtual function */
#define DISK "0000:3c:00.0"
#define BRIDGE "0000:3a:00.0"
#define USER 12345u

static char root[64];
static struct uvm__pci_host host;
static char sys_root[128], dev_root[128];

static const char *at(const char *path) {
    static char texts[4][PATH_MAX];
    static unsigned n;
    char *text = texts[n++ % 4];
    (void)snprintf(text, PATH_MAX, "%s/%.4000s", root, path);
    return text;
}

static void folder(const char *path) {
    char text[PATH_MAX];
    (void)snprintf(text, sizeof text, "%s/%s/", root, path);
    for (char *c = text + 1; (c = strchr(c, '/')) != NULL; c++) {
        *c = '\0';
        assert_true(mkdir(text, 0755) == 0 || errno == EEXIST);
        *c = '/';
    }
}

static void put(const char *path, const char *content) {
    FILE *f = fopen(at(path), "we");
    assert_non_null(f);
    assert_true(fprintf(f, "%s", content) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void link_to(const char *path, const char *to) {
    (void)unlink(at(path));
    assert_int_equal(symlink(to, at(path)), 0);
}

/* A function in a group, with a driver (NULL: none). */
static void function(const char *address, const char *class, const char *group,
                     const char *driver) {
    char path[PATH_MAX], to[PATH_MAX];
    (void)snprintf(path, sizeof path, "sys/bus/pci/devices/%s", address);
    folder(path);
    (void)snprintf(path, sizeof path, "sys/bus/pci/devices/%s/class", address);
    put(path, class);
    (void)snprintf(path, sizeof path, "sys/bus/pci/devices/%s/driver", address);
    (void)unlink(at(path));
    if (driver != NULL) {
        (void)snprintf(to, sizeof to, "../../../../bus/pci/drivers/%s", driver);
        link_to(path, to);
    }
    if (group != NULL) {
        (void)snprintf(path, sizeof path, "sys/bus/pci/devices/%s/iommu_group", address);
        (void)snprintf(to, sizeof to, "../../../kernel/iommu_groups/%s", group);
        link_to(path, to);
        (void)snprintf(path, sizeof path, "sys/kernel/iommu_groups/%s/devices/%s", group, address);
        folder(path);
    }
}

/* All is as it should be. */
static int setup(void **state) {
    (void)state;
    (void)snprintf(root, sizeof root, "/tmp/pci_function_test.XXXXXX");
    assert_non_null(mkdtemp(root));
    (void)snprintf(sys_root, sizeof sys_root, "%s/sys", root);
    (void)snprintf(dev_root, sizeof dev_root, "%s/dev", root);
    host = (struct uvm__pci_host){.sys = sys_root,
                                  .dev = dev_root,
                                  .uid = USER,
                                  .gid = USER,
                                  .lock_bytes = 256u << 20,
                                  .guest_bytes = 256u << 20};
    function(NIC, "0x020000\n", "17", "vfio-pci");
    folder("dev/vfio");
    put("dev/vfio/vfio", "");
    put("dev/vfio/17", "");
    assert_int_equal(chmod(at("dev/vfio/vfio"), 0666), 0);
    assert_int_equal(chmod(at("dev/vfio/17"), 0666), 0);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    char *const argv[] = {"rm", "-rf", root, NULL};
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

static struct uvm__pci_function named(const char *path, uint64_t virtual_function) {
    struct uvm__pci_function fn;
    struct uvm__fail f = {0};
    if (uvm__pci_function_read(path, virtual_function, &fn, &f) != 0) {
        fail_msg("%s", f.msg);
    }
    return fn;
}

static void found(uint64_t virtual_function, const char *address) {
    struct uvm__pci_function fn = named(NIC, virtual_function);
    struct uvm__fail f = {0};
    if (uvm__pci_function_find(&host, &fn, &f) != 0) {
        fail_msg("%s", f.msg);
    }
    assert_string_equal(fn.address, address);
    assert_string_equal(fn.group, "17");
}

static void refused(uint64_t virtual_function, int code, const char *words) {
    struct uvm__pci_function fn = named(NIC, virtual_function);
    struct uvm__fail f = {0};
    assert_int_equal(uvm__pci_function_find(&host, &fn, &f), -code);
    if (strstr(f.msg, words) == NULL || strlen(f.msg) == sizeof f.msg - 1) {
        fail_msg("\"%s\" without \"%s\", or cut off", f.msg, words);
    }
}

/* ---- paths -------------------------------------------------------------------------------- */

static void paths(void **state) {
    (void)state;
    static const struct {
        const char *path;
        int code;
        const char *words;
    } bad[] = {
        {"", UVM_E_INVAL, "no PCI address"},
        {"3b:00.0", UVM_E_INVAL, "no PCI address"},
        {"0000:3b:00.8", UVM_E_INVAL, "no PCI address"},
        {"0000:3b:00.0 ", UVM_E_INVAL, "no PCI address"},
        {"0000:3b:00.00", UVM_E_INVAL, "no PCI address"},
        {"0000:3b:0g.0", UVM_E_INVAL, "no PCI address"},
        {"../../../etc", UVM_E_INVAL, "no PCI address"},
        {"PCIP\\VEN_10DE&DEV_1EB8\\4&2A", UVM_E_INVAL, "no PCI address"},
        {"Emulated:edu", UVM_E_INVAL, "no PCI address"},
        {"emulated:", UVM_E_UNSUPPORTED, "no model \"\""},
        {"emulated:edu ", UVM_E_UNSUPPORTED, "no model \"edu \""},
        {"emulated:edu,addr=1", UVM_E_UNSUPPORTED, "no model"},
        {"emulated:vfio-pci", UVM_E_UNSUPPORTED,
         "edu, pci-testdev, virtio-rng-pci, e1000e, nvme are"},
    };
    struct uvm__pci_function fn = named("0000:3B:00.7", 0);
    assert_string_equal(fn.address, "0000:3b:00.7");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct uvm__fail f = {0};
        assert_int_equal(uvm__pci_function_read(bad[i].path, 0, &fn, &f), -bad[i].code);
        assert_non_null(strstr(f.msg, bad[i].words));
    }
}

static void as_qemu_is_told(void **state) {
    (void)state;
    char text[UVM__PCI_DEVICE_BYTES];
    struct uvm__pci_function edu = named("emulated:edu", 3), nic = named("0000:3B:00.0", 0),
                             e1000e = named("emulated:e1000e", 0);
    uvm__pci_function_device(&edu, "vpci-7", 2, text);
    assert_string_equal(text, "{\"driver\":\"edu\",\"id\":\"vpci-7\",\"bus\":\"rp2\","
                              "\"addr\":\"0x0\"}");
    uvm__pci_function_device(&nic, "vpci-18446744073709551615", 7, text);
    assert_string_equal(text, "{\"driver\":\"vfio-pci\",\"id\":\"vpci-18446744073709551615\","
                              "\"bus\":\"rp7\",\"addr\":\"0x0\",\"host\":\"0000:3b:00.0\"}");
    uvm__pci_function_device(&e1000e, "vpci-1", 0, text);
    assert_string_equal(text, "{\"driver\":\"e1000e\",\"id\":\"vpci-1\",\"bus\":\"rp0\","
                              "\"addr\":\"0x0\",\"romfile\":\"\"}");
    assert_string_equal(uvm__pci_function_name(&edu), "edu");
    assert_string_equal(uvm__pci_function_name(&nic), NIC);
    struct uvm__pci_function same = named("emulated:edu", 3), other = named("emulated:edu", 4);
    assert_true(uvm__pci_function_same(&edu, &same));
    assert_false(uvm__pci_function_same(&edu, &other));
    assert_false(uvm__pci_function_same(&edu, &e1000e));
    assert_false(uvm__pci_function_same(&edu, &nic));
    struct uvm__fail f;
    assert_int_equal(uvm__pci_function_find(&host, &edu, &f), 0); /* it needs nothing */
}

/* ---- the host ----------------------------------------------------------------------------- */

static void a_function(void **state) {
    (void)state;
    found(0, NIC);
    refused(1, UVM_E_NOTFOUND, "has no virtual function 1; its sriov_numvfs");
    function(NIC, "0x020000\n", "17", NULL);
    refused(0, UVM_E_STATE, "without a driver on the host; write vfio-pci");
    function(NIC, "0x020000\n", "17", "ixgbe");
    refused(0, UVM_E_STATE, "bound to ixgbe on the host; write vfio-pci to its driver_override");
    assert_int_equal(unlink(at("sys/bus/pci/devices/" NIC "/iommu_group")), 0);
    refused(0, UVM_E_HOST, "no IOMMU group of it; switch VT-d or AMD-Vi on");
}

static void none_there(void **state) {
    (void)state;
    struct uvm__pci_function fn = named("0001:00:00.0", 0);
    struct uvm__fail f = {0};
    assert_int_equal(uvm__pci_function_find(&host, &fn, &f), -UVM_E_NOTFOUND);
    assert_non_null(strstr(f.msg, "pci 0001:00:00.0: this host has no such function; `lspci -D`"));
}

/* By the device's links; the device itself cannot be had any more, since it has some. */
static void virtual_functions(void **state) {
    (void)state;
    function(NIC, "0x020000\n", "16", "ixgbe");
    function(VF, "0x020000\n", "17", "vfio-pci");
    function("0000:3b:02.0", "0x020000\n", "18", "ixgbevf");
    assert_int_equal(rmdir(at("sys/kernel/iommu_groups/17/devices/" NIC)), 0);
    link_to("sys/bus/pci/devices/" NIC "/virtfn0", "../0000:3b:02.0");
    link_to("sys/bus/pci/devices/" NIC "/virtfn1", "../" VF);
    found(1, VF);
    refused(0, UVM_E_STATE, "pci 0000:3b:02.0: is bound to ixgbevf");
    refused(2, UVM_E_NOTFOUND, "has no virtual function 2");
    link_to("sys/bus/pci/devices/" NIC "/virtfn1", "../..");
    refused(1, UVM_E_NOTFOUND, "has no virtual function 1");
}

static void a_group_with_others(void **state) {
    (void)state;
    function(BRIDGE, "0x060400\n", "17", "pcieport");
    found(0, NIC);
    function(DISK, "0x010802\n", "17", "nvme");
    refused(0, UVM_E_STATE,
            "pci " NIC ": shares IOMMU group 17 with " DISK ", which is bound to nvme on the host");
    function(DISK, "0x010802\n", "17", "pci-stub");
    found(0, NIC);
    function(DISK, "0x010802\n", "17", NULL);
    found(0, NIC);
    function(DISK, "0x010802\n", "17", "vfio-pci");
    found(0, NIC);
}

static void files(void **state) {
    (void)state;
    assert_int_equal(chmod(at("dev/vfio/17"), 0600), 0);
    refused(0, UVM_E_HOST, "/dev/vfio/17 (mode 600 of ");
    refused(0, UVM_E_HOST, " is not for 12345:12345, which QEMU runs as; chmod 666");
    host.uid = geteuid();
    found(0, NIC); /* its owner */
    host.uid = USER;
    assert_int_equal(chmod(at("dev/vfio/17"), 0060), 0);
    refused(0, UVM_E_HOST, "(mode 060");
    host.gid = getegid();
    found(0, NIC); /* its group */
    host.gid = USER;
    assert_int_equal(chmod(at("dev/vfio/17"), 0666), 0);
    assert_int_equal(unlink(at("dev/vfio/vfio")), 0);
    refused(0, UVM_E_HOST, "/dev/vfio/vfio: No such file or directory; modprobe vfio-pci");
}

static void locked_memory(void **state) {
    (void)state;
    host.lock_bytes -= 1;
    refused(0, UVM_E_HOST, "256 MiB must be locked in memory, and 255 MiB may be; raise");
    host.unlimited = true;
    found(0, NIC);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        T(paths),      T(as_qemu_is_told),   T(a_function),
        T(none_there), T(virtual_functions), T(a_group_with_others),
        T(files),      T(locked_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
