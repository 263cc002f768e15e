/* SPDX-License-Identifier: MIT
 * scsi_test.c — disks of a VM on real QEMU: each format, read back in the guest; at boot, later, all at once; taken
 * away; and images that change or vanish under it.
 *
 * scsi_test KERNEL INITRD UVM-LAUNCH. Images are made by qemu-img out of one raw file whose every sector says who it
 * is. One guest boots; a shell in the agent's place loads the drivers.
 */
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "async/alloc.h"
#include "async/limits.h"
#include "hcs/modify_doc.h"
#include "tests/integration/qemu_kit.h"

enum { SECTORS = 16384, IMAGE_BYTES = SECTORS * 512 };

static char folder[256];

static const char *in_folder(const char *name) {
    static char paths[4][400];
    static unsigned next;
    char *path = paths[next++ % 4];
    (void)snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

/* ---- images ------------------------------------------------------------------------------- */

static void sector_text(char text[32], unsigned sector) {
    (void)snprintf(text, 32, "this is sector %05u", sector);
}

static void make_raw(const char *name) {
    FILE *f = fopen(in_folder(name), "we");
    assert_non_null(f);
    for (unsigned i = 0; i < SECTORS; i++) {
        char sector[512] = "";
        sector_text(sector, i);
        assert_int_equal(fwrite(sector, sizeof sector, 1, f), 1);
    }
    assert_int_equal(fclose(f), 0);
}

static void run_tool(const char *const *argv) {
    pid_t pid;
    int status = -1;
    if (posix_spawnp(&pid, argv[0], NULL, NULL, (char **)(uintptr_t)argv, environ) != 0) {
        fail_msg("%s cannot be run; `make setup` installs it (qemu-utils)", argv[0]);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void convert(const char *format, const char *option, const char *name) {
    char to[400];
    (void)snprintf(to, sizeof to, "%s", in_folder(name));
    const char *argv[] = {"qemu-img",           "convert", "-f", "raw", "-O", format, "-o", option,
                          in_folder("raw.img"), to,        NULL};
    run_tool(argv);
}

static void make_images(void) {
    make_raw("raw.img");
    make_raw("second.img");
    convert("vpc", "subformat=fixed,force_size=on", "fixed.vhd");
    convert("vpc", "subformat=dynamic,force_size=on", "dynamic.vhd");
    convert("vhdx", "subformat=dynamic", "a.vhdx");
    convert("qcow2", "compat=1.1", "a.qcow2");
    const char *child[] = {"qemu-img",
                           "create",
                           "-q",
                           "-f",
                           "qcow2",
                           "-F",
                           "raw",
                           "-b",
                           in_folder("raw.img"),
                           in_folder("child.qcow2"),
                           NULL};
    run_tool(child);
    for (unsigned i = 0; i < 64; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "many%02u.img", i);
        int fd = open(in_folder(name), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
        assert_true(fd >= 0 && ftruncate(fd, 1 << 20) == 0);
        close(fd);
    }
}

/* ---- changes ------------------------------------------------------------------------------ */

struct change {
    uvm_op *op;
    bool done;
    int code;
    char message[512];
};

static void on_done(uvm_op *op, const uvm_error *err, void *arg) {
    struct change *c = arg;
    (void)op;
    c->done = true;
    c->code = err == NULL ? UVM_OK : (int)uvm_error_code(err);
    (void)snprintf(c->message, sizeof c->message, "%s: %s",
                   err == NULL ? "" : uvm_error_message(err),
                   err == NULL ? "" : uvm_error_detail(err));
}

/* `file` NULL: a Remove. */
static void start_change(struct kit *k, struct change *c, unsigned controller, unsigned lun,
                         const char *file, bool read_only) {
    struct uvm__modify m = {.verb = file == NULL ? UVM__MODIFY_REMOVE : UVM__MODIFY_ADD,
                            .kind = UVM__MODIFY_SCSI,
                            .number = lun,
                            .has_settings = file != NULL};
    struct uvm__fail f;
    char *text = NULL;
    size_t bytes;
    char path[400] = "";
    memcpy(m.guid, uvm__doc_scsi_controller_guids[controller], sizeof m.guid);
    if (file != NULL) {
        (void)snprintf(path, sizeof path, "%s", file[0] == '/' ? file : in_folder(file));
        m.settings.scsi = (struct uvm__doc_scsi_attachment){
            .type = "VirtualDisk", .path = path, .read_only = read_only};
    }
    memset(c, 0, sizeof *c);
    assert_int_equal(uvm__modify_build(k->base.engine, &m, &text, &bytes, &f), 0);
    const struct uvm__hcs_modify_params p = {.request = text, .request_bytes = bytes};
    assert_int_equal(uvm__hcs_modify(k->system, &p, NULL, on_done, c, &c->op), 0);
    uvm__free(k->base.engine, text);
}

static int finish(struct kit *k, struct change *c) {
    loop_until_ms(&k->base, &c->done, KIT_WAIT_MS);
    c->op = uvm_op_unref(c->op);
    return c->code;
}

static void expect_change(struct kit *k, unsigned controller, unsigned lun, const char *file,
                          bool read_only, int code) {
    struct change c;
    start_change(k, &c, controller, lun, file, read_only);
    if (finish(k, &c) != code) {
        fail_msg("%s at %u:%u: %d %s, not %d", file == NULL ? "remove" : file, controller, lun,
                 c.code, c.message, code);
    }
}

/* ---- in the guest ------------------------------------------------------------------------- */

static void ask(struct kit *k, const char *answer, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static void ask(struct kit *k, const char *answer, const char *fmt, ...) {
    char line[512], wanted[128];
    static unsigned number;
    va_list ap;
    int n = snprintf(line, sizeof line, "echo \"answer %u: $(", ++number);
    va_start(ap, fmt);
    n += vsnprintf(line + n, sizeof line - (size_t)n, fmt, ap);
    va_end(ap);
    (void)snprintf(line + n, sizeof line - (size_t)n, ")\"");
    (void)snprintf(wanted, sizeof wanted, "answer %u: %s", number, answer);
    kit_type(k, line);
    kit_expect(k, wanted);
}

/* Loads the drivers and teaches the shell: dev H L (waits for the disk, says its name), rd H L SECTOR. */
static void teach(struct kit *k) {
    kit_type(k, "for m in $(cat /lib/modules/*/modules.scsi); do insmod "
                "/lib/modules/*/$m 2>/dev/null; done");
    kit_type(k, "dev() { until test -e /sys/bus/scsi/devices/$1:0:0:$2/block; do :; done; ls "
                "/sys/bus/scsi/devices/$1:0:0:$2/block; }");
    kit_type(k,
             "rd() { dd if=/dev/$(dev $1 $2) bs=512 skip=$3 count=1 2>/dev/null | head -c 20; }");
    kit_type(k, "ro() { cat /sys/block/$(dev $1 $2)/ro; }");
    kit_type(k, "size() { cat /sys/block/$(dev $1 $2)/size; }");
    kit_type(k, "gone() { while test -e /sys/bus/scsi/devices/$1:0:0:$2; do :; done; echo gone; }");
    kit_type(
        k,
        "wr() { dd if=/dev/zero of=/dev/$(dev $1 $2) bs=512 seek=$3 count=1 conv=fsync 2>/dev/null "
        "&& echo written || echo refused; }");
}

static void expect_sector(struct kit *k, unsigned controller, unsigned lun, unsigned sector) {
    char text[32];
    sector_text(text, sector);
    ask(k, text, "rd %u %u %u", controller, lun, sector);
}

/* ---- tests -------------------------------------------------------------------------------- */

static struct uvm__doc_scsi_controller controllers[4];
static struct uvm__doc_scsi_attachment boot_disk[1];
static char boot_path[400];

static void open_with_boot_disk(struct kit *k, const char *file) {
    kit_open(k);
    (void)snprintf(boot_path, sizeof boot_path, "%s", in_folder(file));
    boot_disk[0] = (struct uvm__doc_scsi_attachment){
        .lun = 7, .type = "VirtualDisk", .path = boot_path, .read_only = true};
    memset(controllers, 0, sizeof controllers);
    for (unsigned i = 0; i < 4; i++) {
        controllers[i].guid = uvm__doc_scsi_controller_guids[i];
    }
    controllers[1].attachments = boot_disk;
    controllers[1].attachments_count = 1;
    k->doc.vm.devices.scsi = controllers;
    k->doc.vm.devices.scsi_count = 4;
}

static void each_format(struct kit *k) {
    static const char *const files[] = {"raw.img", "fixed.vhd", "dynamic.vhd", "a.vhdx", "a.qcow2"};
    static const char *const formats[] = {"raw", "vhd", "vhd", "vhdx", "qcow2"};
    for (unsigned i = 0; i < 5; i++) {
        unsigned controller = i % 4, lun = 10 + i;
        for (int read_only = 1; read_only >= 0; read_only--) {
            expect_change(k, controller, lun, files[i], read_only != 0,
                          i == 0 && read_only == 0 ? UVM_E_STATE : UVM_OK);
            if (i == 0 && read_only == 0) {
                break; /* raw.img is the boot disk, for reading */
            }
            expect_sector(k, controller, lun, 0);
            expect_sector(k, controller, lun, SECTORS - 1);
            ask(k, read_only ? "1" : "0", "ro %u %u", controller, lun);
            char size[16];
            (void)snprintf(size, sizeof size, "%u", SECTORS);
            ask(k, size, "size %u %u", controller, lun);
            ask(k, read_only ? "refused" : "written", "wr %u %u 5", controller, lun);
            const char *text = uvm__hcs_properties(k->system);
            char wanted[64];
            (void)snprintf(wanted, sizeof wanted, "\"Format\":\"%s\",\"ReadOnly\":%s", formats[i],
                           read_only ? "true" : "false");
            assert_non_null(strstr(text, wanted));
            expect_change(k, controller, lun, NULL, false, UVM_OK);
            ask(k, "gone", "gone %u %u", controller, lun);
        }
    }
}

static void what_was_written_is_there(void) {
    char text[512];
    const char *argv[] = {
        "qemu-img", "convert", "-O", "raw", in_folder("a.qcow2"), in_folder("back.img"), NULL};
    run_tool(argv);
    static const char *const files[] = {"fixed.vhd", "back.img"};
    for (unsigned i = 0; i < 2; i++) {
        FILE *f = fopen(in_folder(files[i]), "re");
        assert_non_null(f);
        char wanted[32];
        for (long sector = 4; sector < 7; sector++) {
            assert_int_equal(fseek(f, sector * 512, SEEK_SET), 0);
            assert_int_equal(fread(text, sizeof text, 1, f), 1);
            sector_text(wanted, (unsigned)sector);
            assert_string_equal(text, sector == 5 ? "" : wanted);
        }
        (void)fclose(f);
    }
}

static void images_that_change(struct kit *k) {
    struct stat st;
    expect_change(k, 2, 0, "second.img", false, UVM_OK);
    expect_sector(k, 2, 0, 1);
    assert_int_equal(stat(in_folder("second.img"), &st), 0);
    assert_int_equal(truncate(in_folder("second.img"), st.st_size * 2),
                     0); /* grown: it is not seen */
    kit_type(k, "echo 1 > /sys/bus/scsi/devices/2:0:0:0/rescan");
    ask(k, "16384", "size 2 0");
    assert_int_equal(unlink(in_folder("second.img")), 0); /* deleted: lives on for the guest */
    kit_type(k, "echo 3 > /proc/sys/vm/drop_caches");
    expect_sector(k, 2, 0, 12345);
    ask(k, "written", "wr 2 0 6");
    expect_change(k, 2, 0, NULL, false, UVM_OK);
    expect_change(k, 2, 0, "second.img", false, UVM_E_NOTFOUND);
    make_raw("second.img");
}

static void many_at_once(struct kit *k) {
    struct change c[64];
    for (int removes = 0; removes < 2; removes++) {
        uint64_t begin = uv_hrtime();
        for (unsigned i = 0; i < 64; i++) {
            char name[32];
            (void)snprintf(name, sizeof name, "many%02u.img", i);
            start_change(k, &c[i], 3, i, removes ? NULL : name, false);
        }
        for (unsigned i = 0; i < 64; i++) {
            if (finish(k, &c[i]) != UVM_OK) {
                fail_msg("LUN %u: %s", i, c[i].message);
            }
        }
        print_message("64 disks %s in %u ms\n", removes ? "removed" : "added",
                      (unsigned)((uv_hrtime() - begin) / 1000000));
        if (removes == 0) {
            expect_change(k, 3, 17, "second.img", false, UVM_E_EXISTS);
            ask(k, "65", "until test $(ls /sys/block | grep -c sd) = 65; do :; done; echo 65");
            ask(k, "64", "ls /sys/bus/scsi/devices | grep -c ^3:0:0:");
        } else {
            ask(k, "1", "until test $(ls /sys/block | grep -c sd) = 1; do :; done; echo 1");
        }
    }
}

/* QEMU does not answer for a while. */
static void a_late_answer(struct kit *k) {
    struct change c;
    long pid = kit_vmm();
    expect_change(k, 2, 0, "second.img", false, UVM_OK);
    assert_int_equal(kill((pid_t)pid, SIGSTOP), 0);
    start_change(k, &c, 2, 0, NULL, false);
    /* It waits for its turn behind the disk that came; then it has been asked. */
    uint64_t until = uv_hrtime() + UINT64_C(3) * UVM__PLUG_APART_MS * 1000000;
    while (uv_hrtime() < until) {
        uv_run(&k->base.loop, UV_RUN_NOWAIT);
    }
    uvm_op_cancel(c.op);
    assert_int_equal(finish(k, &c), UVM_E_UNDO); /* after the undo's own time */
    expect_change(k, 2, 0, "second.img", false, UVM_E_EXISTS);
    assert_int_equal(k->released, 0);
    assert_int_equal(kill((pid_t)pid, SIGCONT), 0);
    while (k->released == 0) {
        uv_run(&k->base.loop, UV_RUN_ONCE);
    }
    assert_non_null(strstr(k->released_path, "b5d2d8d4-3a75-51bf-945b-3444dc6b8579/Attachments/0"));
    expect_change(k, 2, 0, "second.img", false, UVM_OK);
}

static void disks_in_a_guest(void **state) {
    (void)state;
    struct kit k;
    open_with_boot_disk(&k, "raw.img");
    kit_create(&k);
    kit_wait_created(&k);
    if (k.create_code != UVM_OK) {
        const uvm_error *err = uvm__op_error(k.create);
        fail_msg("%s: %s\n%s", uvm_error_step(err), uvm_error_message(err), uvm_error_detail(err));
    }
    /* Before its first instruction, too. */
    expect_change(&k, 0, 0, "second.img", false, UVM_OK);
    expect_change(&k, 0, 0, NULL, false, UVM_OK);
    expect_change(&k, 0, 1, "second.img", true, UVM_OK);
    assert_int_equal(kit_run(&k, uvm__hcs_start), UVM_OK);
    kit_expect(&k, "guest is up");
    teach(&k);
    expect_sector(&k, 1, 7, 77);
    ask(&k, "1", "ro 1 7");
    expect_sector(&k, 0, 1, 78);
    expect_change(&k, 0, 1, NULL, false, UVM_OK);
    expect_change(&k, 0, 1, NULL, false, UVM_E_NOTFOUND);
    expect_change(&k, 0, 1, "child.qcow2", true, UVM_E_UNSUPPORTED);
    each_format(&k);
    what_was_written_is_there();
    images_that_change(&k);
    many_at_once(&k);
    a_late_answer(&k);
    assert_int_equal(kit_run(&k, uvm__hcs_pause), UVM_OK); /* a guest that stands still */
    expect_change(&k, 2, 0, NULL, false, UVM_OK);
    expect_change(&k, 2, 1, "second.img", false, UVM_OK);
    assert_int_equal(kit_run(&k, uvm__hcs_resume), UVM_OK);
    expect_sector(&k, 2, 1, 3);
    assert_int_equal(k.released, 1);
    /* The VMM dies with attaches under way: they say so, and no more is told. */
    struct change c[3];
    for (unsigned i = 0; i < 3; i++) {
        start_change(&k, &c[i], 0, i,
                     i == 0   ? "many00.img"
                     : i == 1 ? "many01.img"
                              : "many02.img",
                     false);
    }
    assert_int_equal(kill((pid_t)kit_vmm(), SIGKILL), 0);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(finish(&k, &c[i]), UVM_E_EXITED);
    }
    kit_wait_exit(&k);
    kit_close(&k);
}

static void a_document_with_a_bad_disk(void **state) {
    (void)state;
    struct kit k;
    static const struct {
        const char *file, *says;
        int code;
    } rows[] = {{"none.img", "none.img: cannot be opened for reading", UVM_E_NOTFOUND},
                {"child.qcow2", "a qcow2 with a backing file", UVM_E_UNSUPPORTED}};
    for (size_t i = 0; i < 2; i++) {
        open_with_boot_disk(&k, rows[i].file);
        kit_create(&k);
        kit_wait_created(&k);
        assert_int_equal(k.create_code, rows[i].code);
        const uvm_error *err = uvm__op_error(k.create);
        assert_string_equal(uvm_error_step(err), "vm create › devices");
        static const char path[] =
            "VirtualMachine.Devices.Scsi.0110f83b-de10-5172-a266-78bca56bf50a.Attachments.7: disk ";
        assert_memory_equal(uvm_error_message(err), path, sizeof path - 1);
        assert_non_null(strstr(uvm_error_message(err), rows[i].says));
        kit_close(&k);
    }
}

static int set_up(void **state) {
    (void)state;
    const char *temporary = getenv("TEST_TMPDIR");
    (void)snprintf(folder, sizeof folder, "%s", temporary == NULL ? "/tmp" : temporary);
    make_images();
    return 0;
}

int main(int argc, char **argv) {
    kit_arguments(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_document_with_a_bad_disk),
        cmocka_unit_test(disks_in_a_guest),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
