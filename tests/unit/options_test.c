/* SPDX-License-Identifier: MIT
 * options_test.c — options and annotations of a VM, their bounds, and the document that comes of them.
 */
#include "async/alloc.h"
#include "async/engine.h"
#include "hcs/doc.h"
#include "tests/unit/cm.h"
#include "uvm/document.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VM "io.microsoft.virtualmachine."

static uvm_engine *engine;
static char logged[1024];

static void on_log(const struct uvm_log_record *r, void *arg) {
    (void)arg;
    size_t len = strlen(logged);
    (void)snprintf(logged + len, sizeof logged - len, "%s\n", r->text);
}

static int setup(void **state) {
    struct uvm_engine_params p = UVM_ENGINE_PARAMS_INIT;
    (void)state;
    logged[0] = 0;
    p.log = on_log;
    return uvm__engine_new_virtual(&p, 1, &engine);
}

static int teardown(void **state) {
    (void)state;
    uvm__engine_free_virtual(engine);
    return 0;
}

static struct uvm_vm_params files(void) {
    struct uvm_vm_params p = UVM_VM_PARAMS_INIT;
    p.name = "demo";
    p.kernel = "/boot/vmlinux";
    p.initrd = "/boot/initrd.img";
    return p;
}

static char long_text[8192];

static const char *xs(size_t n) {
    memset(long_text, 'x', sizeof long_text);
    long_text[n] = 0;
    return long_text;
}

/* ---- bounds: what is set, and the code and words that come of it ------------------------------ */

struct bound {
    void (*set)(struct uvm_vm_params *p);
    int code;          /* 0: accepted */
    const char *words; /* in the message */
};

#define SET(name, statement)                                                                       \
    static void name(struct uvm_vm_params *p) {                                                    \
        statement;                                                                                 \
    }
SET(name_empty, p->name = "")
SET(name_63, p->name = xs(63))
SET(name_64, p->name = xs(64))
SET(name_slash, p->name = "a/b")
SET(name_dash, p->name = "-a")
SET(name_odd, p->name = "a_b.c-9")
SET(id_short, p->id = "1234")
SET(id_good, p->id = "0123456789AB")
SET(id_real, p->id = "01234567-89AB-cdef-0123-456789abcdef")
SET(id_long, p->id = "01234567-89ab-cdef-0123-456789abcdef0")
SET(owner_128, p->owner = xs(128))
SET(owner_129, p->owner = xs(129))
SET(owner_control, p->owner = "a\nb")
SET(cpus_1, p->cpus = 1)
SET(cpus_64, p->cpus = 64)
SET(cpus_65, p->cpus = 65)
SET(memory_30, p->memory_mb = 30)
SET(memory_32, p->memory_mb = 32)
SET(memory_33, p->memory_mb = 33)
SET(memory_max, p->memory_mb = 1u << 20)
SET(memory_over, p->memory_mb = (1u << 20) + 2)
SET(memory_huge, p->memory_mb = UINT64_MAX - 1)
SET(kernel_empty, p->kernel = "")
SET(kernel_none, p->kernel = NULL)
SET(initrd_none, p->initrd = NULL)
SET(kernel_4095, p->kernel = xs(4095))
SET(kernel_4096, p->kernel = xs(4096))
SET(append_1024, p->append = xs(1024))
SET(append_1025, p->append = xs(1025))
SET(append_word, p->append = "a -- b")
SET(append_word_end, p->append = "a --")
SET(append_word_only, p->append = "--")
SET(append_double_dash, p->append = "a--b --c x=--")
SET(cgroup_empty, p->cgroup = "")
SET(cgroup_control, p->cgroup = "/sys/fs/cgroup/a\n")
SET(cgroup_any, p->cgroup = "/sys/fs/cgroup/a") /* the service knows what it is */
SET(rootfs_relative, p->rootfs = "root.img")
SET(rootfs_empty, p->rootfs = "")
SET(rootfs_and_document, (p->rootfs = "/root.img", p->document = "{}", p->document_bytes = 2))
SET(tools_relative, p->tools = "tools.img")
SET(tools_control, p->tools = "/tools\n.img")
SET(rootfs_any, p->rootfs = "/root.img") /* the service opens it */
SET(level_bad, p->log_level = "loud")
SET(level_debug, p->log_level = "debug")

static const struct bound bounds[] = {
    {name_empty, UVM_E_INVAL, "name: it has 1 to 63"},
    {name_63, 0, NULL},
    {name_64, UVM_E_INVAL, "name: it has 1 to 63"},
    {name_slash, UVM_E_INVAL, "name: \"a/b\""},
    {name_dash, UVM_E_INVAL, "name: \"-a\""},
    {name_odd, 0, NULL},
    {id_short, UVM_E_INVAL, "id: \"1234\" is not a GUID"},
    {id_good, UVM_E_INVAL, "id: "},
    {id_real, 0, NULL},
    {id_long, UVM_E_INVAL, "id: "},
    {owner_128, 0, NULL},
    {owner_129, UVM_E_LIMIT, "owner: it has more than 128 bytes"},
    {owner_control, UVM_E_INVAL, "owner: it has a control character at byte 1"},
    {cpus_1, 0, NULL},
    {cpus_64, 0, NULL},
    {cpus_65, UVM_E_INVAL, "cpus: 65 is not in 1 to 64"},
    {memory_30, UVM_E_INVAL, "memory: 30 MB is not in 32 to"},
    {memory_32, 0, NULL},
    {memory_33, UVM_E_INVAL, "memory: 33 MB is odd"},
    {memory_max, 0, NULL},
    {memory_over, UVM_E_INVAL, "memory: 1048578 MB is not in"},
    {memory_huge, UVM_E_INVAL, "memory: "},
    {kernel_empty, UVM_E_INVAL, "kernel: it is empty"},
    {kernel_none, UVM_E_INVAL, "kernel: no path was given"},
    {initrd_none, UVM_E_INVAL, "initrd: no path was given"},
    {kernel_4095, 0, NULL},
    {kernel_4096, UVM_E_LIMIT, "kernel: it has more than 4095"},
    {cgroup_empty, UVM_E_INVAL, "cgroup: it is empty"},
    {cgroup_control, UVM_E_INVAL, "cgroup: it has a control character"},
    {cgroup_any, 0, NULL},
    {append_1024, 0, NULL},
    {append_1025, UVM_E_LIMIT, "append: it has more than 1024"},
    {append_word, UVM_E_INVAL, "append: the word --"},
    {append_word_end, UVM_E_INVAL, "append: the word --"},
    {append_word_only, UVM_E_INVAL, "append: the word --"},
    {append_double_dash, 0, NULL},
    {rootfs_relative, UVM_E_INVAL, "rootfs: \"root.img\" is no absolute path"},
    {rootfs_empty, UVM_E_INVAL, "rootfs: "},
    {rootfs_and_document, UVM_E_INVAL, "rootfs: the document says"},
    {tools_relative, UVM_E_INVAL, "tools: \"tools.img\" is no absolute path"},
    {tools_control, UVM_E_INVAL, "tools: it has a control character"},
    {rootfs_any, 0, NULL},
    {level_bad, UVM_E_INVAL, "log_level: \"loud\""},
    {level_debug, 0, NULL},
};

static int build(const struct uvm_vm_params *p, struct uvm__options *o, char **text,
                 struct uvm__fail *f) {
    size_t bytes;
    int rc = uvm__options_read(engine, p, o, f);
    if (rc < 0) {
        return rc;
    }
    rc = uvm__document_build(o, p->document, p->document_bytes, text, &bytes, f);
    if (rc < 0) {
        uvm__options_deinit(o);
    }
    return rc;
}

static void test_bounds(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof bounds / sizeof bounds[0]; i++) {
        struct uvm_vm_params p = files();
        struct uvm__options o;
        struct uvm__fail f = {0};
        char *text = NULL;
        bounds[i].set(&p);
        int rc = build(&p, &o, &text, &f);
        if (rc != -bounds[i].code) {
            fail_msg("row %zu: %d, not %d: %s", i, rc, -bounds[i].code, f.msg);
        }
        if (rc < 0) {
            assert_ptr_equal(strstr(f.msg, bounds[i].words), f.msg);
        } else {
            uvm__free(engine, text);
            uvm__options_deinit(&o);
        }
    }
}

static void test_id_and_name(void **state) {
    struct uvm_vm_params p = UVM_VM_PARAMS_INIT;
    struct uvm__options o;
    struct uvm__fail f;
    (void)state;
    p.id = "01234567-89AB-cdef-0123-456789ABCDEF";
    assert_int_equal(uvm__options_read(engine, &p, &o, &f), 0);
    assert_string_equal(o.id, "01234567-89ab-cdef-0123-456789abcdef");
    assert_string_equal(o.name, "uvm-01234567");
    uvm__options_deinit(&o);
    p.id = NULL;
    assert_int_equal(uvm__options_read(engine, &p, &o, &f), 0);
    assert_int_equal(strlen(o.id), 36);
    assert_memory_equal(o.name + 4, o.id, 8);
    uvm__options_deinit(&o);
}

/* ---- annotations ------------------------------------------------------------------------------ */

struct note {
    const char *text;
    int code;
    const char *words;
};

static const struct note notes[] = {
    {VM "computetopology.memory.sizeinmb=512", 0, NULL},
    {VM "computetopology.memory.sizeinmb=513", UVM_E_INVAL, VM "computetopology.memory.sizeinmb: "},
    {VM "computetopology.memory.sizeinmb=512MB", UVM_E_INVAL, "annotation " VM},
    {VM "computetopology.memory.sizeinmb=", UVM_E_INVAL, "annotation " VM},
    {VM "computetopology.memory.sizeinmb=99999999999999999999", UVM_E_INVAL, "annotation " VM},
    {VM "computetopology.processor.count=65", UVM_E_INVAL, VM},
    {VM "computetopology.processor.limit=100001", UVM_E_INVAL, "annotation " VM},
    {VM "computetopology.processor.limit=100000", 0, NULL},
    {VM "computetopology.memory.allowovercommit=maybe", UVM_E_INVAL, "annotation " VM},
    {VM "computetopology.memory.allowovercommit=False", 0, NULL},
    {VM "lcow.kerneldirectboot=false", UVM_E_UNSUPPORTED, "annotation " VM},
    {VM "lcow.preferredrootfstype=vhd", UVM_E_UNSUPPORTED, "annotation " VM},
    {VM "lcow.preferredrootfstype=InitRd", 0, NULL},
    {VM "lcow.kernelbootoptions=a -- b", UVM_E_INVAL, "append: "},
    {VM "console.pipe=x", UVM_E_UNSUPPORTED, "annotation " VM "console.pipe: this engine"},
    {VM "wcow.isolation_type=x", UVM_E_UNSUPPORTED, "annotation " VM "wcow.isolation_type"},
    {VM "computetopology.memory.sizeinmbx=1", UVM_E_INVAL, "annotation " VM},
    {"org.example.thing=1", UVM_E_INVAL, "annotation org.example.thing: nobody"},
    {"nothing", UVM_E_INVAL, "annotation \"nothing\": it has the form KEY=VALUE"},
    {"=x", UVM_E_INVAL, "annotation \"=x\""},
};

static void test_annotations(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof notes / sizeof notes[0]; i++) {
        const char *const list[] = {notes[i].text, NULL};
        struct uvm_vm_params p = files();
        struct uvm__options o;
        struct uvm__fail f = {0};
        p.annotations = list;
        int rc = uvm__options_read(engine, &p, &o, &f);
        if (rc != -notes[i].code) {
            fail_msg("%s: %d, not %d: %s", notes[i].text, rc, -notes[i].code, f.msg);
        }
        if (rc < 0) {
            assert_ptr_equal(strstr(f.msg, notes[i].words), f.msg);
        } else {
            uvm__options_deinit(&o);
        }
    }
}

static void test_annotations_fill_what_is_open(void **state) {
    const char *const list[] = {
        VM "computetopology.memory.sizeinmb=512", VM "computetopology.processor.count=2",
        VM "bootfilesrootpath=/other", VM "lcow.kernelbootoptions=a=1", NULL};
    struct uvm_vm_params p = UVM_VM_PARAMS_INIT;
    struct uvm__options o;
    struct uvm__fail f;
    (void)state;
    p.annotations = list;
    p.memory_mb = 64;
    p.kernel = "/boot/vmlinux";
    assert_int_equal(uvm__options_read(engine, &p, &o, &f), 0);
    assert_int_equal(o.memory_mb, 64);
    assert_int_equal(o.cpus, 2);
    assert_string_equal(o.kernel, "/boot/vmlinux");
    assert_string_equal(o.initrd, "/other/initrd.img");
    assert_string_equal(o.append, "a=1");
    uvm__options_deinit(&o);
}

static void test_annotations_are_bounded(void **state) {
    const char *list[UVM_VM_ANNOTATIONS_MAX + 2] = {NULL};
    struct uvm_vm_params p = files();
    struct uvm__options o;
    struct uvm__fail f;
    (void)state;
    for (size_t i = 0; i <= UVM_VM_ANNOTATIONS_MAX; i++) {
        list[i] = VM "lcow.vpcienabled=true";
    }
    p.annotations = list;
    assert_int_equal(uvm__options_read(engine, &p, &o, &f), -UVM_E_LIMIT);
    list[UVM_VM_ANNOTATIONS_MAX] = NULL;
    assert_int_equal(uvm__options_read(engine, &p, &o, &f), 0);
    assert_true(o.vpci);
    uvm__options_deinit(&o);
}

/* ---- documents -------------------------------------------------------------------------------- */

#define LINE                                                                                       \
    " initcall_blacklist=virtio_vsock_init 8250_core.nr_uarts=0 panic=-1 quiet pci=off nr_cpus=1 " \
    "brd.rd_nr=0 pmtmr=0 -- -e 1 /bin/vsockexec -e 109 /bin/gcs -v4 -log-format json -loglevel "   \
    "info"

#define CONTROLLER_0 "\"df6d0690-79e5-55b6-a5ec-c1e2f77f580a\""
#define SCSI "\"Scsi\":{" CONTROLLER_0 ":{}},"
#define DOCUMENT(owner, line, memory, cpus) DOCUMENT_OF(owner, line, memory, cpus, SCSI)
#define DOCUMENT_OF(owner, line, memory, cpus, scsi)                                               \
    "{\"Owner\":\"" owner "\",\"SchemaVersion\":{\"Major\":2,\"Minor\":1},\"VirtualMachine\":{"    \
    "\"StopOnReset\":true,\"Chipset\":{\"LinuxKernelDirect\":{\"KernelFilePath\":"                 \
    "\"/boot/vmlinux\",\"InitRdPath\":\"/boot/initrd.img\",\"KernelCmdLine\":\"" line "\"}},"      \
    "\"ComputeTopology\":{\"Memory\":{\"SizeInMB\":" memory ",\"AllowOvercommit\":true},"          \
    "\"Processor\":{\"Count\":" cpus "}},\"Devices\":{" scsi "\"HvSocket\":{\"HvSocketConfig\":{"  \
    "\"DefaultBindSecurityDescriptor\":\"D:P(A;;FA;;;SY)(A;;FA;;;BA)\"}}}},"                       \
    "\"ShouldTerminateOnLastHandleClosed\":true}"

static void expect_document(const struct uvm_vm_params *p, const char *want) {
    struct uvm__options o;
    struct uvm__fail f = {0};
    char *text = NULL;
    if (build(p, &o, &text, &f) < 0) {
        fail_msg("%s", f.msg);
    }
    assert_string_equal(text, want);
    uvm__free(engine, text);
    uvm__options_deinit(&o);
}

static void test_default_document(void **state) {
    struct uvm_vm_params p = files();
    (void)state;
    expect_document(&p, DOCUMENT("uvm", LINE, "256", "1"));
    assert_string_equal(logged, "");
}

static void test_full_command_line(void **state) {
    const char *const list[] = {VM "lcow.vpcienabled=true", VM "lcow.timesync.disable=true",
                                VM "lcow.extra-exec-command-args=-scrub-logs=false", NULL};
    struct uvm_vm_params p = files();
    (void)state;
    p.owner = "me";
    p.cpus = 3;
    p.memory_mb = 512;
    p.append = "a=1 b";
    p.log_level = "debug";
    p.annotations = list;
    expect_document(
        &p, DOCUMENT("me",
                     " initcall_blacklist=virtio_vsock_init 8250_core.nr_uarts=0 panic=-1 quiet "
                     "a=1 b nr_cpus=3 brd.rd_nr=0 pmtmr=0 -- -e 1 /bin/vsockexec -e 109 /bin/gcs "
                     "-v4 -log-format json -loglevel debug -scrub-logs=false -disable-time-sync",
                     "512", "3"));
}

static void test_root_on_a_disk(void **state) {
    struct uvm_vm_params p = files();
    (void)state;
    p.rootfs = "/root.img";
    expect_document(
        &p, DOCUMENT_OF("uvm",
                        "root=/dev/sda ro rootwait init=/init initcall_blacklist=virtio_vsock_init "
                        "8250_core.nr_uarts=0 panic=-1 quiet pci=off nr_cpus=1 brd.rd_nr=0 pmtmr=0 "
                        "-- -e 1 -w /bin/vsockexec -e 109 /bin/gcs -v4 -log-format json -loglevel "
                        "info",
                        "256", "1",
                        "\"Scsi\":{" CONTROLLER_0 ":{\"Attachments\":{\"0\":{\"Type\":"
                        "\"VirtualDisk\",\"Path\":\"/root.img\",\"ReadOnly\":true}}}},"));
}

static void test_document_stays_as_it_is(void **state) {
    static const char base[] = DOCUMENT("them", "quiet nr_cpus=2 -- /init-args", "128", "2");
    struct uvm_vm_params p = UVM_VM_PARAMS_INIT;
    (void)state;
    p.document = base;
    p.document_bytes = strlen(base);
    expect_document(&p, base);
    assert_string_equal(logged, "");
}

static void test_options_win_over_document(void **state) {
    static const char base[] =
        DOCUMENT("them", "quiet nr_cpus=2 x -- -e 1 /bin/gcs -loglevel info -v4", "128", "2");
    struct uvm_vm_params p = UVM_VM_PARAMS_INIT;
    (void)state;
    p.name = "demo";
    p.document = base;
    p.document_bytes = strlen(base);
    p.cpus = 4;
    p.memory_mb = 64;
    p.append = "y=2";
    p.log_level = "trace";
    p.owner = "me";
    expect_document(&p, DOCUMENT("me", "quiet nr_cpus=4 x y=2 -- -e 1 /bin/gcs -loglevel trace -v4",
                                 "64", "4"));
    assert_non_null(strstr(logged, "memory 64 wins over VirtualMachine.ComputeTopology.Memory."
                                   "SizeInMB 128 of the document"));
    assert_non_null(strstr(logged, "cpus 4 wins over"));
    assert_non_null(strstr(logged, "owner \"me\" wins over Owner"));
    assert_null(strstr(logged, "kernel"));
}

static void test_document_without_mark(void **state) {
    static const char base[] = DOCUMENT("them", "quiet", "128", "2");
    struct uvm_vm_params p = UVM_VM_PARAMS_INIT;
    (void)state;
    p.document = base;
    p.document_bytes = strlen(base);
    p.append = "y";
    expect_document(&p, DOCUMENT("them", "quiet y", "128", "2"));
    p.log_level = "debug";
    expect_document(&p, DOCUMENT("them", "quiet y -- -loglevel debug", "128", "2"));
}

static void test_bad_documents(void **state) {
    static const struct {
        const char *text;
        int code;
    } rows[] = {
        {"", UVM_E_PROTOCOL},
        {"[]", UVM_E_INVAL},
        {"{\"Owner\":1}", UVM_E_INVAL},
        {DOCUMENT("a", "x", "129", "1"), UVM_E_INVAL},
        {DOCUMENT("a", "x", "128", "0"), UVM_E_INVAL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct uvm_vm_params p = UVM_VM_PARAMS_INIT;
        struct uvm__options o;
        struct uvm__fail f = {0};
        char *text = NULL;
        p.document = rows[i].text;
        p.document_bytes = strlen(rows[i].text);
        int rc = build(&p, &o, &text, &f);
        if (rc != -rows[i].code) {
            fail_msg("row %zu: %d: %s", i, rc, f.msg);
        }
        assert_int_not_equal(f.msg[0], 0);
    }
}

static void test_command_line_is_bounded(void **state) {
    static char base[16384];
    struct uvm_vm_params p = UVM_VM_PARAMS_INIT;
    struct uvm__options o;
    struct uvm__fail f;
    char *text = NULL;
    (void)state;
    (void)snprintf(base, sizeof base, DOCUMENT("a", "%s", "128", "1"), xs(1500));
    p.document = base;
    p.document_bytes = strlen(base);
    assert_int_equal(build(&p, &o, &text, &f), 0);
    uvm__free(engine, text);
    uvm__options_deinit(&o);
    p.append = xs(600);
    assert_int_equal(build(&p, &o, &text, &f), -UVM_E_LIMIT);
    assert_ptr_equal(strstr(f.msg, "append: "), f.msg);
}

/* What we build, the strict reader takes: the two have one schema, but the values are ours. */
static void test_documents_can_be_read(void **state) {
    struct uvm_vm_params p = files();
    struct uvm__options o;
    struct uvm__fail f;
    struct uvm__doc doc;
    char *text = NULL;
    (void)state;
    if (build(&p, &o, &text, &f) < 0 || text == NULL) {
        fail_msg("%s", f.msg);
        return;
    }
    assert_int_equal(uvm__doc_read(engine, text, strlen(text), &doc, &f), 0);
    assert_string_equal(doc.vm.chipset.linux_kernel_direct.kernel_cmd_line, LINE);
    uvm__doc_deinit(&doc);
    uvm__free(engine, text);
    uvm__options_deinit(&o);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(test_bounds),
        CASE(test_id_and_name),
        CASE(test_annotations),
        CASE(test_annotations_fill_what_is_open),
        CASE(test_annotations_are_bounded),
        CASE(test_default_document),
        CASE(test_full_command_line),
        CASE(test_root_on_a_disk),
        CASE(test_document_stays_as_it_is),
        CASE(test_options_win_over_document),
        CASE(test_document_without_mark),
        CASE(test_bad_documents),
        CASE(test_command_line_is_bounded),
        CASE(test_documents_can_be_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
