/* SPDX-License-Identifier: MIT
 * params_test.c — params structs of embedders older and newer than the library, and its version.
 *
 * An older program has fewer fields, and behind them whatever else it keeps in memory: here bytes that
 * crash who takes them for a pointer. What it has set must hold, all else be as by default. The sizes and
 * places of what was released are held fast by number, since programs were built with them.
 */
#include "async/log.h"
#include "hcs/qemu/qemu_service.h"
#include "tests/sim/world.h"
#include "uvm/control.h"
#include "uvm/devices.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#define LIMIT_MS 1000u

/* In memory of their own, so that a sanitizer sees a read past the end. */
static void *older(const void *params, size_t bytes) {
    void *copy = malloc(bytes);
    assert_non_null(copy);
    memcpy(copy, params, bytes);
    memcpy(copy, &bytes, sizeof bytes);
    return copy;
}

struct newer {
    size_t size;
    char bytes[1024];
};

/* As large as a struct of `known` bytes with one more field. */
static struct newer newer(const void *params, size_t known) {
    struct newer n = {0};
    assert_true(known + sizeof(void *) <= sizeof n);
    memcpy(&n, params, known);
    n.size = known + sizeof(void *);
    return n;
}

static void on_log(const struct uvm_log_record *record, void *arg) {
    (void)snprintf(arg, 256, "%s", record->text);
}

/* The log's words name the struct and both sizes. */
static void assert_said(const char *said, const char *name, size_t given, size_t known) {
    char want[128];
    (void)snprintf(want, sizeof want, "%s: %zu bytes, but this library knows %zu", name, given,
                   known);
    assert_memory_equal(said, want, strlen(want));
}

/* ---- what was released -------------------------------------------------------------------- */

#define PLACE(type, field, at)                                                                     \
    { #type "." #field, offsetof(struct type, field), at }

struct place {
    const char *what;
    size_t is, was; /* in 0.1, where pointers have 8 bytes */
};

static void assert_place(const struct place *p) {
    if (p->is != p->was) {
        fail_msg("%s is at %zu, programs have it at %zu", p->what, p->is, p->was);
    }
}

static const struct place places[] = {
    PLACE(uvm_engine_params, allocator, 8),
    PLACE(uvm_engine_params, log, 16),
    PLACE(uvm_engine_params, log_arg, 24),
    PLACE(uvm_engine_params, log_level, 32),
    PLACE(uvm_vm_params, name, 8),
    PLACE(uvm_vm_params, id, 16),
    PLACE(uvm_vm_params, owner, 24),
    PLACE(uvm_vm_params, cpus, 32),
    PLACE(uvm_vm_params, memory_mb, 40),
    PLACE(uvm_vm_params, kernel, 48),
    PLACE(uvm_vm_params, initrd, 56),
    PLACE(uvm_vm_params, append, 64),
    PLACE(uvm_vm_params, log_level, 72),
    PLACE(uvm_vm_params, annotations, 80),
    PLACE(uvm_vm_params, document, 88),
    PLACE(uvm_vm_params, document_bytes, 96),
    PLACE(uvm_vm_params, on_console, 104),
    PLACE(uvm_vm_params, arg, 112),
    PLACE(uvm_exec_params, argv, 8),
    PLACE(uvm_exec_params, env, 16),
    PLACE(uvm_exec_params, cwd, 24),
    PLACE(uvm_exec_params, user, 32),
    PLACE(uvm_exec_params, tty, 40),
    PLACE(uvm_exec_params, rows, 42),
    PLACE(uvm_exec_params, cols, 44),
    PLACE(uvm_exec_params, stdio, 48),
    PLACE(uvm_exec_params, fd, 60),
    PLACE(uvm_exec_params, on_output, 72),
    PLACE(uvm_exec_params, on_writable, 80),
    PLACE(uvm_exec_params, arg, 88),
    PLACE(uvm_scsi_params, host_path, 8),
    PLACE(uvm_scsi_params, read_only, 16),
    PLACE(uvm_scsi_params, physical, 17),
    PLACE(uvm_scsi_params, mount, 18),
    PLACE(uvm_scsi_params, guest_path, 24),
    PLACE(uvm_scsi_params, partition, 32),
    PLACE(uvm_scsi_params, options, 40),
    PLACE(uvm_scsi_params, filesystem, 48),
    PLACE(uvm_scsi_params, ensure_filesystem, 56),
    PLACE(uvm_scsi_params, block_dev, 57),
    PLACE(uvm_scsi_params, encrypted, 58),
    PLACE(uvm_scsi_params, verity, 64),
    PLACE(uvm_vpmem_params, host_path, 8),
    PLACE(uvm_vpmem_params, guest_path, 16),
    PLACE(uvm_vpmem_params, whole_device, 24),
    PLACE(uvm_vpmem_params, or_scsi, 25),
    PLACE(uvm_vpmem_params, verity, 32),
    PLACE(uvm_control_params, folder, 8),
    PLACE(uvm_control_params, owner_pid, 16),
    PLACE(uvm_qemu_params, qemu_path, 8),
    PLACE(uvm_qemu_params, search_path, 16),
    PLACE(uvm_qemu_params, launch_path, 24),
    PLACE(uvm_qemu_params, accel, 32),
    PLACE(uvm_qemu_params, drop, 36),
    PLACE(uvm_qemu_params, vmm_uid_base, 40),
    PLACE(uvm_qemu_params, processors_possible, 44),
    PLACE(uvm_qemu_params, cache_dir, 48),
    PLACE(uvm_qemu_params, vms_max, 56),
    PLACE(uvm_qemu_params, memory_mb_max, 64),
    PLACE(uvm_vsmb_params, host_path, 8),
    PLACE(uvm_vsmb_params, guest_path, 16),
    PLACE(uvm_vsmb_params, read_only, 24),
    PLACE(uvm_vsmb_params, file, 25),
    PLACE(uvm_vsmb_params, files, 32),
    PLACE(uvm_plan9_params, host_path, 8),
    PLACE(uvm_plan9_params, guest_path, 16),
    PLACE(uvm_plan9_params, read_only, 24),
    PLACE(uvm_plan9_params, file, 25),
    PLACE(uvm_plan9_params, files, 32),
    PLACE(uvm_nic_params, type, 8),
    PLACE(uvm_nic_params, target, 16),
    PLACE(uvm_nic_params, interface, 24),
    PLACE(uvm_nic_params, id, 32),
    PLACE(uvm_nic_params, mac, 40),
    PLACE(uvm_nic_params, mtu, 48),
    PLACE(uvm_nic_params, dhcp, 52),
    PLACE(uvm_nic_params, addresses, 56),
    PLACE(uvm_nic_params, gateways, 64),
    PLACE(uvm_nic_params, dns, 72),
    PLACE(uvm_nic_params, search, 80),
    PLACE(uvm_nic_params, namespace_id, 88),
    PLACE(uvm_vpci_params, device, 8),
    PLACE(uvm_vpci_params, virtual_function, 16),
    PLACE(uvm_vpci_params, guid, 24),
};

static void test_places_are_kept(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        assert_place(&places[i]);
    }
}

static void test_sizes_are_kept(void **state) {
    (void)state;
    assert_true(sizeof(struct uvm_engine_params) >= 40);
    assert_true(sizeof(struct uvm_vm_params) >= 120);
    assert_true(sizeof(struct uvm_exec_params) >= 96);
    assert_true(sizeof(struct uvm_scsi_params) >= 64);
    assert_true(sizeof(struct uvm_vpmem_params) >= 32);
    assert_true(sizeof(struct uvm_control_params) >= 24);
    assert_true(sizeof(struct uvm_qemu_params) >= 56);
}

/* ---- the engine --------------------------------------------------------------------------- */

static void close_engine(uvm_engine *e, uv_loop_t *loop) {
    uvm_engine_close(e, NULL, NULL);
    assert_int_equal(uv_run(loop, UV_RUN_DEFAULT), 0);
}

static void test_engine(void **state) {
    char said[256] = "";
    uv_loop_t loop;
    uvm_engine *e = NULL;
    struct uvm_engine_params p = UVM_ENGINE_PARAMS_INIT;
    (void)state;
    p.log = on_log;
    p.log_arg = said;
    assert_int_equal(uv_loop_init(&loop), 0);

    void *old = older(&p, offsetof(struct uvm_engine_params, log_level));
    assert_int_equal(uvm_engine_new(&loop, old, &e), 0);
    free(old);
    assert_false(uvm__log_wanted(e, UVM_LOG_DEBUG)); /* the default: info */
    assert_true(uvm__log_wanted(e, UVM_LOG_INFO));
    close_engine(e, &loop);

    e = NULL;
    struct newer more = newer(&p, sizeof p);
    assert_int_equal(uvm_engine_new(&loop, (const void *)&more, &e), -UVM_E_INVAL);
    assert_null(e);
    assert_said(said, "uvm_engine_params", more.size, sizeof p);
    for (p.size = 0; p.size < sizeof p.size; p.size++) {
        assert_int_equal(uvm_engine_new(&loop, &p, &e), -UVM_E_INVAL);
    }
    assert_int_equal(uv_loop_close(&loop), 0);
}

/* ---- the service -------------------------------------------------------------------------- */

static void test_service(void **state) {
    char said[256] = "";
    uv_loop_t loop;
    uvm_engine *e;
    uvm_service *service = NULL;
    struct uvm_engine_params ep = UVM_ENGINE_PARAMS_INIT;
    struct uvm_qemu_params p = UVM_QEMU_PARAMS_INIT;
    (void)state;
    ep.log = on_log;
    ep.log_arg = said;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(uvm_engine_new(&loop, &ep, &e), 0);

    p.launch_path = "/nonexistent/uvm-launch";
    void *old = older(&p, offsetof(struct uvm_qemu_params, accel));
    assert_int_equal(uvm_qemu_service_new(e, old, &service), 0);
    free(old);
    uvm_service_close(service, NULL, NULL);

    old = older(&p, offsetof(struct uvm_qemu_params, launch_path)); /* it is needed */
    assert_int_equal(uvm_qemu_service_new(e, old, &service), -UVM_E_INVAL);
    free(old);

    struct newer more = newer(&p, sizeof p);
    assert_int_equal(uvm_qemu_service_new(e, (const void *)&more, &service), -UVM_E_INVAL);
    assert_said(said, "uvm_qemu_params", more.size, sizeof p);
    p.size = 0;
    assert_int_equal(uvm_qemu_service_new(e, &p, &service), -UVM_E_INVAL);
    assert_non_null(strstr(said, "its size is 0"));
    assert_int_equal(uvm_qemu_service_new(e, NULL, &service), -UVM_E_INVAL);
    close_engine(e, &loop);
    assert_int_equal(uv_loop_close(&loop), 0);
}

/* ---- the control socket ------------------------------------------------------------------- */

static void on_vm_closed(void *arg) {
    uvm_service_close(arg, NULL, NULL);
}

/* Needs a real loop; the VM is only described. */
static void test_control(void **state) {
    char folder[] = "/tmp/uvm-params-XXXXXX";
    uv_loop_t loop;
    uvm_engine *e;
    uvm_service *service;
    uvm_vm *vm;
    uvm_control *control = NULL;
    uvm_error *err = NULL;
    struct uvm_qemu_params qp = UVM_QEMU_PARAMS_INIT;
    struct uvm_vm_params vp = UVM_VM_PARAMS_INIT;
    struct uvm_control_params p = UVM_CONTROL_PARAMS_INIT;
    (void)state;
    assert_non_null(mkdtemp(folder));
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(uvm_engine_new(&loop, NULL, &e), 0);
    qp.launch_path = "/nonexistent/uvm-launch";
    assert_int_equal(uvm_qemu_service_new(e, &qp, &service), 0);
    vp.name = "older";
    vp.kernel = "/boot/vmlinux";
    vp.initrd = "/boot/initrd.img";
    assert_int_equal(uvm_vm_new(e, service, &vp, &vm, NULL), 0);

    p.folder = folder;
    struct newer more = newer(&p, sizeof p);
    assert_int_equal(uvm_control_listen(vm, (const void *)&more, &control, &err), -UVM_E_INVAL);
    assert_null(control);
    assert_said(uvm_error_message(err), "uvm_control_params", more.size, sizeof p);
    err = uvm_error_unref(err);

    void *old = older(&p, offsetof(struct uvm_control_params, owner_pid));
    assert_int_equal(uvm_control_listen(vm, old, &control, &err), 0);
    free(old);
    assert_int_equal(uvm_control_clients(control), 0);

    uvm_vm_close(vm, on_vm_closed, service);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    close_engine(e, &loop);
    assert_int_equal(uv_loop_close(&loop), 0);
    assert_int_equal(rmdir(folder), 0); /* nothing was left in it */
}

/* ---- a VM, and a process in it ------------------------------------------------------------ */

static void test_vm(void **state) {
    struct world w;
    uvm_vm *vm = NULL;
    uvm_error *err = NULL;
    struct uvm_vm_params p = UVM_VM_PARAMS_INIT;
    (void)state;
    world_open(&w);
    p.name = "older";
    p.cpus = 2;
    p.kernel = "/boot/vmlinux";
    p.initrd = "/boot/initrd.img";

    void *old = older(&p, offsetof(struct uvm_vm_params, append));
    assert_int_equal(uvm_vm_new(w.e, w.service, old, &vm, &err), 0);
    free(old);
    assert_string_equal(uvm_vm_name(vm), "older");
    assert_non_null(strstr(uvm_vm_document(vm), "\"Count\":2"));
    w.vms++;
    world_vm_close(&w, vm);

    vm = NULL;
    struct newer more = newer(&p, sizeof p);
    assert_int_equal(uvm_vm_new(w.e, w.service, (const void *)&more, &vm, &err), -UVM_E_INVAL);
    assert_null(vm);
    assert_said(uvm_error_message(err), "uvm_vm_params", more.size, sizeof p);
    err = uvm_error_unref(err);
    p.size = 1;
    assert_int_equal(uvm_vm_new(w.e, w.service, &p, &vm, NULL), -UVM_E_INVAL);
    world_close(&w);
}

static void test_exec(void **state) {
    static const char *const argv[] = {"true", NULL};
    struct world w;
    struct world_call c;
    struct uvm_exec_params p = UVM_EXEC_PARAMS_INIT;
    (void)state;
    world_open(&w);
    uvm_vm *vm = world_vm_new(&w, "sim-1");
    world_boot_well(&w, vm);
    p.argv = argv;

    struct newer more = newer(&p, sizeof p);
    uint32_t before = w.records_count;
    const struct uvm_exec_params *refused = (const void *)&more;
    assert_int_equal(
        WORLD_START(&w, &c, uvm_exec_start(vm, refused, NULL, world_on_done, &c, &c.op)),
        -UVM_E_INVAL);
    assert_int_equal(w.records_count, before + 1); /* it was said */

    /* From before there were users and terminals. */
    void *old = older(&p, offsetof(struct uvm_exec_params, user));
    assert_int_equal(WORLD_START(&w, &c, uvm_exec_start(vm, old, NULL, world_on_done, &c, &c.op)),
                     0);
    free(old);
    world_wait(&w, &c, LIMIT_MS);
    EXPECT_EQ(&w, c.code, UVM_OK);
    uvm_process *process = uvm_exec_result(c.op);
    assert_non_null(process);
    world_call_end(&c);
    assert_int_equal(WORLD_START(&w, &c, uvm_process_wait(process, NULL, world_on_done, &c, &c.op)),
                     0);
    world_wait(&w, &c, LIMIT_MS);
    EXPECT_EQ(&w, c.code, UVM_OK);
    world_call_end(&c);
    uvm_process_close(process);
    world_vm_close(&w, vm);
    world_close(&w);
}

static void test_attach(void **state) {
    struct world w;
    struct world_call c;
    struct uvm_scsi_params p = UVM_SCSI_PARAMS_INIT;
    (void)state;
    world_open(&w);
    uvm_vm *vm = world_vm_new(&w, "sim-1");
    world_boot_well(&w, vm);
    p.host_path = "/a";

    struct newer more = newer(&p, sizeof p);
    const struct uvm_scsi_params *refused = (const void *)&more;
    assert_int_equal(
        WORLD_START(&w, &c, uvm_scsi_attach(vm, refused, NULL, world_on_done, &c, &c.op)), 0);
    world_wait(&w, &c, LIMIT_MS);
    EXPECT_EQ(&w, c.code, UVM_E_INVAL);
    EXPECT(&w, strstr(uvm_error_message(c.err), "newer libuvm") != NULL);
    world_call_end(&c);

    /* From before there were mounts. */
    void *old = older(&p, offsetof(struct uvm_scsi_params, guest_path));
    assert_int_equal(WORLD_START(&w, &c, uvm_scsi_attach(vm, old, NULL, world_on_done, &c, &c.op)),
                     0);
    free(old);
    world_wait(&w, &c, LIMIT_MS);
    EXPECT_EQ(&w, c.code, UVM_OK);
    assert_string_equal(uvm_attach_result(c.op).guest_path, "");
    world_call_end(&c);

    struct uvm_vpmem_params image = UVM_VPMEM_PARAMS_INIT;
    image.host_path = "/b";
    struct newer image_more = newer(&image, sizeof image);
    const struct uvm_vpmem_params *image_refused = (const void *)&image_more;
    assert_int_equal(
        WORLD_START(&w, &c, uvm_vpmem_attach(vm, image_refused, NULL, world_on_done, &c, &c.op)),
        0);
    world_wait(&w, &c, LIMIT_MS);
    EXPECT_EQ(&w, c.code, UVM_E_INVAL);
    EXPECT(&w, strstr(uvm_error_message(c.err), "newer libuvm") != NULL);
    world_call_end(&c);

    /* From before it could be told where; taken as it is, but the VM has no device for it. */
    old = older(&image, offsetof(struct uvm_vpmem_params, guest_path));
    assert_int_equal(WORLD_START(&w, &c, uvm_vpmem_attach(vm, old, NULL, world_on_done, &c, &c.op)),
                     0);
    free(old);
    world_wait(&w, &c, LIMIT_MS);
    EXPECT_EQ(&w, c.code, UVM_E_LIMIT);
    world_call_end(&c);
    world_vm_close(&w, vm);
    world_close(&w);
}

/* An attach by the params of an older program, which are freed, ends well. */
#define WELL(attach, take_old)                                                                     \
    do {                                                                                           \
        void *old_ = (take_old);                                                                   \
        assert_int_equal(WORLD_START(&w, &c, attach(vm, old_, NULL, world_on_done, &c, &c.op)),    \
                         0);                                                                       \
        free(old_);                                                                                \
        world_wait(&w, &c, LIMIT_MS);                                                              \
        EXPECT_EQ(&w, c.code, UVM_OK);                                                             \
        world_call_end(&c);                                                                        \
    } while (0)

static void test_attach_of_later_kinds(void **state) {
    struct world w;
    struct world_call c;
    struct uvm_vsmb_params vsmb = UVM_VSMB_PARAMS_INIT;
    struct uvm_plan9_params plan9 = UVM_PLAN9_PARAMS_INIT;
    struct uvm_nic_params nic = UVM_NIC_PARAMS_INIT;
    struct uvm_vpci_params vpci = UVM_VPCI_PARAMS_INIT;
    (void)state;
    world_open(&w);
    uvm_vm *vm = world_vm_new(&w, "sim-1");
    world_boot_well(&w, vm);
    vsmb.host_path = plan9.host_path = "/a";
    vpci.device = "emulated:edu";
    WELL(uvm_vsmb_attach, older(&vsmb, offsetof(struct uvm_vsmb_params, guest_path)));
    WELL(uvm_plan9_attach, older(&plan9, offsetof(struct uvm_plan9_params, guest_path)));
    WELL(uvm_nic_attach, older(&nic, offsetof(struct uvm_nic_params, interface)));
    WELL(uvm_vpci_attach, older(&vpci, offsetof(struct uvm_vpci_params, guid)));
    world_vm_close(&w, vm);
    world_close(&w);
}

/* ---- version ------------------------------------------------------------------------------ */

static void test_version(void **state) {
    char text[32];
    (void)state;
    (void)snprintf(text, sizeof text, "%d.%d.%d", UVM_VERSION_MAJOR, UVM_VERSION_MINOR,
                   UVM_VERSION_PATCH);
    assert_string_equal(UVM_VERSION, text);
    assert_string_equal(uvm_version(), text);
    assert_int_equal(uvm_version_number(), UVM_VERSION_NUMBER);
    assert_true(UVM_VERSION_OF(1, 2, 3) > UVM_VERSION_OF(1, 1, 999));
    assert_true(UVM_VERSION_OF(1, 0, 0) > UVM_VERSION_OF(0, 999, 999));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_places_are_kept),
        cmocka_unit_test(test_sizes_are_kept),
        cmocka_unit_test(test_engine),
        cmocka_unit_test(test_service),
        cmocka_unit_test(test_control),
        cmocka_unit_test(test_vm),
        cmocka_unit_test(test_exec),
        cmocka_unit_test(test_attach),
        cmocka_unit_test(test_attach_of_later_kinds),
        cmocka_unit_test(test_version),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
