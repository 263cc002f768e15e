/* SPDX-License-Identifier: MIT
 * service_test.c — what a compute service answers, tells and keeps: the same on the model and on QEMU.
 *
 * service_test KERNEL INITRD UVM-LAUNCH. Each scenario has its text, and each backend must tell it. Nothing of
 * a guest is needed: most systems stand before their first instruction.
 */
#include "tests/conformance/conform.h"
#include "tests/integration/qemu_kit.h"
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[PATH_MAX];

/* ---- scenarios ---------------------------------------------------------------------------- */

static void a_life(struct conform *c) {
    conform_create(c);
    conform_properties(c);
    conform_do(c, "start", uvm__hcs_start);
    conform_do(c, "pause", uvm__hcs_pause);
    conform_wait_event(c, UVM__HCS_EVENT_PAUSED, 1);
    conform_properties(c);
    conform_do(c, "resume", uvm__hcs_resume);
    conform_wait_event(c, UVM__HCS_EVENT_RESUMED, 1);
    conform_do(c, "terminate", uvm__hcs_terminate);
    conform_wait_event(c, UVM__HCS_EVENT_EXITED, 1);
    conform_properties(c);
    conform_do(c, "terminate", uvm__hcs_terminate);
    conform_do(c, "start", uvm__hcs_start);
    conform_do(c, "pause", uvm__hcs_pause);
    conform_do(c, "resume", uvm__hcs_resume);
    conform_add(c, 0, 0, "a.img", false);
}

static void wrong_states(struct conform *c) {
    conform_create(c);
    conform_do(c, "pause", uvm__hcs_pause);
    conform_do(c, "resume", uvm__hcs_resume);
    conform_do(c, "start", uvm__hcs_start);
    conform_do(c, "start", uvm__hcs_start);
    conform_do(c, "resume", uvm__hcs_resume);
    conform_do(c, "pause", uvm__hcs_pause);
    conform_do(c, "pause", uvm__hcs_pause);
    conform_do(c, "start", uvm__hcs_start);
    conform_add(c, 0, 0, "a.img", false); /* one that stands still can be changed */
    conform_remove(c, 0, 0);
}

static void two(struct conform *c, const char *what, conform_verb *verb) {
    struct conform_call a, b;
    conform_start(c, &a, what, verb);
    conform_start(c, &b, what, verb);
    conform_end(c, &a);
    conform_end(c, &b);
}

static void two_at_once(struct conform *c) {
    conform_create(c);
    two(c, "start", uvm__hcs_start);
    two(c, "pause", uvm__hcs_pause);
    two(c, "resume", uvm__hcs_resume);
    two(c, "terminate", uvm__hcs_terminate);
}

static void apart(struct conform *c) {
    if (c->backend->apart != NULL) {
        c->backend->apart(c);
    }
}

/* In the tick of the call: nothing has happened. */
static void cancel_at_once(struct conform *c) {
    struct conform_call call;
    conform_create_start(c, &call);
    conform_cancel(&call);
    conform_end(c, &call);
    conform_create(c);
    conform_start(c, &call, "start", uvm__hcs_start);
    conform_cancel(&call);
    conform_end(c, &call);
    conform_modify_start(c, &call, 0, 0, "a.img", false);
    conform_cancel(&call);
    conform_end(c, &call);
    conform_add(c, 0, 0, "a.img", false);
    apart(c);
    conform_modify_start(c, &call, 0, 0, NULL, false);
    conform_cancel(&call);
    conform_end(c, &call);
    conform_properties(c);
    conform_do(c, "start", uvm__hcs_start);
    conform_start(c, &call, "pause", uvm__hcs_pause);
    conform_cancel(&call);
    conform_end(c, &call);
    conform_do(c, "pause", uvm__hcs_pause);
    conform_start(c, &call, "resume", uvm__hcs_resume);
    conform_cancel(&call);
    conform_end(c, &call);
    conform_do(c, "resume", uvm__hcs_resume);
    conform_start(c, &call, "terminate", uvm__hcs_terminate);
    conform_cancel(&call);
    conform_end(c, &call);
    conform_do(c, "pause", uvm__hcs_pause);
}

/* Asked, and not answered yet: what can be taken back is, the rest happens. */
static void cancel_in_flight(struct conform *c) {
    struct conform_call call;
    conform_create_start(c, &call);
    c->backend->turns(c);
    conform_cancel(&call);
    conform_end(c, &call);
    conform_create(c);
    conform_modify_start(c, &call, 1, 5, "a.img", false);
    c->backend->turns(c);
    conform_cancel(&call);
    conform_end(c, &call);
    conform_add(c, 1, 5, "a.img", false);
    conform_start(c, &call, "start", uvm__hcs_start);
    c->backend->turns(c);
    conform_cancel(&call);
    conform_end(c, &call);
    conform_do(c, "start", uvm__hcs_start);
    conform_start(c, &call, "pause", uvm__hcs_pause);
    c->backend->turns(c);
    conform_cancel(&call);
    conform_end(c, &call);
    apart(c);
    conform_modify_start(c, &call, 1, 5, NULL, false);
    c->backend->turns(c);
    conform_cancel(&call);
    conform_end(c, &call);
    conform_start(c, &call, "resume", uvm__hcs_resume);
    c->backend->turns(c);
    conform_cancel(&call);
    conform_end(c, &call);
    conform_start(c, &call, "terminate", uvm__hcs_terminate);
    c->backend->turns(c);
    conform_cancel(&call);
    conform_end(c, &call);
    conform_wait_event(c, UVM__HCS_EVENT_EXITED, 1);
}

static void disks(struct conform *c) {
    conform_create(c);
    conform_add(c, 0, 0, "a.img", false);
    conform_add(c, 0, 0, "b.img", false);
    conform_add(c, 0, 1, "a.img", false);
    conform_add(c, 0, 1, "a.img", true);
    conform_add(c, 1, 63, "b.img", true);
    conform_add(c, 1, 62, "b.img", true);
    conform_add(c, 1, 61, "b.img", false);
    conform_properties(c);
    conform_add(c, CONFORM_CONTROLLERS, 0, "c.img", false);
    conform_remove(c, CONFORM_CONTROLLERS, 0);
    conform_remove(c, 0, 9);
    conform_remove(c, 0, 0);
    conform_remove(c, 0, 0);
    conform_add(c, 0, 0, "b.img", true);
    conform_remove(c, 1, 62);
    conform_properties(c);
}

/* Of one slot: it belongs to what is under way. */
static void disks_at_once(struct conform *c) {
    struct conform_call a, b, d;
    conform_create(c);
    conform_modify_start(c, &a, 0, 0, "a.img", false);
    conform_modify_start(c, &b, 0, 0, "b.img", false);
    conform_modify_start(c, &d, 0, 0, NULL, false);
    conform_end(c, &a);
    conform_end(c, &b);
    conform_end(c, &d);
    conform_modify_start(c, &a, 0, 0, NULL, false);
    conform_modify_start(c, &b, 0, 0, NULL, false);
    conform_modify_start(c, &d, 0, 0, "b.img", false);
    conform_end(c, &a);
    conform_end(c, &b);
    conform_end(c, &d);
    conform_modify_start(c, &a, 0, 0, "a.img", false); /* of one file in two slots */
    conform_modify_start(c, &b, 1, 0, "b.img", false);
    conform_end(c, &a);
    conform_end(c, &b);
}

static void wrong_requests(struct conform *c) {
#define PATH "VirtualMachine/Devices/Scsi/ba6163d9-04a1-4d29-b605-72e2ffb1dc7f/Attachments/0"
    static const struct {
        const char *what, *text;
    } rows[] = {
        {"no json", "{"},
        {"empty", "{}"},
        {"a field too many", "{\"ResourcePath\":\"" PATH "\",\"RequestType\":\"Remove\",\"X\":1}"},
        {"no such kind", "{\"ResourcePath\":\"VirtualMachine/Devices/Toaster\",\"RequestType\":"
                         "\"Remove\"}"},
        {"a lun of 64",
         "{\"ResourcePath\":\"VirtualMachine/Devices/Scsi/"
         "ba6163d9-04a1-4d29-b605-72e2ffb1dc7f/Attachments/64\",\"RequestType\":\"Remove\"}"},
        {"no guid", "{\"ResourcePath\":\"VirtualMachine/Devices/Scsi/0/Attachments/0\","
                    "\"RequestType\":\"Remove\"}"},
        {"no such verb", "{\"ResourcePath\":\"" PATH "\",\"RequestType\":\"Toast\"}"},
        {"no settings", "{\"ResourcePath\":\"" PATH "\",\"RequestType\":\"Add\"}"},
        {"an update", "{\"ResourcePath\":\"" PATH "\",\"RequestType\":\"Update\",\"Settings\":"
                      "{\"Type\":\"VirtualDisk\",\"Path\":\"/a\"}}"},
        {"for the guest", "{\"ResourcePath\":\"" PATH "\",\"RequestType\":\"Remove\","
                          "\"GuestRequest\":{}}"},
    };
#undef PATH
    struct conform_call call;
    conform_create(c);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        conform_modify_text(c, &call, rows[i].what, rows[i].text);
        conform_end(c, &call);
        if (i != 8) { /* what the reader says is said by both; an update each refuses by itself */
            conform_say(c, "  %s", call.message);
        }
    }
    const struct uvm__hcs_modify_params none = {0};
    conform_say(c, "nothing: -%s",
                uvm_error_code_name(uvm__hcs_modify(c->system, &none, NULL, NULL, NULL, NULL)));
    const struct uvm__hcs_modify_params big = {.request = "{}", .request_bytes = (1u << 20) + 1};
    conform_say(c, "too long: -%s",
                uvm_error_code_name(uvm__hcs_modify(c->system, &big, NULL, NULL, NULL, NULL)));
}

static void wrong_documents(struct conform *c) {
    struct conform_call call;
    struct uvm__doc_scsi_attachment a[2] = {{.type = "VirtualDisk", .lun = 1},
                                            {.type = "VirtualDisk", .lun = 2}};
    char path[PATH_MAX + 16];
    static const char *const texts[] = {
        "",
        "{",
        "[]",
        "{\"Owner\":1}",
        "{\"SchemaVersion\":{\"Major\":2,\"Minor\":1},\"Toast\":1}",
        "{\"SchemaVersion\":{\"Major\":2,\"Minor\":1},\"VirtualMachine\":{\"ComputeTopology\":"
        "{\"Memory\":{\"SizeInMB\":3},\"Processor\":{\"Count\":1}}}}",
        "{\"SchemaVersion\":{\"Major\":2,\"Minor\":1},\"VirtualMachine\":{\"Devices\":{\"Scsi\":"
        "{\"0a1b2c3d-0000-4000-8000-00000000abcd\":{},"
        "\"0A1B2C3D-0000-4000-8000-00000000ABCD\":{}}}}}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        conform_create_text(c, &call, texts[i], strlen(texts[i]));
        conform_end(c, &call);
        conform_say(c, "  %s", call.message);
    }
    (void)snprintf(path, sizeof path, "%s/a.img", folder);
    a[0].path = a[1].path = path; /* twice, to write */
    c->controllers[1].attachments = a;
    c->controllers[1].attachments_count = 2;
    conform_create_start(c, &call);
    conform_end(c, &call);
    a[0].read_only = a[1].read_only = true; /* to read is well */
    conform_create(c);
    conform_properties(c);
    conform_remove(c, 1, 1);
    conform_add(c, 1, 1, "a.img", false);
}

static void death(struct conform *c) {
    struct conform_call pause, add, terminate, create;
    conform_create(c); /* before its first instruction */
    c->backend->kill(c);
    conform_wait_event(c, UVM__HCS_EVENT_EXITED, 1);
    conform_do(c, "start", uvm__hcs_start);
    conform_add(c, 0, 0, "a.img", false);
    conform_do(c, "terminate", uvm__hcs_terminate);
    conform_close_system(c);
    conform_create(c); /* with calls under way */
    conform_do(c, "start", uvm__hcs_start);
    c->backend->stall(c, true);
    conform_start(c, &pause, "pause", uvm__hcs_pause);
    conform_modify_start(c, &add, 0, 0, "a.img", false);
    c->backend->turns(c);
    c->backend->kill(c);
    conform_end(c, &pause);
    conform_end(c, &add);
    conform_start(c, &terminate, "terminate", uvm__hcs_terminate);
    conform_end(c, &terminate);
    conform_wait_event(c, UVM__HCS_EVENT_EXITED, 1);
    conform_properties(c);
    conform_close_system(c);
    conform_create_start(c, &create); /* one more: nothing of it was kept */
    conform_end(c, &create);
    conform_add(c, 0, 0, "a.img", false);
}

/* A removal that was given up: the slot stays taken until the host has done it. */
static void released(struct conform *c) {
    struct conform_call call;
    conform_create(c);
    conform_add(c, 1, 7, "a.img", false);
    apart(c);
    c->backend->stall(c, true);
    conform_modify_start(c, &call, 1, 7, NULL, false);
    c->backend->turns(c);
    conform_cancel(&call);
    conform_end(c, &call);
    conform_remove(c, 1, 7);
    conform_add(c, 1, 7, "b.img", false);
    c->backend->stall(c, false);
    conform_wait_event(c, UVM__HCS_EVENT_RELEASED, 1);
    conform_remove(c, 1, 7);
    conform_add(c, 1, 7, "a.img", false);
}

/* All that is under way hears of it, then the system is gone. */
static void close_under_way(struct conform *c) {
    struct conform_call pause, terminate, add;
    conform_create(c);
    conform_do(c, "start", uvm__hcs_start);
    c->backend->stall(c, true);
    conform_start(c, &pause, "pause", uvm__hcs_pause);
    conform_modify_start(c, &add, 0, 0, "a.img", false);
    conform_start(c, &terminate, "terminate", uvm__hcs_terminate);
    c->backend->turns(c);
    conform_close_system(c);
    conform_end(c, &pause);
    conform_end(c, &add);
    conform_end(c, &terminate);
}

/* ---- their texts -------------------------------------------------------------------------- */

/* ---- PCI functions ------------------------------------------------------------------------ */

#define INSTANCE "aaaaaaaa-1111-4222-8333-bbbbbbbbbbb"
#define FUNCTION_PATH "\"ResourcePath\":\"VirtualMachine/Devices/VirtualPci/" INSTANCE

static void add_function(struct conform *c, unsigned instance, unsigned function) {
    struct conform_call call;
    char what[64], text[400];
    (void)snprintf(what, sizeof what, "add function %u as %u", function, instance);
    (void)snprintf(text, sizeof text,
                   "{" FUNCTION_PATH "%u\",\"RequestType\":\"Add\",\"Settings\":{\"Functions\":"
                   "[{\"DeviceInstancePath\":\"emulated:edu\",\"VirtualFunction\":%u}]}}",
                   instance, function);
    conform_modify_text(c, &call, what, text);
    conform_end(c, &call);
}

/* One function is one device, under one instance; there are as many places as a VM has PCI ports. */
static void functions(struct conform *c) {
    static const struct uvm__doc_vpci_function function = {.device_instance_path = "emulated:edu"};
    static const struct uvm__doc_vpci devices[] = {
        {.guid = INSTANCE "8", .functions = &function, .functions_count = 1},
        {.guid = INSTANCE "9", .functions = &function, .functions_count = 1}};
    struct conform_call call;
    c->doc.vm.devices.vpci = devices;
    c->doc.vm.devices.vpci_count = 2;
    conform_create_start(c, &call); /* twice the same */
    conform_end(c, &call);
    c->doc.vm.devices.vpci_count = 1;
    conform_create(c);
    conform_properties(c);
    add_function(c, 0, 0);
    add_function(c, 8, 1);
    for (unsigned i = 1; i < 9; i++) {
        add_function(c, i % 8, i);
    }
    conform_modify_text(c, &call, "remove none",
                        "{" FUNCTION_PATH "a\",\"RequestType\":\"Remove\"}");
    conform_end(c, &call);
}

#include "tests/conformance/service_texts.inc"

static void make_file(const char *name) {
    char path[PATH_MAX + 16];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0 && ftruncate(fd, 1 << 20) == 0);
    close(fd);
}

static int set_up(void **state) {
    const char *temporary = getenv("TEST_TMPDIR");
    (void)state;
    (void)snprintf(folder, sizeof folder, "%s", temporary == NULL ? "/tmp" : temporary);
    make_file("a.img");
    make_file("b.img");
    make_file("c.img");
    return 0;
}

static void run(const struct conform_backend *backend) {
    static struct conform c;
    unsigned failed = 0;
    for (size_t i = 0; i < sizeof scenarios / sizeof scenarios[0]; i++) {
        c = (struct conform){
            .kernel = kit_files.kernel, .initrd = kit_files.initrd, .folder = folder};
        conform_open(&c, backend);
        scenarios[i].fn(&c);
        conform_close(&c);
        if (strcmp(c.said, scenarios[i].text) != 0) {
            failed++; /* all are told, then it fails */
            fprintf(stderr, "%s on %s:\n%s---- not\n%s", scenarios[i].name, backend->name, c.said,
                    scenarios[i].text);
        }
    }
    assert_int_equal(failed, 0);
}

static void on_the_model(void **state) {
    (void)state;
    run(&conform_sim);
}

static void on_qemu(void **state) {
    (void)state;
    run(&conform_qemu);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(on_the_model), cmocka_unit_test(on_qemu)};
    kit_arguments(argc, argv);
    return cmocka_run_group_tests(tests, set_up, NULL);
}
