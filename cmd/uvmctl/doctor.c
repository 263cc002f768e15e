/* SPDX-License-Identifier: MIT
 * doctor.c — `uvmctl doctor`: what a boot needs, looked for where a boot would look.
 *
 * A line each: found or missing, what, and what to do. The service itself is asked for the VMM and the
 * accelerator (it may run its probe), so that doctor and boot cannot disagree. Exit status 5 when
 * something is missing without which no boot works.
 */
#include "cmd/uvmctl/args.h"
#include "cmd/uvmctl/out.h"
#include "cmd/uvmctl/packages.h"
#include "cmd/uvmctl/paths.h"
#include "cmd/uvmctl/verbs.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
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

static void report(struct doctor *d, bool ok, const char *check, const char *text,
                   const char *remedy) {
    d->missing = d->missing || !ok;
    if (!d->json) {
        printf("%-8s %-12s %s\n", ok ? "ok" : "missing", check, text);
        if (!ok) {
            printf("%-8s %-12s remedy: %s\n", "", "", remedy);
        }
        return;
    }
    json_open(&d->out, NULL, '{');
    json_text(&d->out, "check", check);
    json_bool(&d->out, "ok", ok);
    json_text(&d->out, "text", text);
    json_text(&d->out, "remedy", ok ? NULL : remedy);
    json_close(&d->out, '}');
}

static void check_launch(struct doctor *d) {
    char path[PATH_BYTES];
    bool ok = paths_launch(path);
    report(d, ok, "uvm-launch", path, "install uvm-launch beside uvmctl (\"make all\" does)");
}

static void check_boot_file(struct doctor *d, const char *check, const char *name) {
    char path[PATH_BYTES], where[2200];
    char text[PATH_BYTES + 64];
    if (!paths_boot_file(name, path, where, sizeof where)) {
        (void)snprintf(text, sizeof text, "no %s in %s", name, where);
        report(d, false, check, text, "\"make all\" builds one into out/");
        return;
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st = {0};
    bool ok = fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0;
    (void)snprintf(text, sizeof text, "%s%s%s", path, ok ? "" : ": ",
                   ok       ? ""
                   : fd < 0 ? strerror(errno)
                            : "it is empty, or no file");
    if (fd >= 0) {
        close(fd);
    }
    report(d, ok, check, text, "make it readable, or build it anew with \"make all\"");
}

static void on_service_probed(uvm_op *op, const uvm_error *err, void *arg) {
    struct doctor *d = arg;
    if (err != NULL) {
        report(d, false, "vmm", uvm_error_message(err),
               "apt-get install --no-install-recommends " PACKAGES_RUN);
    } else {
        const struct uvm_qemu_facts *f = uvm_qemu_service_probe_result(op);
        char text[512];
        report(d, true, "vmm", f->qemu_path, NULL);
        (void)snprintf(text, sizeof text, "%s: %s", f->accel, f->reason);
        report(d, true, "accelerator", text, NULL);
        report(d, true, "vmm user", f->user, NULL);
    }
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
    check_boot_file(d, "kernel", "vmlinux");
    check_boot_file(d, "initrd", "initrd.img");
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
    .about = "Checks what this host has for booting UVMs, a line each with the remedy.",
    .options = rows,
    .status = "0, or 5 when something is missing that a boot needs.",
    .example = "uvmctl doctor",
    .run = doctor,
};
