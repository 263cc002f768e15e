/* SPDX-License-Identifier: MIT
 * boot.c — `uvmctl boot`: a UVM in the foreground, with a command or its console.
 *
 * The words of the command line become params of one run (run.c) or of many (measure.c). A foreground boot
 * writes nothing to disk: no state folder, no socket, no log file. With a command the exit status is the
 * command's; 125 stands for everything that went wrong before it could have one, a wrong option included,
 * since 2 might be the command's own.
 */
#include "cmd/uvmctl/args.h"
#include "cmd/uvmctl/boot_devices.h"
#include "cmd/uvmctl/console.h"
#include "cmd/uvmctl/detach.h"
#include "cmd/uvmctl/out.h"
#include "cmd/uvmctl/paths.h"
#include "cmd/uvmctl/progress.h"
#include "cmd/uvmctl/terminal.h"
#include "cmd/uvmctl/verbs.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LIST_MAX 128u
#define COUNT_MAX 100000u
#define PARALLEL_MAX 64u
#define DOCUMENT_BYTES_MAX (1u << 20)
#define DEFAULT_PATH "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

enum opt {
    OPT_NAME,
    OPT_DETACH,
    OPT_CPUS,
    OPT_MEMORY,
    OPT_KERNEL,
    OPT_INITRD,
    OPT_ROOTFS,
    OPT_ROOTFS_ON,
    OPT_SCSI,
    OPT_VPMEM,
    OPT_VPCI,
    OPT_VSMB,
    OPT_PLAN9,
    OPT_NIC,
    OPT_APPEND,
    OPT_ANNOTATION,
    OPT_DOCUMENT,
    OPT_ACCEL,
    OPT_CGROUP,
    OPT_TTY,
    OPT_ENV,
    OPT_WORKDIR,
    OPT_USER,
    OPT_JSON,
    OPT_COUNT,
    OPT_PARALLEL,
    OPT_MEASURE,
    OPT_TIMEOUT,
    OPT_VERBOSE,
    OPT_MAX
};

static const struct option_row rows[OPT_MAX + 1] = {
    [OPT_NAME] = {"name", 0, "NAME", "a name for the UVM"},
    [OPT_DETACH] = {"detach", 'd', NULL, "in the background; prints the name once it runs"},
    [OPT_CPUS] = {"cpus", 0, "N", "processors (1)"},
    [OPT_MEMORY] = {"memory", 0, "SIZE", "memory: 256M, 1G (256M)"},
    [OPT_KERNEL] = {"kernel", 0, "FILE", "the guest's kernel"},
    [OPT_INITRD] = {"initrd", 0, "FILE", "the guest's initial file system"},
    [OPT_ROOTFS] = {"rootfs", 0, "FILE", "a disk image with the guest's root file system"},
    [OPT_ROOTFS_ON] = {"rootfs-on", 0, "scsi|vpmem", "as which device the guest sees it (scsi)"},
    [OPT_SCSI] = {"scsi", 0, "HOST[,GUEST[,ro|encrypted|verity=HASH]]",
                  "a disk from the start, mounted on GUEST; may be repeated"},
    [OPT_VPMEM] = {"vpmem", 0, "HOST[,GUEST[,verity=HASH]]",
                   "an image in virtual PMem from the start, mounted; may be repeated"},
    [OPT_VSMB] = {"vsmb", 0, "HOST[,GUEST[,ro]]",
                  "a shared folder or file from the start, mounted; may be repeated"},
    [OPT_PLAN9] = {"plan9", 0, "HOST[,GUEST[,ro]]",
                   "a folder shared by 9P from the start, mounted; may be repeated"},
    [OPT_NIC] = {"nic", 0, "user|tap=NAME|netns=PATH",
                 "a network adapter and what it is joined to; may be repeated"},
    [OPT_VPCI] = {"vpci", 0, "DEVICE[/N][,GUID]",
                  "a PCI function from the start (see attach); may be repeated"},
    [OPT_APPEND] = {"append", 0, "ARGS", "further kernel arguments"},
    [OPT_ANNOTATION] = {"annotation", 0, "K=V", "an option by its annotation; may be repeated"},
    [OPT_DOCUMENT] = {"document", 0, "FILE", "an HCS ComputeSystem to start from"},
    [OPT_ACCEL] = {"accel", 0, "auto|kvm|tcg", "what runs the guest's code (auto)"},
    [OPT_CGROUP] = {"cgroup", 0, "DIR",
                    "a control group (v2) for the UVM, made when it is missing"},
    [OPT_TTY] = {"tty", 't', NULL, "give the command a terminal"},
    [OPT_ENV] = {"env", 'e', "K=V",
                 "a variable of the command; K alone takes ours; may be repeated"},
    [OPT_WORKDIR] = {"workdir", 'w', "DIR", "the command's folder (/)"},
    [OPT_USER] = {"user", 'u', "USER", "the command's user: name or uid, with :group (root)"},
    [OPT_JSON] = {"json", 0, NULL, "the result as JSON, with the command's output in it"},
    [OPT_COUNT] = {"count", 0, "N", "boot N times; the command's output is dropped"},
    [OPT_PARALLEL] = {"parallel", 0, "M", "M at a time (1)"},
    [OPT_MEASURE] = {"measure", 0, NULL, "print a table of the times"},
    [OPT_TIMEOUT] = {"timeout", 0, "DUR", "give up after 500ms, 30s, 2m"},
    [OPT_VERBOSE] = {"verbose", 'v', NULL, "say what happens; twice, thrice: in detail"},
    [OPT_MAX] = {NULL, 0, NULL, NULL},
};

struct boot_args {
    struct run_params run;
    enum uvm_qemu_accel accel;
    const char *annotations[LIST_MAX + 1];
    const char *env[LIST_MAX + 3];
    size_t annotations_count, env_count;
    const char *document_path;
    char *document;
    char *env_copies[LIST_MAX]; /* ours to free */
    char kernel[PATH_BYTES], initrd[PATH_BYTES], tools[PATH_BYTES], term[64];
    char *rootfs; /* as the engine wants it; ours to free */
    struct boot_devices devices;
    uint64_t timeout_ms;
    uint32_t count, parallel;
    unsigned verbose;
    bool json, measure, parallel_given, detach;
};

/* ---- the command line --------------------------------------------------------------------- */

static bool bad_value(enum opt o, const char *value, const char *wanted) {
    out_usage("boot: --%s: \"%s\" is not %s", rows[o].name, value, wanted);
    return false;
}

static bool read_cpus(struct boot_args *b, const char *value) {
    uint64_t n;
    long host = sysconf(_SC_NPROCESSORS_ONLN);
    if (!args_read_number(value, 1, UVM_VM_CPUS_MAX, &n)) {
        return bad_value(OPT_CPUS, value, "a number from 1 to 64");
    }
    if (host > 0 && n > (uint64_t)host) {
        out_usage("boot: --cpus: %s, but this host has %ld", value, host);
        return false;
    }
    b->run.vm.cpus = (uint32_t)n;
    return true;
}

static bool read_accel(struct boot_args *b, const char *value) {
    static const char *const names[] = {
        [UVM_QEMU_ACCEL_AUTO] = "auto", [UVM_QEMU_ACCEL_KVM] = "kvm", [UVM_QEMU_ACCEL_TCG] = "tcg"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(value, names[i]) == 0) {
            b->accel = (enum uvm_qemu_accel)i;
            return true;
        }
    }
    return bad_value(OPT_ACCEL, value, "auto, kvm or tcg");
}

static bool add_env(struct boot_args *b, const char *value) {
    if (b->env_count == LIST_MAX) {
        out_usage("boot: --env: more than %u", LIST_MAX);
        return false;
    }
    if (value[0] == 0 || value[0] == '=') {
        out_usage("boot: --env: it is not K=V"); /* what a command is told is not repeated */
        return false;
    }
    if (strchr(value, '=') == NULL) {
        const char *ours = getenv(value);
        size_t bytes = strlen(value) + (ours == NULL ? 0 : strlen(ours)) + 2;
        char *copy = ours == NULL ? NULL : malloc(bytes);
        if (copy == NULL) {
            return ours == NULL || bad_value(OPT_ENV, value, "small enough for memory");
        }
        (void)snprintf(copy, bytes, "%s=%s", value, ours);
        b->env_copies[b->env_count] = copy;
        value = copy;
    }
    b->env[b->env_count++] = value;
    return true;
}

static bool read_count(enum opt o, const char *value, uint64_t max, uint32_t *ret) {
    uint64_t n;
    if (!args_read_number(value, 1, max, &n)) {
        return bad_value(o, value,
                         o == OPT_COUNT ? "a number from 1 to 100000" : "a number from 1 to 64");
    }
    *ret = (uint32_t)n;
    return true;
}

static bool on_value(struct boot_args *b, enum opt o, const char *value) {
    struct uvm_vm_params *vm = &b->run.vm;
    switch (o) {
    case OPT_CPUS:
        return read_cpus(b, value);
    case OPT_MEMORY:
        return args_read_size_mb(value, &vm->memory_mb) && vm->memory_mb != 0
                   ? true
                   : bad_value(o, value, "a size like 256M or 1G");
    case OPT_ACCEL:
        return read_accel(b, value);
    case OPT_ENV:
        return add_env(b, value);
    case OPT_ROOTFS_ON:
        vm->rootfs_on = strcmp(value, "vpmem") == 0 ? UVM_ROOTFS_ON_VPMEM : UVM_ROOTFS_ON_SCSI;
        return strcmp(value, "scsi") == 0 || strcmp(value, "vpmem") == 0 ||
               bad_value(o, value, "scsi or vpmem");
    case OPT_ROOTFS:
        free(b->rootfs);
        b->rootfs = disk_host_path("boot: --rootfs", value);
        vm->rootfs = b->rootfs;
        return b->rootfs != NULL;
    case OPT_SCSI:
        return boot_devices_add(&b->devices, BOOT_SCSI, value, vm);
    case OPT_VPMEM:
        return boot_devices_add(&b->devices, BOOT_VPMEM, value, vm);
    case OPT_VSMB:
        return boot_devices_add(&b->devices, BOOT_VSMB, value, vm);
    case OPT_PLAN9:
        return boot_devices_add(&b->devices, BOOT_PLAN9, value, vm);
    case OPT_NIC:
        return boot_devices_add(&b->devices, BOOT_NIC, value, vm);
    case OPT_VPCI:
        return boot_devices_add(&b->devices, BOOT_VPCI, value, vm);
    case OPT_ANNOTATION:
        if (b->annotations_count == LIST_MAX) {
            out_usage("boot: --annotation: more than %u", LIST_MAX);
            return false;
        }
        b->annotations[b->annotations_count++] = value;
        return true;
    case OPT_COUNT:
        return read_count(o, value, COUNT_MAX, &b->count);
    case OPT_PARALLEL:
        b->parallel_given = true;
        return read_count(o, value, PARALLEL_MAX, &b->parallel);
    case OPT_TIMEOUT:
        return args_read_duration_ms(value, &b->timeout_ms)
                   ? true
                   : bad_value(o, value, "a duration like 500ms, 30s or 2m");
    default:
        return false;
    }
}

static bool on_option(const struct option_row *row, const char *value, void *arg) {
    struct boot_args *b = arg;
    enum opt o = (enum opt)(row - rows);
    const char **texts[OPT_MAX] = {
        [OPT_NAME] = &b->run.vm.name,       [OPT_KERNEL] = &b->run.vm.kernel,
        [OPT_INITRD] = &b->run.vm.initrd,   [OPT_APPEND] = &b->run.vm.append,
        [OPT_DOCUMENT] = &b->document_path, [OPT_WORKDIR] = &b->run.cwd,
        [OPT_USER] = &b->run.user,          [OPT_CGROUP] = &b->run.vm.cgroup,
    };
    bool *flags[OPT_MAX] = {[OPT_TTY] = &b->run.tty,
                            [OPT_JSON] = &b->json,
                            [OPT_MEASURE] = &b->measure,
                            [OPT_DETACH] = &b->detach};
    if (texts[o] != NULL) {
        *texts[o] = value;
        return true;
    }
    if (flags[o] != NULL) {
        *flags[o] = true;
        return true;
    }
    if (o == OPT_VERBOSE) {
        b->verbose++;
        return true;
    }
    return on_value(b, o, value);
}

static bool on_word(const char *word, void *arg) {
    (void)arg;
    out_usage("boot: \"%s\" is no option; a command stands after --", word);
    return false;
}

static bool combines(const struct boot_args *b) {
    const char *why = NULL;
    bool many = b->count > 1 || b->measure;
    if (b->run.command != NULL && b->run.command[0] == NULL) {
        why = "after -- there is no command";
    } else if (b->run.command == NULL &&
               (b->run.tty || b->env_count > 0 || b->run.cwd != NULL || b->run.user != NULL)) {
        why = "-t, -e, -w and -u are about a command, and there is none";
    } else if (b->run.tty && (many || b->json)) {
        why = "-t does not go with --count, --measure or --json";
    } else if (b->detach && (many || b->run.command != NULL)) {
        why = "--detach goes with no command and no --count; \"uvmctl exec\" runs commands in it";
    } else if (b->parallel_given && !many) {
        why = "--parallel is about --count";
    } else if (b->run.vm.cgroup != NULL && b->parallel > 1) {
        why = "--cgroup: each UVM has one of its own, so it does not go with --parallel";
    } else if (b->json && b->run.command == NULL && !many && !b->detach) {
        why = "--json is about a command, or about --count and --measure";
    } else if (b->run.tty && !isatty(STDIN_FILENO)) {
        why = "-t: standard input is no terminal";
    }
    if (why != NULL) {
        out_usage("boot: %s", why);
    }
    return why == NULL;
}

/* ---- files -------------------------------------------------------------------------------- */

static bool read_document(struct boot_args *b) {
    if (b->document_path == NULL) {
        return true;
    }
    int fd = open(b->document_path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size > DOCUMENT_BYTES_MAX) {
        out_usage("boot: --document: %s: %s", b->document_path,
                  fd < 0 ? strerror(errno) : "not a file of at most 1 MiB");
        if (fd >= 0) {
            close(fd);
        }
        return false;
    }
    size_t bytes = (size_t)st.st_size;
    b->document = malloc(bytes + 1);
    size_t got = 0;
    ssize_t n = b->document == NULL ? -1 : 1;
    while (n > 0 && got < bytes) {
        n = read(fd, b->document + got, bytes - got);
        got += n > 0 ? (size_t)n : 0;
    }
    close(fd);
    if (n < 0 || got < bytes) {
        out_usage("boot: --document: %s: could not be read", b->document_path);
        return false;
    }
    b->run.vm.document = b->document;
    b->run.vm.document_bytes = bytes;
    return true;
}

/* A document names its own files; options win over them. */
static bool find_boot_files(struct boot_args *b) {
    const struct {
        const char **path;
        char *memory;
        const char *name, *option;
    } files[] = {{&b->run.vm.kernel, b->kernel, "vmlinux", "kernel"},
                 {&b->run.vm.initrd, b->initrd, "initrd.img", "initrd"}};
    if (paths_boot_file("tools.img", b->tools, NULL, 0)) {
        b->run.vm.tools = b->tools; /* else what needs it says so */
    }
    if (b->document != NULL) {
        return true;
    }
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char where[2200];
        if (*files[i].path == NULL) {
            if (!paths_boot_file(files[i].name, files[i].memory, where, sizeof where)) {
                out_usage("boot: no %s in %s; build one with \"make all\", or name one with --%s",
                          files[i].name, where, files[i].option);
                return false;
            }
            *files[i].path = files[i].memory;
        }
    }
    return true;
}

static bool has_env(const struct boot_args *b, const char *key) {
    for (size_t i = 0; i < b->env_count; i++) {
        if (strncmp(b->env[i], key, strlen(key)) == 0) {
            return true;
        }
    }
    return false;
}

static void complete(struct boot_args *b) {
    if (!has_env(b, "PATH=")) {
        b->env[b->env_count++] = DEFAULT_PATH;
    }
    if (b->run.tty && !has_env(b, "TERM=")) {
        const char *term = getenv("TERM");
        (void)snprintf(b->term, sizeof b->term, "TERM=%s", term == NULL ? "linux" : term);
        b->env[b->env_count++] = b->term;
    }
    b->run.env = b->env;
    b->run.vm.annotations = b->annotations_count == 0 ? NULL : b->annotations;
    b->run.vm.log_level = b->verbose >= 3 ? "trace" : b->verbose == 2 ? "debug" : NULL;
    b->run.output = b->json ? RUN_CAPTURE : RUN_RELAY;
}

/* ---- one boot ----------------------------------------------------------------------------- */

struct single {
    struct app *app;
    struct run run;
    struct console *console;
};

static void on_console_gone(void *arg) {
    run_output_gone(arg);
}

static void on_console(uvm_vm *vm, const void *data, size_t bytes, void *arg) {
    struct run *run = arg;
    struct single *s = run->arg;
    (void)vm;
    if (s->console != NULL) {
        console_write(s->console, data, bytes);
    }
}

static void on_over(struct run *run) {
    struct single *s = run->arg;
    console_close(s->console);
    s->console = NULL;
    progress_close(s->app->progress);
    s->app->progress = NULL;
    app_close(s->app);
}

static void on_interrupt(struct app *app, int signo, unsigned times) {
    struct single *s = app->arg;
    (void)signo;
    run_interrupt(&s->run, times);
}

static void on_resize(struct app *app) {
    struct single *s = app->arg;
    run_resize(&s->run);
}

static void print_result(const struct run *r) {
    struct json_out j = {0};
    json_open(&j, NULL, '{');
    json_text(&j, "id", r->id);
    json_text(&j, "name", r->name);
    json_text(&j, "accel", r->accel);
    json_open(&j, "times_ms", '{');
    json_int(&j, "create", (int64_t)r->times.create);
    json_int(&j, "vmm_start", (int64_t)r->times.vmm_start);
    json_int(&j, "first_guest_contact", (int64_t)r->times.first_guest_contact);
    json_int(&j, "negotiated", (int64_t)r->times.negotiated);
    json_int(&j, "total", (int64_t)r->total_ms);
    json_close(&j, '}');
    json_int(&j, "exit_code", r->status);
    json_string(&j, "stdout", r->captured[0].data == NULL ? "" : r->captured[0].data,
                r->captured[0].len);
    json_string(&j, "stderr", r->captured[1].data == NULL ? "" : r->captured[1].data,
                r->captured[1].len);
    if (r->captured[0].truncated || r->captured[1].truncated) {
        json_bool(&j, "truncated", true);
    }
    json_close(&j, '}');
    (void)json_finish(&j, STDOUT_FILENO);
}

static int boot_once(struct app *app, struct boot_args *b) {
    struct single s = {.app = app};
    app->arg = &s;
    app->on_interrupt = on_interrupt;
    app->on_resize = b->run.tty ? on_resize : NULL;
    app->progress = b->verbose == 0 && !b->json ? progress_open(&app->loop) : NULL;
    if (b->run.command == NULL) {
        b->run.vm.on_console = on_console;
        s.console = console_open(&app->loop, STDOUT_FILENO, on_console_gone, &s.run);
    }
    run_start(&s.run, app, &b->run, on_over, &s);
    app_run(app);
    if (s.run.error != NULL && app->interrupted != 0 && !b->json) {
        out_message("interrupted");
    } else if (s.run.error != NULL) {
        out_error(s.run.error);
    } else if (b->json && s.run.has_status) {
        print_result(&s.run);
    }
    int status = s.run.status;
    run_deinit(&s.run);
    return status;
}

static int boot_with(struct boot_args *b) {
    struct app app = {0};
    struct app_params p = {.accel = b->accel,
                           .verbose = b->verbose,
                           .want_spans = out_stderr_is_terminal() && b->count <= 1 && !b->json};
    if (!app_open(&app, &p)) {
        return EXIT_ENGINE;
    }
    app.timeout_ms = b->timeout_ms;
    int status = b->count > 1 || b->measure
                     ? measure(&app, &b->run, b->count, b->parallel, b->measure, b->json)
                 : b->detach ? detach_own(&app, &b->run)
                             : boot_once(&app, b);
    app_deinit(&app);
    return status;
}

static int boot(char **argv) {
    struct boot_args b = {.run = {.vm = UVM_VM_PARAMS_INIT}, .count = 1, .parallel = 1};
    struct args a = {"boot", rows, on_option, on_word, &b, NULL, false};
    for (char **w = argv; *w != NULL && strcmp(*w, "--") != 0; w++) {
        if (strcmp(*w, "--json") == 0) {
            out_set_json(true);
        }
    }
    bool ok = args_parse(&a, argv);
    if (ok && a.help) {
        help_verb(stdout, &verb_boot);
        return EXIT_DONE;
    }
    b.run.command = a.command;
    ok = ok && combines(&b) && read_document(&b) && find_boot_files(&b);
    int status = EXIT_USAGE;
    if (ok) {
        complete(&b);
        status = b.detach && !detach_is_owner() ? detach_boot(argv, b.json) : boot_with(&b);
    } else {
        for (char **w = argv; *w != NULL; w++) {
            status = strcmp(*w, "--") == 0 ? EXIT_ENGINE : status;
        }
    }
    for (size_t i = 0; i < LIST_MAX; i++) {
        free(b.env_copies[i]);
    }
    boot_devices_free(&b.devices);
    free(b.rootfs);
    free(b.document);
    return status;
}

const struct verb verb_boot = {
    .name = "boot",
    .summary = "boot a UVM, run a command in it, leave nothing",
    .words = "[OPTION…] [-- CMD ARG…]",
    .about =
        "Boots a UVM, runs CMD in it, ends with CMD's exit status, leaves nothing. Without CMD it\n"
        "stays until the UVM has ended, its console on the terminal. $UVM_VMS_MAX and\n"
        "$UVM_MEMORY_MB_MAX bound how many UVMs may be there, and their memory in all.",
    .options = rows,
    .status = "the command's (128 + n when signal n ended it); 124 the timeout passed,\n"
              "125 the engine failed, 126 not runnable, 127 not found, 130 interrupted.",
    .example = "uvmctl boot --memory 512M -- sh -c 'uname -a; free -m'",
    .run = boot,
};
