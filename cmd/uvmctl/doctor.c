/* SPDX-License-Identifier: MIT
 * doctor.c — `uvmctl doctor`: what a boot needs, looked for where a boot would look.
 *
 * A line each: ok, missing (no boot without it) or absent (some feature needs it), what, and what to do. The
 * service itself is asked for the VMM, what it can do, the accelerator (it may run its probe) and the boot
 * files, so that doctor and boot cannot disagree. Exit status 5 when something is missing.
 */
#include "cmd/uvmctl/args.h"
#include "cmd/uvmctl/doctor_host.h"
#include "cmd/uvmctl/out.h"
#include "cmd/uvmctl/packages.h"
#include "cmd/uvmctl/paths.h"
#include "cmd/uvmctl/verbs.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum opt { OPT_JSON, OPT_MAX };

static const struct option_row rows[OPT_MAX + 1] = {
    [OPT_JSON] = {"json", 0, NULL, "the lines as JSON"},
    [OPT_MAX] = {NULL, 0, NULL, NULL},
};

struct doctor {
    struct app app;
    uvm_op *probe; /* one reference, which keeps the service */
    bool json, missing;
    struct json_out out;
};

static void report_status(struct doctor *d, enum finding_status status, const char *check,
                          const char *text, const char *remedy) {
    static const char *const words[] = {
        [FINDING_OK] = "ok", [FINDING_MISSING] = "missing", [FINDING_ABSENT] = "absent"};
    d->missing = d->missing || status == FINDING_MISSING;
    if (!d->json) {
        printf("%-8s %-12s %s\n", words[status], check, text);
        if (status != FINDING_OK) {
            printf("%-8s %-12s remedy: %s\n", "", "", remedy);
        }
        return;
    }
    json_open(&d->out, NULL, '{');
    json_text(&d->out, "check", check);
    json_bool(&d->out, "ok", status == FINDING_OK);
    json_bool(&d->out, "needed", status != FINDING_ABSENT);
    json_text(&d->out, "text", text);
    json_text(&d->out, "remedy", status == FINDING_OK ? NULL : remedy);
    json_close(&d->out, '}');
}

static void report(struct doctor *d, bool ok, const char *check, const char *text,
                   const char *remedy) {
    report_status(d, ok ? FINDING_OK : FINDING_MISSING, check, text, remedy);
}

static void report_finding(struct doctor *d, const char *check, const struct finding *f) {
    report_status(d, f->status, check, f->text, f->remedy);
}

static void check_launch(struct doctor *d) {
    char path[PATH_BYTES];
    bool ok = paths_launch(path);
    report(d, ok, "uvm-launch", path, "install uvm-launch beside uvmctl (\"make all\" does)");
}

#define BOOT_FILE_REMEDY "\"make all\" builds one into out/; $UVM_BOOT_FILES names another folder"

static void check_boot_file(struct doctor *d, const char *check, const char *name,
                            int (*look)(uvm_engine *, const char *, char[UVM_QEMU_LOOK_BYTES],
                                        uvm_error **)) {
    char path[PATH_BYTES], where[2200], what[UVM_QEMU_LOOK_BYTES];
    char text[PATH_BYTES + UVM_QEMU_LOOK_BYTES + 4];
    uvm_error *err = NULL;
    if (!paths_boot_file(name, path, where, sizeof where)) {
        (void)snprintf(text, sizeof text, "no %s in %s", name, where);
        report(d, false, check, text, BOOT_FILE_REMEDY);
    } else if (look(d->app.engine, path, what, &err) < 0) {
        report(d, false, check, uvm_error_message(err), BOOT_FILE_REMEDY);
        uvm_error_unref(err);
    } else {
        (void)snprintf(text, sizeof text, "%s: %s", path, what);
        report(d, true, check, text, NULL);
    }
}

static void check_tools(struct doctor *d) {
    char path[PATH_BYTES], where[2200], text[2300];
    bool there = paths_boot_file("tools.img", path, where, sizeof where);
    (void)snprintf(text, sizeof text,
                   "no tools.img in %s, for disks that are formatted by the guest", where);
    report_status(d, there ? FINDING_OK : FINDING_ABSENT, "tools disk", there ? path : text,
                  BOOT_FILE_REMEDY);
}

static void check_host(struct doctor *d) {
    struct finding f;
    doctor_state(&f);
    report_finding(d, "state folder", &f);
    doctor_rights(&f);
    report_finding(d, "rights", &f);
    doctor_namespaces(&f);
    report_finding(d, "namespaces", &f);
    doctor_cgroup(&f);
    report_finding(d, "cgroup", &f);
    doctor_iommu(&f);
    report_finding(d, "IOMMU", &f);
    doctor_vfio(&f);
    report_finding(d, "vfio", &f);
    for (const struct doctor_program *p = doctor_programs; p->check != NULL; p++) {
        doctor_program(p, &f);
        report_finding(d, p->check, &f);
    }
}

/* ---- the VMM ------------------------------------------------------------------------------ */

#define VMM_REMEDY "apt-get install --no-install-recommends " PACKAGES_RUN

/* All that it can do in one line, and a line for each thing that it cannot. */
static void report_capabilities(struct doctor *d, const struct uvm_qemu_facts *f) {
    char can[512] = "";
    for (size_t i = 0; i < f->capabilities_count; i++) {
        const struct uvm_qemu_capability *c = &f->capabilities[i];
        size_t len = strlen(can);
        if (c->present) {
            (void)snprintf(can + len, sizeof can - len, "%s%s", len == 0 ? "" : ", ", c->name);
        }
    }
    report_status(d, can[0] == 0 ? FINDING_ABSENT : FINDING_OK, "vmm can",
                  can[0] == 0 ? "nothing that is asked of it" : can, VMM_REMEDY);
    for (size_t i = 0; i < f->capabilities_count; i++) {
        const struct uvm_qemu_capability *c = &f->capabilities[i];
        char text[200];
        (void)snprintf(text, sizeof text, "%s, for %s", c->name, c->use);
        if (!c->present) {
            report_status(d, c->needed ? FINDING_MISSING : FINDING_ABSENT, "vmm cannot", text,
                          VMM_REMEDY " (this build of QEMU lacks it)");
        }
    }
}

static void report_probe_error(struct doctor *d, const uvm_error *err) {
    char text[700];
    const char *detail = uvm_error_detail(err);
    (void)snprintf(text, sizeof text, "%s%s%.*s", uvm_error_message(err),
                   detail[0] == 0 ? "" : "; ", (int)strcspn(detail, "\n"), detail);
    report(d, false, "vmm", text, VMM_REMEDY);
}

static void on_service_probed(uvm_op *op, const uvm_error *err, void *arg) {
    struct doctor *d = arg;
    if (err != NULL) {
        report_probe_error(d, err);
    } else {
        const struct uvm_qemu_facts *f = uvm_qemu_service_probe_result(op);
        char text[PATH_BYTES + 64];
        (void)snprintf(text, sizeof text, "%s: version %s", f->qemu_path, f->version);
        report(d, true, "vmm", text, NULL);
        report_capabilities(d, f);
        (void)snprintf(text, sizeof text, "%s: %s", f->accel, f->reason);
        report(d, true, "accelerator", text, NULL);
        report(d, true, "vmm user", f->user, NULL);
    }
    check_host(d);
    d->probe = uvm_op_unref(d->probe);
    app_close(&d->app);
}

static void on_interrupt(struct app *app, int signo, unsigned times) {
    struct doctor *d = app->arg;
    (void)signo;
    (void)times;
    if (d->probe != NULL) {
        uvm_op_cancel(d->probe);
    }
}

static bool on_option(const struct option_row *row, const char *value, void *arg) {
    struct doctor *d = arg;
    (void)value;
    d->json = row == &rows[OPT_JSON];
    out_set_json(d->json);
    return true;
}

static bool on_word(const char *word, void *arg) {
    (void)arg;
    out_usage("doctor: it takes no \"%s\"", word);
    return false;
}

static int examine(struct doctor *d) {
    struct app_params p = {.accel = UVM_QEMU_ACCEL_AUTO};
    if (!app_open(&d->app, &p)) {
        return EXIT_FAILED;
    }
    if (d->json) {
        json_open(&d->out, NULL, '[');
    }
    check_launch(d);
    check_boot_file(d, "kernel", "vmlinux", uvm_qemu_kernel_look);
    check_boot_file(d, "initrd", "initrd.img", uvm_qemu_initrd_look);
    check_tools(d);
    d->app.arg = d;
    d->app.on_interrupt = on_interrupt;
    if (uvm_qemu_service_probe(d->app.service, NULL, on_service_probed, d, &d->probe) < 0) {
        out_message("out of memory");
        d->missing = true;
        app_close(&d->app);
    }
    app_run(&d->app);
    app_deinit(&d->app);
    if (d->json) {
        json_close(&d->out, ']');
        (void)json_finish(&d->out, STDOUT_FILENO);
    }
    if (d->app.interrupted != 0) {
        return EXIT_SIGNAL + d->app.interrupted;
    }
    return d->missing ? EXIT_HOST : EXIT_DONE;
}

static int doctor(char **argv) {
    struct doctor d = {0};
    struct args a = {"doctor", rows, on_option, on_word, &d, NULL, false};
    if (!args_parse(&a, argv)) {
        return EXIT_USAGE;
    }
    if (a.help) {
        help_verb(stdout, &verb_doctor);
        return EXIT_DONE;
    }
    return examine(&d);
}

const struct verb verb_doctor = {
    .name = "doctor",
    .summary = "check what this host has for booting UVMs",
    .words = "[--json]",
    .about =
        "Checks what this host has for UVMs, a line each with the remedy. What is missing keeps a\n"
        "UVM from booting, here or in the background; what is absent, something else needs.",
    .options = rows,
    .status = "0, or 5 when something is missing.",
    .example = "uvmctl doctor",
    .run = doctor,
};
