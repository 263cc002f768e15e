/* SPDX-License-Identifier: MIT
 * qemu_scsi_test.c — disks that come and go, over a model of QEMU: each command of an attach and a detach with
 * each fault, with and without a cancel in the middle; what is left is read off the model.
 */
#include "hcs/qemu/resource.h"
#include "tests/unit/qemu_fake.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define GUID_0 "df6d0690-79e5-55b6-a5ec-c1e2f77f580a"
#define GUID_2 "b5d2d8d4-3a75-51bf-945b-3444dc6b8579" /* the VM has no such controller */
#define GUID_1 "0110f83b-de10-5172-a266-78bca56bf50a"
#define OTHER_LUN(n) "VirtualMachine/Devices/Scsi/" GUID_1 "/Attachments/" n
#define LUN(n) "VirtualMachine/Devices/Scsi/" GUID_0 "/Attachments/" n

static char disk[2][512]; /* two raw images */

static const char *settings(unsigned which, bool read_only) {
    static char text[1024];
    (void)snprintf(text, sizeof text, "{\"Type\":\"VirtualDisk\",\"Path\":\"%s\"%s}", disk[which],
                   read_only ? ",\"ReadOnly\":true" : "");
    return text;
}

static int add(struct fake *f, const char *path, unsigned which, bool read_only) {
    struct fake_change c;
    fake_change(f, &c, NULL, path, "Add", settings(which, read_only));
    return fake_finish(f, &c);
}

static int remove_it(struct fake *f, const char *path) {
    struct fake_change c;
    fake_change(f, &c, NULL, path, "Remove", NULL);
    return fake_finish(f, &c);
}

static const char *state_of(struct fake *f, const char *path) {
    static const char *const names[] = {"adding", "present", "removing"};
    const struct uvm__resource *r = uvm__resource_find(f->system, path);
    return r == NULL ? "" : names[r->state];
}

/* Whatever happened before: an attach and a detach work, and nothing is left. */
static void expect_as_new(struct fake *f, const char *path) {
    f->fault_command = NULL;
    assert_int_equal(add(f, path, 0, false), UVM_OK);
    assert_int_equal(remove_it(f, path), UVM_OK);
    fake_expect_empty(f);
}

/* ---- without faults ----------------------------------------------------------------------- */

static void attached_and_detached(void **state) {
    (void)state;
    struct fake f;
    fake_open(&f);
    assert_int_equal(add(&f, LUN("3"), 0, true), UVM_OK);
    assert_string_equal(f.said, "add-fd blockdev-add device_add ");
    assert_int_equal(f.fds_came, 1);
    assert_string_equal(f.last_node,
                        "{\"driver\":\"raw\",\"node-name\":\"node-1\",\"read-only\":true,"
                        "\"discard\":\"unmap\",\"cache\":{\"no-flush\":false},\"size\":4096,"
                        "\"file\":{\"driver\":\"file\",\"filename\":\"/dev/fdset/1\","
                        "\"read-only\":true,\"discard\":\"unmap\"}}");
    assert_string_equal(f.last_device,
                        "{\"driver\":\"scsi-hd\",\"id\":\"disk-1\",\"bus\":\"scsi0.0\","
                        "\"channel\":0,\"scsi-id\":0,\"lun\":3,\"drive\":\"node-1\","
                        "\"werror\":\"report\",\"rerror\":\"report\"}");
    const char *text = uvm__hcs_properties(&f.system->base);
    assert_non_null(text);
    assert_non_null(
        strstr(text, "\"Resources\":[{\"Kind\":\"Scsi\",\"ResourcePath\":\"" LUN(
                         "3") "\",\"State\":\"Present\",\"Controller\":\"" GUID_0 "\",\"Lun\":3,"));
    assert_non_null(strstr(text, "\"Format\":\"raw\",\"ReadOnly\":true,\"Bytes\":4096}]"));
    f.said[0] = '\0';
    assert_int_equal(remove_it(&f, LUN("3")), UVM_OK);
    assert_string_equal(f.said, "device_del blockdev-del remove-fd ");
    fake_expect_empty(&f);
    assert_int_equal(f.released, 0); /* the op has told it */
    assert_int_equal(add(&f, LUN("3"), 0, false), UVM_OK);
    assert_non_null(strstr(f.last_device, "\"disk-2\"")); /* names are not used again */
    fake_close(&f);                                       /* with a disk in it */
}

static void refused_by_words(void **state) {
    (void)state;
    static const struct {
        const char *path, *verb, *settings;
        int code;
        const char *says;
    } rows[] = {
        {"VirtualMachine/Devices/Scsi/" GUID_2 "/Attachments/0", "Add", "good", UVM_E_NOTFOUND,
         "ResourcePath: the VM has no SCSI controller " GUID_2},
        {LUN("64"), "Add", "good", UVM_E_INVAL, "ResourcePath: LUN 64 is out of range (0 to 63)"},
        {LUN("0"), "Update", "good", UVM_E_UNSUPPORTED, "RequestType: an attachment's image"},
        {LUN("0"), "Remove", NULL, UVM_E_NOTFOUND, LUN("0") ": nothing is there"},
        {LUN("0"), "Add", "{\"Type\":\"VirtualDisk\",\"Path\":\"a\"}", UVM_E_INVAL,
         "disk a: not an absolute path"},
        {LUN("0"), "Add", "{\"Type\":\"VirtualDisk\",\"Path\":\"/no/such\"}", UVM_E_NOTFOUND,
         "disk /no/such: cannot be opened for writing: No such file"},
        {LUN("0"), "Add", "{\"Type\":\"VirtualDisk\",\"Path\":\"/\"}", UVM_E_INVAL,
         "disk /: a directory"},
        {LUN("0"), "Add", "{\"Type\":\"PassThru\",\"Path\":\"/etc/passwd\",\"ReadOnly\":true}",
         UVM_E_INVAL, "disk /etc/passwd: not a block device, which PassThru needs"},
        {LUN("0"), "Add", "{\"Type\":\"VirtualDisk\",\"Path\":\"/dev/null\"}", UVM_E_INVAL,
         "disk /dev/null: neither a file nor a block device"},
        {LUN("0"), "Add", "{\"Type\":\"VirtualDisk\",\"Path\":\"/a\",\"CachingMode\":\"Uncached\"}",
         UVM_E_UNSUPPORTED, "Settings.CachingMode: not supported on QEMU"},
        {LUN("0"), "Add",
         "{\"Type\":\"ExtensibleVirtualDisk\",\"Path\":\"/a\",\"ExtensibleVirtualDiskType\":\"x\"}",
         UVM_E_UNSUPPORTED, "Settings.Type: virtual disk providers are Hyper-V's"},
    };
    struct fake f;
    fake_open(&f);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct fake_change c;
        const char *set = rows[i].settings;
        if (set != NULL && strcmp(set, "good") == 0) {
            set = settings(0, false);
        }
        fake_change(&f, &c, NULL, rows[i].path, rows[i].verb, set);
        int code = fake_finish(&f, &c);
        if (code != rows[i].code || strncmp(c.message, rows[i].says, strlen(rows[i].says)) != 0) {
            fail_msg("row %zu: %d, %s; not %s", i, code, c.message, rows[i].says);
        }
    }
    assert_string_equal(f.said, ""); /* QEMU heard nothing of it */
    expect_as_new(&f, LUN("0"));

    const struct uvm__hcs_fd fd = {"x", 0};
    const char text[] = "{\"ResourcePath\":\"" LUN("0") "\",\"RequestType\":\"Remove\"}";
    const struct uvm__hcs_modify_params p = {text, sizeof text - 1, &fd, 1};
    uvm_op *op;
    assert_int_equal(uvm__hcs_modify(&f.system->base, &p, NULL, NULL, NULL, &op), 0);
    fake_turns(&f);
    assert_int_equal(uvm_error_code(uvm__op_error(op)), UVM_E_INVAL);
    uvm_op_unref(op);
    fake_close(&f);
}

static void one_writer_or_readers(void **state) {
    (void)state;
    struct fake f;
    fake_open(&f);
    assert_int_equal(add(&f, LUN("0"), 0, true), UVM_OK);
    assert_int_equal(add(&f, LUN("0"), 1, true), UVM_E_EXISTS);
    assert_int_equal(add(&f, LUN("1"), 0, true), UVM_OK);
    assert_int_equal(add(&f, LUN("2"), 0, false), UVM_E_STATE);
    assert_int_equal(add(&f, LUN("2"), 1, false), UVM_OK);
    assert_int_equal(add(&f, LUN("3"), 1, true), UVM_E_STATE);
    assert_int_equal(add(&f, LUN("3"), 1, false), UVM_E_STATE);
    assert_int_equal(remove_it(&f, LUN("2")), UVM_OK);
    assert_int_equal(add(&f, LUN("3"), 1, true), UVM_OK);
    assert_string_equal(f.devices, "1 3 8 "); /* those that were refused used a name up */
    fake_close(&f);
}

static void together_and_in_each_others_way(void **state) {
    (void)state;
    struct fake f;
    struct fake_change first, second, away;
    fake_open(&f);
    fake_change(&f, &first, NULL, LUN("0"), "Add", settings(0, false));
    fake_change(&f, &second, NULL, LUN("0"), "Add", settings(1, false));
    fake_change(&f, &away, NULL, LUN("0"), "Remove", NULL);
    assert_int_equal(fake_finish(&f, &first), UVM_OK);
    assert_int_equal(fake_finish(&f, &second), UVM_E_EXISTS);
    assert_int_equal(fake_finish(&f, &away), UVM_E_STATE); /* it was only being added */
    fake_change(&f, &first, NULL, LUN("0"), "Remove", NULL);
    fake_change(&f, &second, NULL, LUN("0"), "Remove", NULL);
    fake_change(&f, &away, NULL, LUN("0"), "Add", settings(0, false));
    assert_int_equal(fake_finish(&f, &first), UVM_OK);
    assert_int_equal(fake_finish(&f, &second), UVM_E_STATE);
    assert_int_equal(fake_finish(&f, &away), UVM_E_EXISTS);
    expect_as_new(&f, LUN("0"));
    fake_close(&f);
}

/* ---- not too many at once ----------------------------------------------------------------- */

static void start_many(struct fake *f, struct fake_change *c, unsigned n, const char *verb) {
    static const char *const paths[] = {LUN("0"), LUN("1"), LUN("2"), LUN("3"), LUN("4"), LUN("5")};
    assert_true(n <= sizeof paths / sizeof paths[0]);
    for (unsigned i = 0; i < n; i++) {
        fake_change(f, &c[i], NULL, paths[i], verb, settings(0, true));
    }
}

/* The first at once, each other one its time behind the one before, in the order of asking; another controller's
 * disks are nobody's neighbours, and after a rest the next is at once again. */
static void apart_in_time(void **state) {
    (void)state;
    struct fake f;
    struct fake_change c[6], other;
    fake_open_paced(&f);
    uint64_t begin = uvm__now_ms(f.kit.engine);
    start_many(&f, c, 6, "Add");
    fake_change(&f, &other, NULL, OTHER_LUN("0"), "Add", settings(1, true));
    fake_turns(&f);
    assert_true(c[0].done && !c[1].done && other.done);
    assert_string_equal(f.devices, "1 7 ");
    for (unsigned i = 0; i < 6; i++) {
        assert_int_equal(fake_finish(&f, &c[i]), UVM_OK);
        assert_true(i == 5 || !c[5].done);
    }
    assert_string_equal(f.devices, "1 7 2 3 4 5 6 ");
    assert_int_equal(fake_finish(&f, &other), UVM_OK);
    assert_int_equal(f.plugs, 7);
    /* When each came here; the one before may have come late, so it is counted from the begin. */
    for (unsigned i = 2; i < 7; i++) {
        assert_true(f.plug_ms[i] >= begin + (uint64_t)(i - 1) * UVM__PLUG_APART_MS);
    }
    assert_int_equal(remove_it(&f, LUN("5")), UVM_OK); /* they go as they come */
    assert_true(f.plug_ms[7] >= begin + UINT64_C(6) * UVM__PLUG_APART_MS);
    fake_close(&f);
}

/* Who waits for his turn and gives up leaves nothing, and those behind him go on; the VM's end lets all go. */
static void apart_and_given_up(void **state) {
    (void)state;
    struct fake f;
    struct fake_change c[6], away;
    fake_open_paced(&f);
    start_many(&f, c, 3, "Add");
    fake_turns(&f);
    assert_true(c[0].done && !c[1].done && !c[2].done);
    uvm_op_cancel(c[1].op);
    assert_int_equal(fake_finish(&f, &c[1]), UVM_E_CANCELED);
    assert_int_equal(fake_finish(&f, &c[2]), UVM_OK);
    assert_int_equal(fake_finish(&f, &c[0]), UVM_OK);
    assert_string_equal(f.devices, "1 3 ");
    assert_string_equal(f.nodes, "1 3 ");
    assert_string_equal(state_of(&f, LUN("1")), "");
    fake_change(&f, &away, NULL, LUN("0"), "Remove", NULL);
    fake_turns(&f);
    assert_false(away.done);
    assert_string_equal(state_of(&f, LUN("0")), "removing");
    uvm_op_cancel(away.op);
    assert_int_equal(fake_finish(&f, &away), UVM_E_CANCELED);
    assert_string_equal(state_of(&f, LUN("0")), "present");
    assert_string_equal(f.devices, "1 3 ");
    fake_change(&f, &away, NULL, LUN("0"), "Remove", NULL);
    start_many(&f, c + 1, 2, "Remove");
    fake_die(&f);
    assert_int_equal(fake_finish(&f, &away), UVM_E_EXITED);
    for (unsigned i = 1; i < 3; i++) {
        (void)fake_finish(&f, &c[i]);
    }
    fake_close(&f);
}

/* ---- faults of an attach ------------------------------------------------------------------ */

static const char *const add_commands[] = {"add-fd", "blockdev-add", "device_add"};
static const char *const remove_commands[] = {"device_del", "blockdev-del", "remove-fd"};

static void set_fault(struct fake *f, const char *command, enum fake_fault fault) {
    f->fault_command = command;
    f->fault = fault;
    f->fault_times = 1;
    f->faulted = false;
}

static void an_attach_is_refused_anywhere(void **state) {
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct fake f;
        struct fake_change c;
        fake_open(&f);
        set_fault(&f, add_commands[i], FAKE_REFUSE);
        fake_change(&f, &c, NULL, LUN("0"), "Add", settings(0, false));
        assert_int_equal(fake_finish(&f, &c), UVM_E_PEER);
        assert_true(f.faulted);
        assert_non_null(strstr(c.message, add_commands[i]));
        fake_expect_empty(&f);
        expect_as_new(&f, LUN("0"));
        fake_close(&f);
    }
}

/* What QEMU said is in the message, and for an image that somebody else writes also what to do. */
static void an_image_that_is_locked(void **state) {
    (void)state;
    struct fake f;
    struct fake_change c;
    fake_open(&f);
    f.desc = "Failed to get \\\"write\\\" lock";
    set_fault(&f, "device_add", FAKE_REFUSE);
    fake_change(&f, &c, NULL, LUN("0"), "Add", settings(0, false));
    assert_int_equal(fake_finish(&f, &c), UVM_E_PEER);
    assert_non_null(strstr(c.message,
                           "device_add was refused: Failed to get \"write\" lock; another "
                           "VM or program has it open: end that one"));
    fake_expect_empty(&f);
    fake_close(&f);
}

static void an_attach_is_cancelled_anywhere(void **state) {
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        for (int refuse = 0; refuse < 2; refuse++) {
            struct fake f;
            struct fake_change c;
            fake_open(&f);
            set_fault(&f, add_commands[i], refuse ? FAKE_HOLD_REFUSE : FAKE_HOLD);
            fake_change(&f, &c, NULL, LUN("0"), "Add", settings(0, false));
            fake_turns(&f);
            uvm_op_cancel(c.op);
            fake_turns(&f);
            assert_false(c.done); /* what QEMU was told cannot be unsaid */
            fake_release(&f);
            assert_int_equal(fake_finish(&f, &c), UVM_E_CANCELED);
            fake_expect_empty(&f);
            assert_int_equal(f.released, 0);
            expect_as_new(&f, LUN("0"));
            fake_close(&f);
        }
    }
}

/* A cancel, and then no answer in time: told as UNDO, the path is taken; the late answer frees it. */
static void an_attach_without_an_answer(void **state) {
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        for (int refuse = 0; refuse < 2; refuse++) {
            struct fake f;
            struct fake_change c;
            fake_open(&f);
            set_fault(&f, add_commands[i], refuse ? FAKE_HOLD_REFUSE : FAKE_HOLD);
            fake_change(&f, &c, NULL, LUN("0"), "Add", settings(0, false));
            fake_turns(&f);
            uvm_op_cancel(c.op);
            fake_turns(&f);
            fake_give_up(&f);
            assert_int_equal(fake_finish(&f, &c), UVM_E_UNDO);
            assert_string_equal(state_of(&f, LUN("0")), "adding");
            assert_int_equal(add(&f, LUN("0"), 1, false), UVM_E_EXISTS);
            assert_int_equal(remove_it(&f, LUN("0")), UVM_E_STATE);
            fake_release(&f);
            fake_expect_empty(&f);
            assert_int_equal(f.released, 1);
            assert_string_equal(f.released_path, LUN("0"));
            expect_as_new(&f, LUN("0"));
            fake_close(&f);
        }
    }
}

/* The last step fails after a cancel, and one of the undo's commands goes wrong in each way. */
static void an_undo_goes_wrong(void **state) {
    (void)state;
    static const enum fake_fault faults[] = {FAKE_REFUSE,   FAKE_NOT_FOUND,   FAKE_HOLD,
                                             FAKE_NO_EVENT, FAKE_EVENT_FIRST, FAKE_HOLD_REFUSE};
    for (size_t i = 0; i < 3; i++) {
        for (size_t k = 0; k < sizeof faults / sizeof faults[0]; k++) {
            struct fake f;
            struct fake_change c;
            if (i > 0 && k > 0 && faults[k] != FAKE_HOLD) {
                continue; /* of device_del only */
            }
            fake_open(&f);
            set_fault(&f, "device_add", FAKE_HOLD);
            fake_change(&f, &c, NULL, LUN("0"), "Add", settings(0, false));
            fake_turns(&f);
            uvm_op_cancel(c.op);
            fake_turns(&f);
            set_fault(&f, remove_commands[i], faults[k]);
            fake_release(&f);
            assert_true(f.faulted);
            bool waits = faults[k] == FAKE_HOLD || faults[k] == FAKE_NO_EVENT;
            if (waits) {
                assert_false(c.done);
                fake_give_up(&f);
                assert_int_equal(fake_finish(&f, &c), UVM_E_UNDO);
                fake_release(&f);
                assert_int_equal(f.released, 1);
            } else if (faults[k] == FAKE_HOLD_REFUSE) {
                fake_release(&f); /* and it is tried again */
                assert_int_equal(fake_finish(&f, &c), UVM_E_CANCELED);
            } else {
                assert_int_equal(fake_finish(&f, &c), UVM_E_CANCELED);
            }
            if (i == 2 && faults[k] == FAKE_REFUSE) {
                f.fdsets[0] = '\0'; /* a set that cannot be removed counts as none */
            }
            fake_expect_empty(&f);
            expect_as_new(&f, LUN("0"));
            fake_close(&f);
        }
    }
}

static void the_vm_dies_in_an_attach(void **state) {
    (void)state;
    for (size_t i = 0; i < 6; i++) {
        for (int after = 0; after < 2; after++) {
            struct fake f;
            struct fake_change c;
            fake_open(&f);
            enum fake_fault die = after ? FAKE_DIE_AFTER : FAKE_DIE_BEFORE;
            set_fault(&f, i < 3 ? add_commands[i] : "device_add", i < 3 ? die : FAKE_HOLD);
            fake_change(&f, &c, NULL, LUN("0"), "Add", settings(0, false));
            fake_turns(&f);
            if (i >= 3) { /* in its undo */
                uvm_op_cancel(c.op);
                fake_turns(&f);
                set_fault(&f, remove_commands[i - 3], die);
                fake_release(&f);
            }
            assert_true(f.faulted);
            assert_int_equal(fake_finish(&f, &c), i < 3 ? UVM_E_EXITED : UVM_E_CANCELED);
            assert_true(f.exited);
            assert_int_equal(f.released, 0);
            assert_string_equal(state_of(&f, LUN("0")), "");
            assert_int_equal(add(&f, LUN("0"), 0, false), UVM_E_EXITED);
            fake_close(&f);
        }
    }
}

/* ---- faults of a detach ------------------------------------------------------------------- */

static void a_detach_goes_forward(void **state) {
    (void)state;
    static const enum fake_fault faults[] = {FAKE_NOT_FOUND, FAKE_EVENT_FIRST, FAKE_HOLD,
                                             FAKE_NO_EVENT};
    for (size_t i = 0; i < 3; i++) {
        for (size_t k = 0; k < 4; k++) {
            for (int how = 0; how < 3; how++) { /* wait, cancel, give up */
                bool waits = faults[k] == FAKE_HOLD || (faults[k] == FAKE_NO_EVENT && i == 0);
                struct fake f;
                struct fake_change c;
                if ((i > 0 && faults[k] != FAKE_HOLD) || (how > 0 && !waits)) {
                    continue;
                }
                fake_open(&f);
                assert_int_equal(add(&f, LUN("0"), 0, false), UVM_OK);
                set_fault(&f, remove_commands[i], faults[k]);
                fake_change(&f, &c, NULL, LUN("0"), "Remove", NULL);
                fake_turns(&f);
                assert_true(f.faulted);
                assert_int_equal(c.done, !waits);
                if (how > 0) {
                    uvm_op_cancel(c.op);
                    fake_turns(&f);
                    assert_false(c.done); /* it only goes forward */
                }
                if (how == 2) {
                    fake_give_up(&f);
                    assert_int_equal(fake_finish(&f, &c), UVM_E_UNDO);
                    assert_string_equal(state_of(&f, LUN("0")), "removing");
                    assert_int_equal(add(&f, LUN("0"), 1, false), UVM_E_EXISTS);
                    assert_int_equal(remove_it(&f, LUN("0")), UVM_E_STATE);
                }
                fake_release(&f);
                if (how < 2) {
                    assert_int_equal(fake_finish(&f, &c), UVM_OK);
                }
                assert_int_equal(f.released, how == 2 ? 1 : 0);
                fake_expect_empty(&f);
                expect_as_new(&f, LUN("0"));
                fake_close(&f);
            }
        }
    }
}

static void a_detach_that_is_refused(void **state) {
    (void)state;
    struct fake f;
    fake_open(&f);
    assert_int_equal(add(&f, LUN("0"), 0, false), UVM_OK);
    set_fault(&f, "device_del", FAKE_REFUSE);
    assert_int_equal(remove_it(&f, LUN("0")), UVM_E_PEER);
    assert_string_equal(state_of(&f, LUN("0")), "present"); /* nothing has begun */
    set_fault(&f, "blockdev-del", FAKE_REFUSE);
    f.fault_times = 2; /* in use for a while */
    f.said[0] = '\0';
    assert_int_equal(remove_it(&f, LUN("0")), UVM_OK);
    assert_string_equal(f.said, "device_del blockdev-del blockdev-del blockdev-del remove-fd ");
    fake_expect_empty(&f);
    fake_close(&f);
}

static void the_vm_dies_in_a_detach(void **state) {
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        for (int how = 0; how < 4;
             how++) { /* before, after; while the event, while a retry waits */
            struct fake f;
            struct fake_change c;
            static const enum fake_fault faults[] = {FAKE_DIE_BEFORE, FAKE_DIE_AFTER, FAKE_NO_EVENT,
                                                     FAKE_REFUSE};
            if ((how == 2 && i != 0) || (how == 3 && i != 1)) {
                continue;
            }
            fake_open(&f);
            assert_int_equal(add(&f, LUN("0"), 0, false), UVM_OK);
            set_fault(&f, remove_commands[i], faults[how]);
            fake_change(&f, &c, NULL, LUN("0"), "Remove", NULL);
            fake_turns(&f);
            assert_true(f.faulted);
            if (how >= 2) {
                fake_die(&f);
            }
            assert_int_equal(fake_finish(&f, &c), UVM_E_EXITED);
            assert_true(f.exited);
            fake_close(&f);
        }
    }
}

/* The owner closes the VM with a change at each of its commands, the last answer never comes. */
static void closed_in_the_middle(void **state) {
    (void)state;
    for (size_t i = 0; i < 6; i++) {
        struct fake f;
        struct fake_change c;
        fake_open(&f);
        bool adds = i < 3;
        if (!adds) {
            assert_int_equal(add(&f, LUN("0"), 0, false), UVM_OK);
        }
        set_fault(&f, adds ? add_commands[i] : remove_commands[i - 3], FAKE_HOLD);
        fake_change(&f, &c, NULL, LUN("0"), adds ? "Add" : "Remove",
                    adds ? settings(0, false) : NULL);
        fake_turns(&f);
        assert_false(c.done);
        uvm__qemu_ref(f.system);
        uvm__qemu_close(&f.system->base, NULL, NULL);
        fake_turns(&f);
        assert_int_equal(fake_finish(&f, &c), UVM_E_EXITED);
        uvm__qemu_unref(f.system);
        loop_turns(&f.kit);
        assert_int_equal(f.service.users, 1);
        close(f.peer);
        loop_close(&f.kit);
    }
}

/* ---- memory ------------------------------------------------------------------------------- */

static void every_allocation_may_fail(void **state) {
    (void)state;
    long failed = 0;
    for (int removes = 0; removes < 2; removes++) {
        bool reached = true;
        for (long n = 0; reached; n++) {
            struct fake f;
            struct fake_change c;
            fake_open(&f);
            if (removes) {
                assert_int_equal(add(&f, LUN("0"), 0, false), UVM_OK);
            }
            f.kit.fail_at = n;
            fake_change(&f, &c, NULL, LUN("0"), removes ? "Remove" : "Add",
                        removes ? NULL : settings(0, false));
            int code = fake_finish(&f, &c);
            reached = f.kit.fail_at < 0;
            f.kit.fail_at = -1;
            failed += code != UVM_OK;
            if (!f.exited) {
                if (removes != (code == UVM_OK)) {
                    assert_int_equal(remove_it(&f, LUN("0")), UVM_OK);
                }
                fake_expect_empty(&f);
                expect_as_new(&f, LUN("0"));
            }
            fake_close(&f);
        }
    }
    assert_true(failed > 5);
}

static int set_up(void **state) {
    (void)state;
    const char *folder = getenv("TEST_TMPDIR");
    for (unsigned i = 0; i < 2; i++) {
        (void)snprintf(disk[i], sizeof disk[i], "%s/disk%u.img", folder == NULL ? "/tmp" : folder,
                       i);
        int fd = open(disk[i], O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0600);
        if (fd < 0 || ftruncate(fd, 4096) < 0) {
            return -1;
        }
        close(fd);
    }
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attached_and_detached),
        cmocka_unit_test(refused_by_words),
        cmocka_unit_test(one_writer_or_readers),
        cmocka_unit_test(together_and_in_each_others_way),
        cmocka_unit_test(apart_in_time),
        cmocka_unit_test(apart_and_given_up),
        cmocka_unit_test(an_attach_is_refused_anywhere),
        cmocka_unit_test(an_image_that_is_locked),
        cmocka_unit_test(an_attach_is_cancelled_anywhere),
        cmocka_unit_test(an_attach_without_an_answer),
        cmocka_unit_test(an_undo_goes_wrong),
        cmocka_unit_test(the_vm_dies_in_an_attach),
        cmocka_unit_test(a_detach_goes_forward),
        cmocka_unit_test(a_detach_that_is_refused),
        cmocka_unit_test(the_vm_dies_in_a_detach),
        cmocka_unit_test(closed_in_the_middle),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
