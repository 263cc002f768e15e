/* SPDX-License-Identifier: MIT
 * conform.c — see conform.h.
 */
#include "tests/conformance/conform.h"
#include "async/alloc.h"
#include "async/json.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ID "01234567-89ab-cdef-0123-456789abcdef"

void conform_say(struct conform *c, const char *fmt, ...) {
    size_t at = strlen(c->said);
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(c->said + at, sizeof c->said - at, fmt, ap);
    va_end(ap);
    assert_true(n > 0 && at + (size_t)n < sizeof c->said - 2);
    memcpy(c->said + at + n, "\n", 2);
}

/* ---- events ------------------------------------------------------------------------------- */

static void on_event(struct uvm__hcs_system *s, const struct uvm__hcs_event *ev, void *arg) {
    struct conform *c = arg;
    char text[200] = "";
    assert_ptr_equal(s, c->system); /* so never before it was taken */
    assert_non_null(ev->detail);
    assert_false(c->exited);
    c->counts[ev->kind]++;
    switch (ev->kind) {
    case UVM__HCS_EVENT_EXITED:
        c->exited = true;
        (void)snprintf(text, sizeof text, "exited (%s) ", uvm__hcs_exit_text(ev->exit));
        break;
    case UVM__HCS_EVENT_PAUSED:
    case UVM__HCS_EVENT_RESUMED:
        (void)snprintf(text, sizeof text, "%s ",
                       ev->kind == UVM__HCS_EVENT_PAUSED ? "paused" : "resumed");
        break;
    case UVM__HCS_EVENT_RELEASED:
        (void)snprintf(text, sizeof text, "released (%s) ", ev->resource);
        break;
    case UVM__HCS_EVENT_CONSOLE: /* the model's kernel prints nothing */
        break;
    }
    size_t at = strlen(c->events);
    assert_true(at + strlen(text) < sizeof c->events);
    memcpy(c->events + at, text, strlen(text) + 1);
}

void conform_wait_event(struct conform *c, enum uvm__hcs_event_kind kind, unsigned count) {
    while (c->counts[kind] < count) {
        c->backend->step(c);
    }
}

/* ---- open and close ----------------------------------------------------------------------- */

void conform_open(struct conform *c, const struct conform_backend *backend) {
    struct uvm__doc *d = &c->doc;
    c->backend = backend;
    d->owner = "conformance";
    d->schema_version.present = true;
    d->schema_version.major = 2;
    d->schema_version.minor = 1;
    d->terminate_on_last_handle_closed = true;
    d->vm.present = d->vm.stop_on_reset = true;
    d->vm.chipset.present = d->vm.chipset.linux_kernel_direct.present = true;
    d->vm.chipset.linux_kernel_direct.kernel_file_path = c->kernel;
    d->vm.chipset.linux_kernel_direct.init_rd_path = c->initrd;
    d->vm.chipset.linux_kernel_direct.kernel_cmd_line =
        "8250_core.nr_uarts=0 panic=-1 quiet pci=off nr_cpus=1 brd.rd_nr=0 pmtmr=0 -- -e 1 sh -c "
        "\"while :; do sleep 1000; done\"";
    d->vm.topology.present = d->vm.topology.memory.present = true;
    d->vm.topology.memory.size_in_mb = 256;
    d->vm.topology.memory.allow_overcommit = true;
    d->vm.topology.processor.present = true;
    d->vm.topology.processor.count = 1;
    d->vm.devices.present = true;
    c->controllers[0].guid = uvm__doc_scsi_controller_guids[0];
    c->controllers[1].guid = CONFORM_FOREIGN_GUID;
    d->vm.devices.scsi = c->controllers;
    d->vm.devices.scsi_count = CONFORM_CONTROLLERS;
    backend->open(c);
}

static void set_true(void *arg) {
    *(bool *)arg = true;
}

void conform_close_system(struct conform *c) {
    bool closed = false;
    if (c->system != NULL) {
        uvm__hcs_close(c->system, set_true, &closed);
        assert_false(closed);
        while (!closed) {
            c->backend->step(c);
        }
        c->system = NULL;
    }
    conform_say(c, "events: %s", c->events);
    c->events[0] = 0;
    c->exited = false;
    memset(c->counts, 0, sizeof c->counts);
}

void conform_close(struct conform *c) {
    bool closed = false;
    conform_close_system(c);
    uvm__hcs_service_close(c->service, set_true, &closed);
    while (!closed) {
        c->backend->step(c);
    }
    c->backend->close(c);
}

/* ---- calls -------------------------------------------------------------------------------- */

static void on_done(uvm_op *op, const uvm_error *err, void *arg) {
    struct conform_call *call = arg;
    (void)op;
    assert_false(call->done);
    call->done = true;
    call->code = err == NULL ? UVM_OK : (int)uvm_error_code(err);
    (void)snprintf(call->message, sizeof call->message, "%s",
                   err == NULL ? "" : uvm_error_message(err));
}

static void begin(struct conform_call *call, const char *what) {
    memset(call, 0, sizeof *call);
    (void)snprintf(call->what, sizeof call->what, "%s", what);
}

static void started(struct conform *c, struct conform_call *call, int rc) {
    assert_false(call->done); /* never inside the call */
    assert_true((call->op != NULL) == (rc == 0));
    if (rc < 0) {
        conform_say(c, "%s: -%s", call->what, uvm_error_code_name(rc));
    }
}

void conform_start(struct conform *c, struct conform_call *call, const char *what,
                   conform_verb *verb) {
    begin(call, what);
    started(c, call, verb(c->system, NULL, on_done, call, &call->op));
}

void conform_create_text(struct conform *c, struct conform_call *call, const char *text,
                         size_t bytes) {
    const struct uvm__hcs_create_params p = {.id = ID,
                                             .name = "conform",
                                             .document = text,
                                             .document_bytes = bytes,
                                             .on_event = on_event,
                                             .arg = c};
    begin(call, "create");
    started(c, call, uvm__hcs_create(c->service, &p, NULL, on_done, call, &call->op));
}

void conform_create_start(struct conform *c, struct conform_call *call) {
    struct uvm__fail f;
    char *text = NULL;
    size_t bytes;
    if (uvm__doc_build(c->engine, &c->doc, &text, &bytes, &f) < 0) {
        fail_msg("%s", f.msg);
    }
    conform_create_text(c, call, text, bytes);
    uvm__free(c->engine, text);
}

void conform_modify_text(struct conform *c, struct conform_call *call, const char *what,
                         const char *text) {
    const struct uvm__hcs_modify_params p = {.request = text, .request_bytes = strlen(text)};
    begin(call, what);
    started(c, call, uvm__hcs_modify(c->system, &p, NULL, on_done, call, &call->op));
}

void conform_modify_start(struct conform *c, struct conform_call *call, unsigned controller,
                          unsigned lun, const char *file, bool read_only) {
    static const char nobody[] = "99999999-9999-4999-8999-999999999999";
    struct uvm__modify m = {.verb = file == NULL ? UVM__MODIFY_REMOVE : UVM__MODIFY_ADD,
                            .kind = UVM__MODIFY_SCSI,
                            .number = lun,
                            .has_settings = file != NULL};
    char path[400], what[96], *text = NULL;
    struct uvm__fail f;
    size_t bytes;
    (void)snprintf(m.guid, sizeof m.guid, "%s",
                   controller < CONFORM_CONTROLLERS ? c->controllers[controller].guid : nobody);
    if (file != NULL) {
        (void)snprintf(path, sizeof path, "%s/%s", c->folder, file);
        m.settings.scsi = (struct uvm__doc_scsi_attachment){
            .type = "VirtualDisk", .path = path, .read_only = read_only};
    }
    (void)snprintf(what, sizeof what, "%s %u:%u%s%s%s", file == NULL ? "remove" : "add", controller,
                   lun, file == NULL ? "" : " ", file == NULL ? "" : file,
                   read_only ? " read-only" : "");
    if (uvm__modify_build(c->engine, &m, &text, &bytes, &f) < 0) {
        fail_msg("%s", f.msg);
    }
    conform_modify_text(c, call, what, text);
    uvm__free(c->engine, text);
}

void conform_cancel(struct conform_call *call) {
    uvm_op_cancel(call->op);
    assert_false(call->done);
}

void conform_end(struct conform *c, struct conform_call *call) {
    if (call->op == NULL) {
        return;
    }
    while (!call->done) {
        c->backend->step(c);
    }
    conform_say(c, "%s: %s", call->what, uvm_error_code_name(call->code));
    if (strcmp(call->what, "create") == 0) {
        struct uvm__hcs_system *s = uvm__hcs_create_result(c->service, call->op);
        assert_true((s != NULL) == (call->code == UVM_OK));
        assert_null(uvm__hcs_create_result(c->service, call->op)); /* once */
        c->system = s == NULL ? c->system : s;
    }
    call->op = uvm_op_unref(call->op);
}

void conform_do(struct conform *c, const char *what, conform_verb *verb) {
    struct conform_call call;
    conform_start(c, &call, what, verb);
    conform_end(c, &call);
}

void conform_create(struct conform *c) {
    struct conform_call call;
    conform_create_start(c, &call);
    conform_end(c, &call);
    if (c->system == NULL) {
        fail_msg("%s: %s", c->backend->name, call.message);
    }
}

void conform_add(struct conform *c, unsigned controller, unsigned lun, const char *file,
                 bool read_only) {
    struct conform_call call;
    conform_modify_start(c, &call, controller, lun, file, read_only);
    conform_end(c, &call);
}

void conform_remove(struct conform *c, unsigned controller, unsigned lun) {
    conform_add(c, controller, lun, NULL, false);
}

/* ---- properties --------------------------------------------------------------------------- */

static const char *text_of(const cJSON *o, const char *key, char *buf, size_t bytes) {
    const cJSON *node = uvm__json_get(UVM__JSON_STRICT, o, key);
    bool flag;
    if (node == NULL) {
        (void)snprintf(buf, bytes, "-");
    } else if (uvm__json_bool(node, &flag) == 0) {
        (void)snprintf(buf, bytes, "%s", flag ? "true" : "false");
    } else {
        (void)snprintf(buf, bytes, "%s",
                       uvm__json_is_number(node) ? uvm__json_number(node) : uvm__json_string(node));
    }
    return buf;
}

static void say_fields(struct conform *c, const cJSON *o, const char *const *keys) {
    char line[1024] = "", value[512];
    for (; *keys != NULL; keys++) {
        const char *text = text_of(o, *keys, value, sizeof value);
        size_t at = strlen(line), folder = strlen(c->folder);
        if (strncmp(text, c->folder, folder) == 0) {
            text += folder;
        }
        (void)snprintf(line + at, sizeof line - at, " %s=%s", *keys, text);
    }
    conform_say(c, "%s", line);
}

void conform_properties(struct conform *c) {
    static const char *const root[] = {
        "Id",      "Name",     "SystemType", "RuntimeOsType",  "Owner",          "State",
        "Stopped", "ExitType", "RuntimeId",  "ProcessorCount", "MemorySizeInMB", NULL};
    static const char *const disk[] = {"Kind", "ResourcePath", "State",    "Controller",
                                       "Lun",  "Path",         "ReadOnly", NULL};
    const char *text = uvm__hcs_properties(c->system);
    struct uvm__fail f;
    cJSON *tree = NULL;
    char value[64];
    assert_non_null(text);
    assert_int_equal(uvm__json_read(UVM__JSON_STRICT, text, strlen(text), &tree, &f), 0);
    const cJSON *vmm = uvm__json_get(UVM__JSON_STRICT, tree, "Vmm");
    assert_string_equal(text_of(vmm, "Service", value, sizeof value), c->service->ops->name);
    assert_string_not_equal(text_of(vmm, "Accelerator", value, sizeof value), "-");
    conform_say(c, "properties");
    say_fields(c, tree, root);
    const cJSON *list = uvm__json_get(UVM__JSON_STRICT, tree, "Resources"), *o;
    assert_non_null(list);
    cJSON_ArrayForEach(o, list) {
        say_fields(c, o, disk);
    }
    cJSON_Delete(tree);
}
