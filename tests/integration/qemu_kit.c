/* SPDX-License-Identifier: MIT
 * qemu_kit.c — see qemu_kit.h.
 *
 * A test program is a child subreaper, so what QEMU might leave behind comes to it. Descriptors, blocks of memory
 * and handles are loop.h's to count.
 */
#include "tests/integration/qemu_kit.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "async/alloc.h"
#include "async/cleanup.h"
#include "async/json.h"
#include "tests/harness/harness_census.h"

struct kit_files kit_files;

static const char *absolute(const char *path) {
    char *real = realpath(path, NULL); /* kept until the program ends */
    if (real == NULL) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        exit(1);
    }
    return real;
}

void kit_arguments(int argc, char **argv) {
    if (argc < 4 || prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0) {
        fprintf(stderr, "usage: %s KERNEL INITRD UVM-LAUNCH\n", argv[0]);
        exit(1);
    }
    kit_files.kernel = absolute(argv[1]);
    kit_files.initrd = absolute(argv[2]);
    kit_files.launch = absolute(argv[3]);
}

/* ---- processes ---------------------------------------------------------------------------- */

long kit_vmm(void) {
    pid_t pid = 0;
    return uvm_harness_descendants("qemu-system-x86_64", &pid, 1) == 0 ? 0 : pid;
}

int kit_children(void) {
    return (int)uvm_harness_descendants(NULL, NULL, 0);
}

/* ---- events ------------------------------------------------------------------------------- */

static void on_console(struct kit *k, const char *data, size_t bytes) {
    if (k->text_bytes + bytes >= sizeof k->text) {
        size_t drop = sizeof k->text / 2;
        memmove(k->text, k->text + drop, k->text_bytes - drop);
        k->text_bytes -= drop;
        k->text_seen = k->text_seen < drop ? 0 : k->text_seen - drop;
    }
    memcpy(k->text + k->text_bytes, data, bytes);
    k->text_bytes += bytes;
    k->text[k->text_bytes] = '\0';
    k->text_came = true;
}

static void on_event(struct uvm__hcs_system *s, const struct uvm__hcs_event *ev, void *arg) {
    struct kit *k = arg;
    assert_ptr_equal(s, k->system);
    assert_non_null(ev->detail);
    assert_false(k->exited); /* it is the last one */
    switch (ev->kind) {
    case UVM__HCS_EVENT_EXITED:
        k->exited = true;
        k->exit = ev->exit;
        (void)snprintf(k->exit_detail, sizeof k->exit_detail, "%s", ev->detail);
        k->text_came = true; /* whoever waits for text waits in vain */
        break;
    case UVM__HCS_EVENT_PAUSED:
        k->paused = true;
        break;
    case UVM__HCS_EVENT_RESUMED:
        k->resumed = true;
        break;
    case UVM__HCS_EVENT_CONSOLE:
        on_console(k, ev->data, ev->bytes);
        break;
    case UVM__HCS_EVENT_RELEASED:
        k->released++;
        (void)snprintf(k->released_path, sizeof k->released_path, "%s", ev->resource);
        break;
    }
}

/* ---- service and system ------------------------------------------------------------------- */

static struct uvm__doc_scsi_controller controller[1];
static const struct uvm__doc_com_port com1[1] = {{.named_pipe = "console"}};

void kit_open(struct kit *k) {
    memset(k, 0, sizeof *k);
    k->console = -1;
    k->fail_at = -1;
    loop_open(&k->base);
    struct uvm__doc *d = &k->doc;
    d->owner = "qemu_service_test";
    d->schema_version.present = true;
    d->schema_version.major = 2;
    d->schema_version.minor = 1;
    d->terminate_on_last_handle_closed = true;
    d->vm.present = d->vm.stop_on_reset = true;
    d->vm.chipset.present = d->vm.chipset.linux_kernel_direct.present = true;
    d->vm.chipset.linux_kernel_direct.kernel_file_path = kit_files.kernel;
    d->vm.chipset.linux_kernel_direct.init_rd_path = kit_files.initrd;
    d->vm.chipset.linux_kernel_direct.kernel_cmd_line = KIT_SHELL;
    d->vm.topology.present = d->vm.topology.memory.present = true;
    d->vm.topology.memory.size_in_mb = 256;
    d->vm.topology.memory.allow_overcommit = true;
    d->vm.topology.processor.present = true;
    d->vm.topology.processor.count = 1;
    d->vm.devices.present = true;
    controller[0].guid = uvm__doc_scsi_controller_guids[0];
    d->vm.devices.scsi = controller;
    d->vm.devices.scsi_count = 1;
    d->vm.devices.com_ports = com1;
    d->vm.devices.com_ports_count = 1;
    d->vm.devices.plan9.present = true;
}

struct uvm_qemu_params kit_params(void) {
    struct uvm_qemu_params p = UVM_QEMU_PARAMS_INIT;
    p.search_path = "/usr/local/bin:/usr/bin:/bin";
    p.launch_path = kit_files.launch;
    return p;
}

void kit_service(struct kit *k, const struct uvm_qemu_params *params) {
    struct uvm_qemu_params usual = kit_params();
    assert_int_equal(
        uvm_qemu_service_new(k->base.engine, params == NULL ? &usual : params, &k->service), 0);
}

static void on_created(uvm_op *op, const uvm_error *err, void *arg) {
    struct kit *k = arg;
    assert_ptr_equal(op, k->create);
    assert_false(k->created);
    k->created = true;
    k->create_code = err == NULL ? UVM_OK : (int)uvm_error_code(err);
}

void kit_create(struct kit *k) {
    char *text = NULL;
    size_t bytes = 0;
    struct uvm__fail f = {0};
    int pair[2] = {-1, -1};
    bool console = k->doc.vm.devices.com_ports_count > 0;

    if (k->service == NULL) {
        kit_service(k, NULL);
    }
    if (uvm__doc_build(k->base.engine, &k->doc, &text, &bytes, &f) < 0) {
        fail_msg("%s", f.msg);
    }
    if (console) {
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    }
    const struct uvm__hcs_fd fd = {"console", pair[1]};
    const struct uvm__hcs_create_params p = {.id = "01234567-89AB-cdef-0123-456789abcdef",
                                             .name = "test",
                                             .document = text,
                                             .document_bytes = bytes,
                                             .fds = &fd,
                                             .fds_count = console ? 1 : 0,
                                             .on_event = on_event,
                                             .arg = k,
                                             .cgroup = k->cgroup};
    k->created = false;
    k->base.fail_at = k->fail_at;
    k->base.for_good = k->fail_for_good;
    int rc = uvm__hcs_create(k->service, &p, k->scope, on_created, k, &k->create);
    assert_true(rc == 0 || (rc == -UVM_E_NOMEM && k->fail_at >= 0));
    uvm__free(k->base.engine, text);
    k->console = pair[0];
    if (pair[1] >= 0) {
        close(pair[1]);
    }
}

void kit_wait_created(struct kit *k) {
    if (k->create == NULL) {
        return;
    }
    loop_until_ms(&k->base, &k->created, KIT_WAIT_MS);
    k->system = uvm__hcs_create_result(k->service, k->create);
    assert_true((k->system != NULL) == (k->create_code == UVM_OK));
    assert_null(uvm__hcs_create_result(k->service, k->create)); /* once */
}

struct verb_done {
    bool done;
    int code;
};

static void on_verb(uvm_op *op, const uvm_error *err, void *arg) {
    struct verb_done *d = arg;
    (void)op;
    d->done = true;
    d->code = err == NULL ? UVM_OK : (int)uvm_error_code(err);
}

int kit_run(struct kit *k, kit_verb *verb) {
    struct verb_done d = {false, 0};
    int rc = verb(k->system, NULL, on_verb, &d, NULL);
    if (rc < 0) {
        return -rc;
    }
    loop_until_ms(&k->base, &d.done, KIT_WAIT_MS);
    return d.code;
}

void kit_boot(struct kit *k) {
    kit_create(k);
    kit_wait_created(k);
    if (k->create_code != UVM_OK) {
        const uvm_error *err = uvm__op_error(k->create);
        fail_msg("%s: %s\n%s", uvm_error_step(err), uvm_error_message(err), uvm_error_detail(err));
    }
    k->create = uvm_op_unref(k->create);
    assert_int_equal(kit_run(k, uvm__hcs_start), UVM_OK);
    kit_expect(k, "guest is up");
}

void kit_expect(struct kit *k, const char *text) {
    for (;;) {
        char *at = strstr(k->text + k->text_seen, text);
        if (at != NULL) {
            k->text_seen = (size_t)(at - k->text) + strlen(text);
            return;
        }
        if (k->exited) {
            fail_msg("the VM ended (%s) before \"%s\"; its console:\n%s", k->exit_detail, text,
                     k->text);
        }
        k->text_came = false;
        loop_until_ms(&k->base, &k->text_came, KIT_WAIT_MS);
    }
}

void kit_type(struct kit *k, const char *line) {
    ssize_t n = write(k->console, line, strlen(line));
    assert_int_equal(n, strlen(line));
    assert_int_equal(write(k->console, "\n", 1), 1);
}

void kit_wait_exit(struct kit *k) {
    loop_until_ms(&k->base, &k->exited, KIT_WAIT_MS);
}

const char *kit_property(struct kit *k, const char *path) {
    static char value[4096];
    struct uvm__fail f;
    cJSON *tree = NULL;
    const char *text = uvm__hcs_properties(k->system);
    assert_non_null(text);
    assert_int_equal(uvm__json_read(UVM__JSON_STRICT, text, strlen(text), &tree, &f), 0);
    const cJSON *node = tree;
    while (node != NULL && *path != '\0') {
        char key[64];
        size_t n = strcspn(path, ".");
        (void)snprintf(key, sizeof key, "%.*s", (int)n, path);
        node = uvm__json_get(UVM__JSON_STRICT, node, key);
        path += n + (path[n] == '.' ? 1 : 0);
    }
    const char *found = node == NULL                ? NULL
                        : uvm__json_is_number(node) ? uvm__json_number(node)
                                                    : uvm__json_string(node);
    if (found != NULL) {
        (void)snprintf(value, sizeof value, "%s", found);
    }
    cJSON_Delete(tree);
    return found == NULL ? NULL : value;
}

/* ---- closing ------------------------------------------------------------------------------ */

static void set_true(void *arg) {
    *(bool *)arg = true;
}

void kit_close_system(struct kit *k) {
    k->create = uvm_op_unref(k->create);
    k->scope = uvm_scope_unref(k->scope);
    if (k->system != NULL) {
        bool closed = false;
        uvm__hcs_close(k->system, set_true, &closed);
        assert_false(closed);
        loop_until_ms(&k->base, &closed, KIT_WAIT_MS);
        k->system = NULL;
    }
    if (k->console >= 0) {
        close(k->console);
        k->console = -1;
    }
    k->exited = k->created = false;
}

void kit_close(struct kit *k) {
    kit_close_system(k);
    if (k->service != NULL) {
        uvm__hcs_service_close(k->service, set_true, &k->service_closed);
        loop_until_ms(&k->base, &k->service_closed, KIT_WAIT_MS);
    }
    assert_int_equal(kit_children(), 0);
    loop_close(&k->base);
}
