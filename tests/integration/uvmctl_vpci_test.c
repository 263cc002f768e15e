/* SPDX-License-Identifier: MIT
 * uvmctl_vpci_test.c — PCI functions of a UVM in the background, as a person attaches and detaches them; what is
 * refused, in which words and with which status; those of a boot and of a document.
 */
#include "tests/integration/detach_kit.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GUID "aaaaaaaa-1111-4222-8333-bbbbbbbbbbbb"
#define VIEW "/sys/bus/vmbus/devices/"

/* An attach to demo; its id. */
static void attach(char ret_id[32], const char *const *words) {
    const char *line[16] = {"attach", "demo", "vpci"};
    struct command c;
    size_t n = 3;
    for (; *words != NULL; words++) {
        line[n++] = *words;
    }
    int status = boot_run(&c, line);
    if (status != 0 || strncmp(c.out_text, "vpci-", 5) != 0) {
        fail_msg("attach %s: %d: %s%s", line[3], status, c.out_text, c.err_text);
    }
    (void)snprintf(ret_id, 32, "%.*s", (int)strcspn(c.out_text, " "), c.out_text);
    command_free(&c);
}

static void guest(const char *out, const char *script) {
    expect(0, out, NULL, LIST("exec", "demo", "--", "sh", "-c", script));
}

static void refused(int status, const char *words, const char *device, const char *guid) {
    expect(status, "", words,
           guid == NULL ? LIST("attach", "demo", "vpci", device)
                        : LIST("attach", "demo", "vpci", device, "--id", guid));
}

static void test_attach(void **state) {
    char one[32], two[32], edu[32];
    (void)state;
    attach(edu, LIST("emulated:edu/7", "--id", "AAAAAAAA-1111-4222-8333-BBBBBBBBBBBB"));
    guest("0x11e8\n", "cat " VIEW GUID "/pci*/*/device");
    attach(one, LIST("emulated:edu/7"));
    assert_string_equal(one, edu);
    attach(two, LIST("emulated:virtio-rng-pci"));
    expect(0, "aaaaaa    2  " VIEW GUID " emulated:edu/7\n", NULL, LIST("devices", "demo"));
    expect(0, " emulated:virtio-rng-pci\n", NULL, LIST("devices", "demo"));
    expect(0, "\"device\":\"emulated:edu\",\"virtual_function\":7,\"guest_path\":\"" VIEW GUID "\"",
           NULL, LIST("devices", "demo", "--json"));
    expect(0, "\"Location\":\"0000:00:10.0/00.0\"", NULL, LIST("inspect", "demo", "--json"));
    refused(4, "is attached as", "emulated:edu/7", "bbbbbbbb-1111-4222-8333-bbbbbbbbbbbb");
    refused(4, edu, "emulated:nvme", GUID);
    expect(0, "", NULL, LIST("detach", "demo", edu));
    guest("0x11e8\n", "cat " VIEW GUID "/pci*/*/device");
    expect(0, "", NULL, LIST("detach", "demo", edu));
    guest("1\n", "ls -d " VIEW "*/pci* | wc -l");
    expect(0, "", NULL, LIST("detach", "demo", two));
    guest("0\n", "ls -d " VIEW "*/pci* 2>/dev/null | wc -l");
    expect(3, "", "is not attached", LIST("detach", "demo", edu));
}

static void test_refused(void **state) {
    (void)state;
    refused(1, "no model \"gpu\" is emulated; edu, pci-testdev", "emulated:gpu", NULL);
    refused(1, "is no PCI address (0000:3b:00.0) and no emulated:MODEL", "3b:00.0", NULL);
    refused(1, "pci fff0:1f:00.0: this host has no such function; `lspci -D`", "fff0:1f:00.0",
            NULL);
    refused(2, "\"edu\" is no GUID", "emulated:edu", "edu");
    expect(2, "", "attach: --ro: not with vpci",
           LIST("attach", "demo", "vpci", "emulated:edu", "--ro"));
    expect(2, "", "attach: --id: not with scsi",
           LIST("attach", "demo", "scsi", "/dev/null", "--id", GUID));
    expect(0, "[]", NULL, LIST("devices", "demo", "--json"));
}

static void test_boot(void **state) {
    (void)state;
    expect(0, "0x0005\n", NULL,
           LIST("boot", "--memory", "128M", "--vpci", "emulated:pci-testdev," GUID, "--vpci",
                "emulated:edu/1", "--", "sh", "-c", "cat " VIEW GUID "/pci*/*/device"));
    expect(125, "", "no model \"gpu\"",
           LIST("boot", "--memory", "128M", "--vpci", "emulated:gpu", "--", "true"));
    expect(125, "", "is no GUID",
           LIST("boot", "--memory", "128M", "--vpci", "emulated:edu,x", "--", "true"));
}

/* They belong to the machine: seen from the first instruction on. */
static void test_document(void **state) {
    char path[128], text[2048];
    (void)state;
    int n = snprintf(
        text, sizeof text,
        "{\"Owner\":\"t\",\"SchemaVersion\":{\"Major\":2,\"Minor\":1},\"VirtualMachine\":{"
        "\"StopOnReset\":true,\"Chipset\":{\"LinuxKernelDirect\":{\"KernelFilePath\":\"%s\","
        "\"InitRdPath\":\"%s\"}},\"ComputeTopology\":{\"Memory\":{\"SizeInMB\":128,"
        "\"AllowOvercommit\":true},\"Processor\":{\"Count\":1}},\"Devices\":{\"VirtualPci\":{"
        "\"" GUID "\":{\"Functions\":[{\"DeviceInstancePath\":\"emulated:edu\"}],"
        "\"PropagateNumaAffinity\":true}},\"HvSocket\":{\"HvSocketConfig\":{}}}},"
        "\"ShouldTerminateOnLastHandleClosed\":true}",
        kit.kernel, kit.initrd);
    assert_true(n > 0 && (size_t)n < sizeof text);
    kit_write("vpci.json", text, (size_t)n, path);
    expect(0, "0x11e8\n", NULL,
           LIST("boot", "--document", path, "--", "sh", "-c",
                "until [ -e " VIEW GUID " ]; do :; done; cat " VIEW GUID "/pci*/*/device"));
    kit_forget(path);
}

static int stop_demo(void **state) {
    expect(0, NULL, NULL, LIST("stop", "demo"));
    return nothing_left(state);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, boot_demo, stop_demo)

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        CASE(test_attach),
        CASE(test_refused),
        cmocka_unit_test_teardown(test_boot, kit_check),
        cmocka_unit_test_teardown(test_document, kit_check),
    };
    if (argc != 6) {
        (void)fprintf(stderr, "usage: uvmctl_vpci_test UVMCTL UVM-LAUNCH VMLINUX INITRD LIAR\n");
        return 2;
    }
    kit_open(argv + 1);
    (void)setenv("UVM_STATE_DIR", kit.state, 1);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kit_close();
    return failed;
}
