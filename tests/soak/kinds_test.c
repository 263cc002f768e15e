/* SPDX-License-Identifier: MIT
 * kinds_test.c — random attaches and detaches of every kind of device on one real VM; engine, service, guest and a
 * model must agree, always.
 *
 * kinds_test KERNEL INITRD UVM-LAUNCH STEPS [SEED]. A row of `kinds` says how a thing of that kind is made, attached,
 * and seen from the guest; the rest is the same for all. After every step the engine's list, the service's resources
 * and what one command sees in the guest are compared with the model; files that the guest writes into a share are
 * compared on the host. At the end everything is detached, and the harness's census must find nothing.
 */
#include "async/json.h"
#include "tests/harness/harness_qemu.h"
#include "tests/unit/cm.h"
#include "uvm/devices.h"
#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    THINGS = 3, /* of each kind; the second one is read-only where its kind knows that */
    IDS_MAX = 65536,
    VIEWS_MAX = 200,
    BURST = 4,
};

struct thing {
    const struct kind *kind;
    unsigned number;
    char host[PATH_MAX];    /* image or folder, or what stands for it */
    char guest[32];         /* "/m/scsi-0" */
    char service[PATH_MAX]; /* a word of the service's about this thing and no other */
    char seen[96];          /* the guest's line about it, without the content */
    bool read_only;
    unsigned content; /* the number in its file "f" */

    char id[32];
    unsigned refs; /* of the model */
};

struct kind {
    const char *name;
    bool read_only, files; /* always; has files */
    bool shared;           /* what is attached is shared, and not refused */
    void (*make)(struct thing *t);
    int (*attach)(struct thing *t, uvm_done_fn done, void *arg, uvm_op **ret_op);
    /* After the attach: what it is called in the guest and by the service, where that is known only now. */
    void (*attached)(struct thing *t, const struct uvm_attach_result *r);
    /* The number in its file on the host; NULL: the file is not seen there. */
    unsigned (*host_content)(const struct thing *t);
};

static char **args;
static struct uvm_qemu_params qemu = UVM_QEMU_PARAMS_INIT;
static uvm_harness *h;
static uint64_t seed = 20, random_state;
static unsigned steps, step, views, retries, ids;
static char folder[PATH_MAX], what[256];
static bool used[IDS_MAX];
static unsigned codes[UVM_E_MAX + 1];

#define FAIL(...)                                                                                  \
    do {                                                                                           \
        fprintf(stderr, "seed %llu, step %u, %s: ", (unsigned long long)seed, step, what);         \
        fprintf(stderr, __VA_ARGS__);                                                              \
        fprintf(stderr, "\nthe engine: %s\n", uvm_vm_devices(uvm_harness_vm(h)));                  \
        fail();                                                                                    \
    } while (0)

static unsigned any(unsigned below) {
    random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (unsigned)((random_state >> 33) % below);
}

static uvm_vm *vm(void) {
    return uvm_harness_vm(h);
}

/* ---- images and folders ------------------------------------------------------------------- */

static void write_text(const char *path, const char *text) {
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

/* 0: none is there. */
static unsigned read_number(const char *path) {
    char text[32] = "";
    FILE *f = fopen(path, "re");
    if (f != NULL) {
        (void)!fgets(text, sizeof text, f);
        (void)fclose(f);
    }
    return (unsigned)strtoul(text, NULL, 10);
}

/* A folder with "f", which holds the thing's first number. */
static void make_folder(struct thing *t) {
    char file[PATH_MAX + 8], number[16];
    assert_int_equal(mkdir(t->host, 0777), 0);
    (void)snprintf(file, sizeof file, "%s/f", t->host);
    (void)snprintf(number, sizeof number, "%u\n", t->content);
    write_text(file, number);
}

static void make_image(struct thing *t) {
    struct thing content = *t;
    char command[3 * PATH_MAX];
    (void)snprintf(content.host, sizeof content.host, "%.4000s.d", t->host);
    make_folder(&content);
    (void)snprintf(command, sizeof command,
                   "mkfs.ext4 -qF -d %.4000s %.4000s 4M >/dev/null && rm -r %.4000s", content.host,
                   t->host, content.host);
    char *const argv[] = {(char *)(uintptr_t) "sh", (char *)(uintptr_t) "-ec", command, NULL};
    char *const env[] = {(char *)(uintptr_t) "PATH=/sbin:/usr/sbin:/bin:/usr/bin", NULL};
    pid_t pid;
    int status = -1;
    assert_int_equal(posix_spawn(&pid, "/bin/sh", NULL, NULL, argv, env), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

/* ---- kinds -------------------------------------------------------------------------------- */

static int attach_scsi(struct thing *t, uvm_done_fn done, void *arg, uvm_op **ret_op) {
    struct uvm_scsi_params p = UVM_SCSI_PARAMS_INIT;
    p.host_path = t->host;
    p.read_only = t->read_only;
    p.guest_path = t->guest;
    return uvm_scsi_attach(vm(), &p, NULL, done, arg, ret_op);
}

static int attach_vpmem(struct thing *t, uvm_done_fn done, void *arg, uvm_op **ret_op) {
    struct uvm_vpmem_params p = UVM_VPMEM_PARAMS_INIT;
    p.host_path = t->host;
    p.guest_path = t->guest;
    return uvm_vpmem_attach(vm(), &p, NULL, done, arg, ret_op);
}

static int attach_vsmb(struct thing *t, uvm_done_fn done, void *arg, uvm_op **ret_op) {
    struct uvm_vsmb_params p = UVM_VSMB_PARAMS_INIT;
    p.host_path = t->host;
    p.guest_path = t->guest;
    p.read_only = t->read_only;
    return uvm_vsmb_attach(vm(), &p, NULL, done, arg, ret_op);
}

static int attach_plan9(struct thing *t, uvm_done_fn done, void *arg, uvm_op **ret_op) {
    struct uvm_plan9_params p = UVM_PLAN9_PARAMS_INIT;
    p.host_path = t->host;
    p.guest_path = t->guest;
    p.read_only = t->read_only;
    return uvm_plan9_attach(vm(), &p, NULL, done, arg, ret_op);
}

static unsigned folder_content(const struct thing *t) {
    char path[PATH_MAX + 8];
    (void)snprintf(path, sizeof path, "%s/f", t->host);
    return read_number(path);
}

/* Each its own MAC, so that attaching it again is refused. */
static void make_nic(struct thing *t) {
    (void)snprintf(t->host, sizeof t->host, "02:00:00:00:00:%02x", t->number);
    (void)snprintf(t->service, sizeof t->service, "its GUID is not known yet");
    (void)snprintf(t->seen, sizeof t->seen, "nic %.60s", t->host);
}

static int attach_nic(struct thing *t, uvm_done_fn done, void *arg, uvm_op **ret_op) {
    struct uvm_nic_params p = UVM_NIC_PARAMS_INIT;
    char address[32];
    (void)snprintf(address, sizeof address, "10.%u.2.15/24", t->number);
    p.type = UVM_NIC_USER;
    p.mac = t->host;
    p.addresses = (const char *const[]){address, NULL};
    return uvm_nic_attach(vm(), &p, NULL, done, arg, ret_op);
}

static void on_nic(struct thing *t, const struct uvm_attach_result *r) {
    (void)snprintf(t->service, sizeof t->service, "%s", r->instance);
}

static void make_function(struct thing *t) {
    (void)snprintf(t->host, sizeof t->host, "emulated:edu");
    (void)snprintf(t->service, sizeof t->service, "its GUID is not known yet");
    (void)snprintf(t->seen, sizeof t->seen, "pci of none yet");
}

static int attach_vpci(struct thing *t, uvm_done_fn done, void *arg, uvm_op **ret_op) {
    struct uvm_vpci_params p = UVM_VPCI_PARAMS_INIT;
    p.device = t->host;
    p.virtual_function = t->number;
    return uvm_vpci_attach(vm(), &p, NULL, done, arg, ret_op);
}

static void on_vpci(struct thing *t, const struct uvm_attach_result *r) {
    (void)snprintf(t->service, sizeof t->service, "%s", r->instance);
    (void)snprintf(t->seen, sizeof t->seen, "pci %s", r->guest_path);
}

static const struct kind kinds[] = {
    {.name = "scsi", .files = true, .shared = true, .make = make_image, .attach = attach_scsi},
    {.name = "vpmem",
     .read_only = true,
     .files = true,
     .shared = true,
     .make = make_image,
     .attach = attach_vpmem},
    {.name = "vsmb",
     .files = true,
     .shared = true,
     .make = make_folder,
     .attach = attach_vsmb,
     .host_content = folder_content},
    {.name = "plan9",
     .files = true,
     .shared = true,
     .make = make_folder,
     .attach = attach_plan9,
     .host_content = folder_content},
    {.name = "nic", .make = make_nic, .attach = attach_nic, .attached = on_nic},
    {.name = "vpci",
     .shared = true,
     .make = make_function,
     .attach = attach_vpci,
     .attached = on_vpci},
};
#define KINDS (sizeof kinds / sizeof kinds[0])

static struct thing things[KINDS * THINGS];

static void make_things(void) {
    for (unsigned i = 0; i < KINDS * THINGS; i++) {
        struct thing *t = &things[i];
        t->kind = &kinds[i / THINGS];
        t->number = i % THINGS;
        t->read_only = t->kind->read_only || t->number == 1;
        t->content = 1000000 + i;
        (void)snprintf(t->host, sizeof t->host, "%.4000s/%s-%u", folder, t->kind->name, t->number);
        (void)snprintf(t->guest, sizeof t->guest, "/m/%s-%u", t->kind->name, t->number);
        (void)snprintf(t->service, sizeof t->service, "%s", t->host);
        (void)snprintf(t->seen, sizeof t->seen, "mount %s %s", t->guest,
                       t->read_only ? "ro" : "rw");
        t->kind->make(t);
    }
}

static struct thing *by_id(const char *id) {
    for (unsigned i = 0; i < KINDS * THINGS; i++) {
        if (id != NULL && things[i].refs > 0 && strcmp(things[i].id, id) == 0) {
            return &things[i];
        }
    }
    return NULL;
}

static unsigned attached_count(void) {
    unsigned n = 0;
    for (unsigned i = 0; i < KINDS * THINGS; i++) {
        n += things[i].refs > 0;
    }
    return n;
}

/* ---- actions ------------------------------------------------------------------------------ */

struct action {
    struct thing *thing;
    bool attach, done;
    int expected, code;
    uvm_op *op;
    char message[300];
};

static void on_done(uvm_op *op, const uvm_error *err, void *arg) {
    struct action *x = arg;
    (void)op;
    x->done = true;
    x->code = err == NULL ? UVM_OK : (int)uvm_error_code(err);
    (void)snprintf(x->message, sizeof x->message, "%s", err == NULL ? "" : uvm_error_message(err));
}

static void choose(struct action *x, struct thing *t) {
    *x = (struct action){.thing = t, .attach = t->refs == 0 || any(3) == 0, .expected = UVM_OK};
    if (x->attach && t->refs > 0 && !t->kind->shared) {
        x->expected = UVM_E_EXISTS;
    }
}

static void start(struct action *x) {
    int rc = x->attach ? x->thing->kind->attach(x->thing, on_done, x, &x->op)
                       : uvm_detach(vm(), x->thing->id, NULL, on_done, x, &x->op);
    if (rc != 0) {
        FAIL("%d by the call itself", rc);
    }
}

static void take_attach(struct action *x) {
    struct uvm_attach_result r = uvm_attach_result(x->op);
    struct thing *t = x->thing;
    if (r.shared != (t->refs > 0) || r.refs != t->refs + 1 || strcmp(r.kind, t->kind->name) != 0) {
        FAIL("%s: %s, shared %d, %u references", r.id, r.kind, r.shared, r.refs);
    }
    if (t->refs == 0) {
        const char *dash = strchr(r.id, '-');
        unsigned number = dash == NULL ? IDS_MAX : (unsigned)strtoul(dash + 1, NULL, 10);
        if (number >= IDS_MAX || used[number]) {
            FAIL("%s is not new", r.id);
        }
        used[number] = true;
        ids++;
        (void)snprintf(t->id, sizeof t->id, "%s", r.id);
        if (t->kind->attached != NULL) {
            t->kind->attached(t, &r);
        }
    } else if (strcmp(t->id, r.id) != 0) {
        FAIL("%s is %s", r.id, t->id);
    }
    t->refs++;
}

static void finish(struct action *x) {
    if (uvm_harness_until(h, &x->done, UVM_HARNESS_CALL_MS) != 0) {
        FAIL("%s of %s does not end", x->attach ? "attach" : "detach", x->thing->host);
    }
    codes[x->code]++;
    if (x->code != x->expected) {
        FAIL("%s of %s: %s, not %s: %s", x->attach ? "attach" : "detach", x->thing->host,
             uvm_error_code_name(x->code), uvm_error_code_name(x->expected), x->message);
    }
    if (x->code == UVM_OK && x->attach) {
        take_attach(x);
    } else if (x->code == UVM_OK) {
        x->thing->refs--;
    }
    x->op = uvm_op_unref(x->op);
}

static void sh(const char *line, struct uvm_harness_result *r) {
    if (uvm_harness_sh(h, line, r) != 0) {
        FAIL("%s: %s", line, uvm_harness_message(h));
    }
}

/* One file of one mount, if there is one; a read-only one refuses. */
static void write_file(void) {
    struct uvm_harness_result r;
    struct thing *t = &things[any(KINDS * THINGS)];
    char line[160];
    if (t->refs == 0 || !t->kind->files) {
        return;
    }
    (void)snprintf(what, sizeof what, "write to %s", t->guest);
    (void)snprintf(line, sizeof line, "echo %u 2>/dev/null > %s/f", step, t->guest);
    sh(line, &r);
    if ((r.status == 0) == t->read_only) {
        FAIL("status %d: %s", r.status, r.err);
    }
    t->content = r.status == 0 ? step : t->content;
}

/* ---- views -------------------------------------------------------------------------------- */

static const cJSON *get(const cJSON *o, const char *key) {
    return uvm__json_get(UVM__JSON_STRICT, o, key);
}

static cJSON *parse(const char *text) {
    cJSON *tree = NULL;
    struct uvm__fail f;
    if (text == NULL || uvm__json_read(UVM__JSON_STRICT, text, strlen(text), &tree, &f) < 0) {
        FAIL("no json: %s", text == NULL ? "" : text);
    }
    return tree;
}

static void view_engine(void) {
    cJSON *tree = parse(uvm_vm_devices(vm()));
    const cJSON *o;
    if ((unsigned)cJSON_GetArraySize(tree) != attached_count()) {
        FAIL("the engine has %d attachments, not %u", cJSON_GetArraySize(tree), attached_count());
    }
    cJSON_ArrayForEach(o, tree) {
        const struct thing *t = by_id(uvm__json_string(get(o, "id")));
        const char *state = uvm__json_string(get(o, "state"));
        const char *kind = uvm__json_string(get(o, "kind"));
        uint64_t refs = 0;
        if (t == NULL || state == NULL || strcmp(state, "attached") != 0 || kind == NULL ||
            strcmp(kind, t->kind->name) != 0 || uvm__json_u64(get(o, "refs"), 1000, &refs) < 0 ||
            refs != t->refs) {
            FAIL("the engine has another %s", t == NULL ? "one" : t->id);
        }
    }
    cJSON_Delete(tree);
}

static void view_service(void) {
    cJSON *tree = parse(uvm_vm_properties(vm()));
    const cJSON *list = get(get(tree, "service"), "Resources");
    char *text = cJSON_PrintUnformatted(list);
    if ((unsigned)cJSON_GetArraySize(list) != attached_count()) {
        FAIL("the service has %d resources, not %u: %s", cJSON_GetArraySize(list), attached_count(),
             text);
    }
    for (unsigned i = 0; i < KINDS * THINGS; i++) {
        if ((strstr(text, things[i].service) != NULL) != (things[i].refs > 0)) {
            FAIL("the service has %s: %s", things[i].refs > 0 ? "lost one" : "one too many",
                 things[i].host);
        }
    }
    cJSON_free(text);
    cJSON_Delete(tree);
}

static void view_host(void) {
    for (unsigned i = 0; i < KINDS * THINGS; i++) {
        const struct thing *t = &things[i];
        if (t->kind->host_content != NULL && t->kind->host_content(t) != t->content) {
            FAIL("%s holds %u on the host, not %u", t->host, t->kind->host_content(t), t->content);
        }
    }
}

/* No process is started in it: a guest under emulation takes long for one. A line a thing. */
static const char view_script[] =
    "while read dev path type options rest; do\n"
    "  case $path in /m/*) f=0; test -e $path/f && read f < $path/f\n"
    "    echo mount $path ${options%%,*} $f;; esac\n"
    "done < /proc/mounts\n"
    "for n in /sys/class/net/*/address; do read a < $n; echo nic $a; done\n"
    "for d in /sys/bus/vmbus/devices/*/pci*/*; do test -e $d && echo pci ${d%/pci*/*}; done\ntrue\n";

/* What the guest says wrongly; NULL: it agrees. Lines of what is in no row of ours do not count. */
static const char *guest_wrong(const char *text) {
    static char wrong[160];
    for (unsigned i = 0; i < KINDS * THINGS; i++) {
        const struct thing *t = &things[i];
        char line[128];
        if (t->kind->files) {
            (void)snprintf(line, sizeof line, "%s %u\n", t->seen, t->content);
        } else {
            (void)snprintf(line, sizeof line, "%s\n", t->seen);
        }
        bool is = strstr(text, line) != NULL;
        bool other = t->kind->files && !is && strstr(text, t->seen) != NULL;
        if (is != (t->refs > 0) || other) {
            (void)snprintf(wrong, sizeof wrong, "%.90s", line);
            return wrong;
        }
    }
    return NULL;
}

static void view_guest(void) {
    struct uvm_harness_result r;
    for (unsigned i = 0;; i++) {
        sh(". /tmp/view", &r);
        views++;
        const char *wrong = r.status == 0 ? guest_wrong(r.out) : r.err;
        if (wrong == NULL) {
            return;
        }
        if (i == VIEWS_MAX) {
            FAIL("the guest is wrong in \"%s\":\n%s", wrong, r.out);
        }
        retries++;
    }
}

static void agree(void) {
    view_engine();
    view_service();
    view_host();
    view_guest();
}

/* ---- the run ------------------------------------------------------------------------------ */

static unsigned one(void) {
    struct action x;
    choose(&x, &things[any(KINDS * THINGS)]);
    (void)snprintf(what, sizeof what, "%s %.200s", x.attach ? "attach" : "detach", x.thing->host);
    start(&x);
    finish(&x);
    return 1;
}

/* At once, of different things. */
static unsigned burst(void) {
    struct action x[BURST];
    unsigned first = any(KINDS * THINGS);
    (void)snprintf(what, sizeof what, "burst from %.200s", things[first].host);
    for (unsigned i = 0; i < BURST; i++) { /* a step that meets every kind */
        choose(&x[i], &things[(first + i * (THINGS + 1)) % (KINDS * THINGS)]);
        for (unsigned k = 0; k < i; k++) {
            x[i].thing = x[k].thing == x[i].thing ? NULL : x[i].thing;
        }
    }
    unsigned n = 0;
    for (unsigned i = 0; i < BURST; i++) {
        if (x[i].thing != NULL) {
            start(&x[i]);
            n++;
        }
    }
    for (unsigned i = 0; i < BURST; i++) {
        if (x[i].thing != NULL) {
            finish(&x[i]);
        }
    }
    return n;
}

static uint64_t now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void boot(void) {
    struct uvm_harness_params params = UVM_HARNESS_PARAMS_INIT;
    struct uvm_vm_params p = UVM_VM_PARAMS_INIT;
    params.service = uvm_harness_qemu;
    params.service_arg = &qemu;
    assert_int_equal(uvm_harness_new(&params, &h), 0);
    p.memory_mb = 256;
    p.kernel = args[0];
    p.initrd = args[1];
    p.vpmem_devices = 1;
    p.vpmem_device_mb = 128;
    if (uvm_harness_boot(h, &p) != 0) {
        fail_msg("%s", uvm_harness_message(h));
    }
    assert_int_equal(uvm_harness_push(h, "/tmp/view", view_script, strlen(view_script), 0644), 0);
}

static void detach_all(void) {
    (void)snprintf(what, sizeof what, "the last detaches");
    for (unsigned i = 0; i < KINDS * THINGS; i++) {
        while (things[i].refs > 0) {
            struct action x = {.thing = &things[i], .expected = UVM_OK};
            start(&x);
            finish(&x);
        }
    }
}

static void churn(void **state) {
    struct uvm_vm_exit how = {0};
    unsigned actions = 0, peak = 0;
    (void)state;
    make_things();
    boot();
    random_state = seed;
    uint64_t begin = now_ms();
    for (step = 1; step <= steps; step++) {
        unsigned k = any(10);
        if (k < 2) {
            write_file();
        } else {
            actions += k == 2 ? burst() : one();
        }
        agree();
        peak = attached_count() > peak ? attached_count() : peak;
    }
    uint64_t took = now_ms() - begin;
    detach_all();
    agree();
    print_message("seed %llu: %u steps of %zu kinds in %llu ms: %u attaches and detaches, %u "
                  "things at most, %u ids; OK %u, EXISTS %u; %u views of the guest, %u of them "
                  "early\n",
                  (unsigned long long)seed, steps, KINDS, (unsigned long long)took, actions, peak,
                  ids, codes[UVM_OK], codes[UVM_E_EXISTS], views, retries);
    assert_int_equal(uvm_harness_stop(h, 0, &how), 0);
    assert_int_equal(how.reason, UVM_EXIT_GUEST_SHUTDOWN);
    if (uvm_harness_close(h) != 0) {
        fail_msg("%s", uvm_harness_message(h));
    }
    uvm_harness_free(h);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(churn)};
    const char *temporary = getenv("TEST_TMPDIR");
    char made[PATH_MAX];
    if (argc < 5) {
        fprintf(stderr, "usage: %s KERNEL INITRD UVM-LAUNCH STEPS [SEED]\n", argv[0]);
        return 2;
    }
    args = argv + 1;
    steps = (unsigned)strtoul(args[3], NULL, 10);
    seed = argc > 5 ? strtoull(args[4], NULL, 10) : seed;
    qemu.launch_path = realpath(args[2], NULL);
    (void)snprintf(made, sizeof made, "%.4000s/kinds-XXXXXX",
                   temporary == NULL ? "/tmp" : temporary);
    if (mkdtemp(made) == NULL || realpath(made, folder) == NULL) {
        return 2;
    }
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free((void *)(uintptr_t)qemu.launch_path);
    return failed;
}
