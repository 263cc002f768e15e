/* SPDX-License-Identifier: MIT
 * churn_test.c — random attaches, detaches and commands on one real VM; who says what is there must agree, always.
 *
 * churn_test KERNEL INITRD UVM-LAUNCH STEPS [SEED]. A model foretells each code, each id and each count of
 * references. After every step four views are compared with it: the engine's list of devices, the service's
 * properties, the images that QEMU has open (/proc), and the guest's disks, mounts and files, by one command. At
 * the end everything is detached, and the harness's census must find nothing.
 *
 * Disks: three with a file system, one with two partitions, two with nothing on them.
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
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    DISKS = 6,
    SPLIT = 3, /* this one has two partitions; those behind it have no file system */
    ATTACHED_MAX = 64,
    SECTORS = 8192,
    IDS_MAX = 65536,
    VIEWS_MAX = 200, /* a disk without a mount is not waited for: the guest may be asked again */
};

struct attachment {
    char id[32], path[64]; /* path "": not mounted */
    unsigned disk, partition, refs;
};

static char **args;
static struct uvm_qemu_params qemu = UVM_QEMU_PARAMS_INIT;
static uvm_harness *h;
static uint64_t seed = 20, random_state;
static unsigned steps, step, views, retries;
static char folder[PATH_MAX], what[256];

/* The model. */
static struct attachment attached[ATTACHED_MAX];
static unsigned attached_count, ids;
static bool used[IDS_MAX];                       /* ids, by number: never twice */
static bool read_only[DISKS];                    /* of one that is attached */
static unsigned content[DISKS][3];               /* number in file f, by partition; 0: none */
static unsigned counts[4], codes[UVM_E_MAX + 1]; /* of attach, detach, write, burst */

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

static const char *image(unsigned disk) {
    static char paths[DISKS][PATH_MAX + 16];
    (void)snprintf(paths[disk], sizeof paths[disk], "%s/churn-%u.img", folder, disk);
    return paths[disk];
}

/* Each its own size, by which a guest's disk is known. */
static unsigned sectors_of(unsigned disk) {
    return 3 * SECTORS + disk * 8;
}

/* ---- images ------------------------------------------------------------------------------- */

static void make_filesystem(const char *path, unsigned offset) {
    char extended[32];
    (void)snprintf(extended, sizeof extended, "offset=%u", offset);
    char *const argv[] = {(char *)(uintptr_t) "mkfs.ext4",
                          (char *)(uintptr_t) "-qF",
                          (char *)(uintptr_t) "-E",
                          extended,
                          (char *)(uintptr_t)path,
                          (char *)(uintptr_t) "3m",
                          NULL};
    pid_t pid;
    int status = -1;
    assert_int_equal(posix_spawn(&pid, "/sbin/mkfs.ext4", NULL, NULL, argv, environ), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void put_u32(unsigned char *at, unsigned value) {
    for (unsigned i = 0; i < 4; i++) {
        at[i] = (unsigned char)(value >> 8 * i);
    }
}

static void make_images(void) {
    for (unsigned d = 0; d < DISKS; d++) {
        int fd = open(image(d), O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0600);
        assert_true(fd >= 0 && ftruncate(fd, (off_t)sectors_of(d) * 512) == 0);
        if (d < SPLIT) {
            make_filesystem(image(d), 0);
        } else if (d == SPLIT) {
            unsigned char table[512] = {0};
            for (unsigned p = 0; p < 2; p++) {
                unsigned first = 2048 + p * SECTORS;
                make_filesystem(image(d), first * 512);
                unsigned char *entry = table + 446 + (size_t)16 * p;
                entry[4] = 0x83;
                put_u32(entry + 8, first);
                put_u32(entry + 12, SECTORS);
            }
            table[510] = 0x55;
            table[511] = 0xaa;
            assert_int_equal(pwrite(fd, table, sizeof table, 0), sizeof table);
        }
        close(fd);
    }
}

/* ---- the model ---------------------------------------------------------------------------- */

static bool is_attached(unsigned disk) {
    for (unsigned i = 0; i < attached_count; i++) {
        if (attached[i].disk == disk) {
            return true;
        }
    }
    return false;
}

static struct attachment *find(unsigned disk, const char *path) {
    for (unsigned i = 0; i < attached_count; i++) {
        if (attached[i].disk == disk && strcmp(attached[i].path, path) == 0) {
            return &attached[i];
        }
    }
    return NULL;
}

static struct attachment *by_id(const char *id) {
    for (unsigned i = 0; i < attached_count; i++) {
        if (strcmp(attached[i].id, id) == 0) {
            return &attached[i];
        }
    }
    return NULL;
}

/* ---- actions ------------------------------------------------------------------------------ */

struct action {
    bool attach, done;
    struct attachment a; /* what is wanted; of a detach: the id */
    bool read_only;
    int expected, code;
    uvm_op *op;
    char message[200];
};

static void on_done(uvm_op *op, const uvm_error *err, void *arg) {
    struct action *x = arg;
    (void)op;
    x->done = true;
    x->code = err == NULL ? UVM_OK : (int)uvm_error_code(err);
    (void)snprintf(x->message, sizeof x->message, "%s", err == NULL ? "" : uvm_error_message(err));
}

static void start(struct action *x) {
    int rc;
    if (x->attach) {
        struct uvm_scsi_params p = UVM_SCSI_PARAMS_INIT;
        p.host_path = image(x->a.disk);
        p.read_only = x->read_only;
        p.mount = x->a.path[0] != 0;
        p.guest_path = p.mount ? x->a.path : NULL;
        p.partition = x->a.partition;
        rc = uvm_scsi_attach(uvm_harness_vm(h), &p, NULL, on_done, x, &x->op);
    } else {
        rc = uvm_detach(uvm_harness_vm(h), x->a.id, NULL, on_done, x, &x->op);
    }
    if (rc != 0) {
        FAIL("%d by the call itself", rc);
    }
}

/* An attach of this disk in some way, mostly one that can be. */
static void choose_attach(struct action *x, unsigned disk) {
    *x = (struct action){.attach = true, .a.disk = disk};
    bool is = is_attached(disk);
    x->read_only = is && any(4) != 0 ? read_only[disk] : any(2) == 0;
    bool mounts = disk > SPLIT ? any(12) == 0 : any(4) != 0; /* of nothing: the guest refuses it */
    if (mounts) {
        x->a.partition = disk == SPLIT ? 1 + any(2) : 0;
        (void)snprintf(x->a.path, sizeof x->a.path, "/m/%u-%u-%u", disk, x->a.partition, any(2));
    }
    x->expected = UVM_OK;
    if (is && x->read_only != read_only[disk]) {
        x->expected = UVM_E_EXISTS;
    } else if (mounts && disk > SPLIT) {
        x->expected = UVM_E_PEER;
    } else if (attached_count == ATTACHED_MAX) {
        x->expected = UVM_E_LIMIT;
    }
}

static void choose_detach(struct action *x, const struct attachment *a) {
    *x = (struct action){.a = *a, .expected = UVM_OK};
}

static void take_attach(struct action *x) {
    struct uvm_attach_result r = uvm_attach_result(x->op);
    struct attachment *a = find(x->a.disk, x->a.path);
    if (r.shared != (a != NULL) || r.refs != (a == NULL ? 1 : a->refs + 1)) {
        FAIL("shared %d, %u references", r.shared, r.refs);
    }
    if (a == NULL) {
        unsigned number = (unsigned)strtoul(r.id + strlen("scsi-"), NULL, 10);
        if (number >= IDS_MAX || used[number]) {
            FAIL("%s is not new", r.id);
        }
        used[number] = true;
        ids++;
        read_only[x->a.disk] = x->read_only;
        a = &attached[attached_count++];
        *a = x->a;
        (void)snprintf(a->id, sizeof a->id, "%s", r.id);
    } else if (strcmp(a->id, r.id) != 0) {
        FAIL("%s is %s", r.id, a->id);
    }
    a->refs++;
}

static void finish(struct action *x) {
    if (uvm_harness_until(h, &x->done, UVM_HARNESS_CALL_MS) != 0) {
        FAIL("does not end");
    }
    codes[x->code]++;
    if (x->code != x->expected) {
        FAIL("%s, not %s: %s", uvm_error_code_name(x->code), uvm_error_code_name(x->expected),
             x->message);
    }
    if (x->code == UVM_OK && x->attach) {
        take_attach(x);
    } else if (x->code == UVM_OK) {
        struct attachment *a = by_id(x->a.id);
        if (--a->refs == 0) {
            *a = attached[--attached_count];
        }
    }
    x->op = uvm_op_unref(x->op);
}

static void sh(const char *line, struct uvm_harness_result *r) {
    if (uvm_harness_sh(h, line, r) != 0) {
        FAIL("%s: %s", line, uvm_harness_message(h));
    }
}

/* One file of one mount; a read-only one refuses. */
static void write_file(void) {
    struct uvm_harness_result r;
    char line[160];
    const struct attachment *a = attached_count == 0 ? NULL : &attached[any(attached_count)];
    (void)snprintf(what, sizeof what, "write");
    if (a == NULL || a->path[0] == 0) {
        sh("exit 3", &r);
        assert_int_equal(r.status, 3);
        return;
    }
    (void)snprintf(line, sizeof line, "echo %u 2>/dev/null > %s/f", step, a->path);
    sh(line, &r);
    if ((r.status == 0) == read_only[a->disk]) {
        FAIL("%s: status %d: %s", a->path, r.status, r.err);
    }
    if (r.status == 0) {
        content[a->disk][a->partition] = step;
    }
}

/* ---- views -------------------------------------------------------------------------------- */

static const cJSON *get(const cJSON *o, const char *key) {
    return uvm__json_get(UVM__JSON_STRICT, o, key);
}

static bool is(const cJSON *o, const char *key, const char *wanted) {
    const char *text = uvm__json_string(get(o, key));
    return text != NULL && strcmp(text, wanted) == 0;
}

static bool has_number(const cJSON *o, const char *key, uint64_t wanted) {
    uint64_t n = 0;
    return uvm__json_u64(get(o, key), UINT64_MAX, &n) == 0 && n == wanted;
}

static bool has_flag(const cJSON *o, const char *key, bool wanted) {
    bool b;
    return uvm__json_bool(get(o, key), &b) == 0 && b == wanted;
}

static cJSON *parse(const char *text) {
    cJSON *tree = NULL;
    struct uvm__fail f;
    if (text == NULL || uvm__json_read(UVM__JSON_STRICT, text, strlen(text), &tree, &f) < 0) {
        FAIL("no json: %s", text == NULL ? "" : text);
    }
    return tree;
}

static unsigned disks_attached(void) {
    unsigned n = 0;
    for (unsigned d = 0; d < DISKS; d++) {
        n += is_attached(d);
    }
    return n;
}

/* The engine's list; ret_lun by disk. */
static void view_engine(unsigned ret_lun[DISKS]) {
    cJSON *tree = parse(uvm_vm_devices(uvm_harness_vm(h)));
    const cJSON *o;
    if ((unsigned)cJSON_GetArraySize(tree) != attached_count) {
        FAIL("the engine has %d attachments, not %u", cJSON_GetArraySize(tree), attached_count);
    }
    cJSON_ArrayForEach(o, tree) {
        const struct attachment *a = by_id(uvm__json_string(get(o, "id")));
        uint64_t lun = 0;
        if (a == NULL) {
            FAIL("the engine has %s, which nobody attached", uvm__json_string(get(o, "id")));
            continue;
        }
        if (!is(o, "host_path", image(a->disk)) || !is(o, "guest_path", a->path) ||
            !is(o, "state", "attached") || !has_flag(o, "quarantined", false) ||
            !has_flag(o, "read_only", read_only[a->disk]) || !has_number(o, "refs", a->refs) ||
            !has_number(o, "partition", a->partition) ||
            !has_number(get(o, "location"), "controller", 0)) {
            FAIL("the engine has another %s", a->id);
        }
        assert_int_equal(uvm__json_u64(get(get(o, "location"), "lun"), 63, &lun), 0);
        ret_lun[a->disk] = (unsigned)lun;
    }
    cJSON_Delete(tree);
}

static void view_service(const unsigned lun[DISKS]) {
    cJSON *tree = parse(uvm_vm_properties(uvm_harness_vm(h)));
    const cJSON *list = get(get(tree, "service"), "Resources"), *o;
    if ((unsigned)cJSON_GetArraySize(list) != disks_attached()) {
        FAIL("the service has %d disks, not %u", cJSON_GetArraySize(list), disks_attached());
    }
    cJSON_ArrayForEach(o, list) {
        unsigned d = 0;
        while (d < DISKS && !is(o, "Path", image(d))) {
            d++;
        }
        if (d == DISKS || !is_attached(d) || !has_number(o, "Lun", lun[d]) ||
            !has_flag(o, "ReadOnly", read_only[d]) || !is(o, "State", "Present")) {
            FAIL("the service has disk %u otherwise", d);
        }
    }
    cJSON_Delete(tree);
}

/* What QEMU really holds. */
static void view_process(void) {
    pid_t pid = 0;
    bool holds[DISKS] = {false};
    assert_int_equal(uvm_harness_descendants("qemu-system-x86_64", &pid, 1), 1);
    for (unsigned fd = 0; fd < 256; fd++) {
        char link[64], to[PATH_MAX];
        (void)snprintf(link, sizeof link, "/proc/%d/fd/%u", (int)pid, fd);
        ssize_t n = readlink(link, to, sizeof to - 1);
        to[n < 0 ? 0 : n] = 0;
        for (unsigned d = 0; d < DISKS; d++) {
            holds[d] = holds[d] || strcmp(to, image(d)) == 0;
        }
    }
    for (unsigned d = 0; d < DISKS; d++) {
        if (holds[d] != is_attached(d)) {
            FAIL("qemu has disk %u %s", d, holds[d] ? "still open" : "not open");
        }
    }
}

/* No process is started in it: a guest under emulation takes long for one. */
static const char view_script[] = "for d in /sys/class/scsi_disk/*; do\n"
                                  "  for b in $d/device/block/*; do\n"
                                  "    test -e $b || continue\n"
                                  "    read ro < $b/ro; read size < $b/size\n"
                                  "    echo disk ${d##*:} $ro $size ${b##*/}\n"
                                  "  done\n"
                                  "done\n"
                                  "while read dev path type options rest; do\n"
                                  "  case $path in /m/*) f=0; test -e $path/f && read f < $path/f\n"
                                  "    echo mount $path ${options%%,*} $f ${dev##*/};; esac\n"
                                  "done < /proc/mounts\n";

static unsigned mounts_wanted(void) {
    unsigned n = 0;
    for (unsigned i = 0; i < attached_count; i++) {
        n += attached[i].path[0] != 0;
    }
    return n;
}

/* A line of its: "disk LUN RO SECTORS NAME" or "mount PATH MODE NUMBER NAME". */
enum { KIND, FIRST, SECOND, THIRD, NAME, WORDS };

static unsigned number_of(const char *word) {
    return (unsigned)strtoul(word, NULL, 10);
}

static bool disk_agrees(char *const words[WORDS], const unsigned lun[DISKS], const char **names) {
    unsigned d = (number_of(words[THIRD]) - 3 * SECTORS) / 8;
    if (d >= DISKS || names[d] != NULL) {
        return false;
    }
    names[d] = words[NAME];
    return is_attached(d) && lun[d] == number_of(words[FIRST]) &&
           read_only[d] == (words[SECOND][0] == '1');
}

static bool mount_agrees(char *const words[WORDS], const char *const *names) {
    unsigned d = number_of(words[FIRST] + strlen("/m/")) % DISKS;
    const struct attachment *a = find(d, words[FIRST]);
    char device[20];
    if (a == NULL || names[d] == NULL) {
        return false;
    }
    (void)snprintf(device, sizeof device, d == SPLIT ? "%s%u" : "%s", names[d], a->partition);
    return strcmp(device, words[NAME]) == 0 &&
           strcmp(words[SECOND], read_only[d] ? "ro" : "rw") == 0 &&
           number_of(words[THIRD]) == content[d][a->partition];
}

/* What it says wrongly; NULL: it agrees. */
static const char *guest_wrong(char *text, const unsigned lun[DISKS]) {
    const char *names[DISKS] = {NULL};
    unsigned disks = 0, mounts = 0;
    char *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        char *words[WORDS], *end = NULL;
        for (unsigned i = 0; i < WORDS; i++) {
            words[i] = strtok_r(i == 0 ? line : NULL, " ", &end);
            if (words[i] == NULL) {
                return line;
            }
        }
        bool disk = strcmp(words[KIND], "disk") == 0;
        if (disk ? !disk_agrees(words, lun, names) : !mount_agrees(words, names)) {
            return words[FIRST];
        }
        disks += disk;
        mounts += !disk;
    }
    return disks != disks_attached()   ? "number of disks"
           : mounts != mounts_wanted() ? "number of mounts"
                                       : NULL;
}

static void view_guest(const unsigned lun[DISKS]) {
    struct uvm_harness_result r;
    for (unsigned i = 0;; i++) {
        static char text[8192];
        sh(". /tmp/view", &r);
        views++;
        (void)snprintf(text, sizeof text, "%s", r.out);
        const char *wrong = r.status == 0 ? guest_wrong(text, lun) : r.err;
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
    unsigned lun[DISKS] = {0};
    view_engine(lun);
    view_service(lun);
    view_process();
    view_guest(lun);
}

/* ---- the run ------------------------------------------------------------------------------ */

static void one(void) {
    struct action x;
    unsigned kind = any(10);
    if (kind < 2) {
        counts[2]++;
        write_file();
        return;
    }
    /* About as many of both, so that it is now empty, now full. */
    if (attached_count > 0 && kind < 6) {
        counts[1]++;
        choose_detach(&x, &attached[any(attached_count)]);
    } else {
        counts[0]++;
        choose_attach(&x, any(DISKS));
    }
    (void)snprintf(what, sizeof what, "%s disk %u %s %s", x.attach ? "attach" : "detach", x.a.disk,
                   x.a.path, x.read_only ? "read-only" : "");
    start(&x);
    finish(&x);
}

/* On three disks at once. */
static void burst(void) {
    struct action x[3];
    unsigned first = any(DISKS);
    counts[3]++;
    (void)snprintf(what, sizeof what, "burst from disk %u", first);
    for (unsigned i = 0; i < 3; i++) {
        unsigned disk = (first + i) % DISKS, k = 0;
        while (k < attached_count && attached[k].disk != disk) {
            k++;
        }
        if (k < attached_count && any(2) == 0) {
            choose_detach(&x[i], &attached[k]);
        } else {
            choose_attach(&x[i], disk);
        }
    }
    for (unsigned i = 0; i < 3; i++) {
        start(&x[i]);
    }
    for (unsigned i = 0; i < 3; i++) {
        finish(&x[i]);
    }
}

static uint64_t now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void churn(void **state) {
    (void)state;
    struct uvm_harness_params params = UVM_HARNESS_PARAMS_INIT;
    struct uvm_vm_params vm = UVM_VM_PARAMS_INIT;
    struct uvm_vm_exit how = {0};
    params.service = uvm_harness_qemu;
    params.service_arg = &qemu;
    make_images();
    assert_int_equal(uvm_harness_new(&params, &h), 0);
    vm.memory_mb = 192;
    vm.kernel = args[0];
    vm.initrd = args[1];
    if (uvm_harness_boot(h, &vm) != 0) {
        fail_msg("%s", uvm_harness_message(h));
    }
    assert_int_equal(uvm_harness_push(h, "/tmp/view", view_script, strlen(view_script), 0644), 0);
    random_state = seed;
    uint64_t begin = now_ms();
    unsigned peak = 0;
    for (step = 1; step <= steps; step++) {
        if (any(10) == 0) {
            burst();
        } else {
            one();
        }
        agree();
        peak = attached_count > peak ? attached_count : peak;
    }
    uint64_t took = now_ms() - begin;
    while (attached_count > 0) {
        struct action x;
        choose_detach(&x, &attached[0]);
        (void)snprintf(what, sizeof what, "the last detaches");
        start(&x);
        finish(&x);
    }
    agree();
    print_message(
        "seed %llu: %u steps in %llu ms: %u attaches, %u detaches, %u bursts of three, %u "
        "writes; %u attachments at most, %u ids; OK %u, EXISTS %u, PEER %u; %u views of "
        "the guest, %u of them early\n",
        (unsigned long long)seed, steps, (unsigned long long)took, counts[0], counts[1], counts[3],
        counts[2], peak, ids, codes[UVM_OK], codes[UVM_E_EXISTS], codes[UVM_E_PEER], views,
        retries);
    assert_int_equal(uvm_harness_stop(h, 0, &how), 0);
    assert_int_equal(how.reason, UVM_EXIT_GUEST_SHUTDOWN);
    if (uvm_harness_close(h) != 0) {
        fail_msg("%s", uvm_harness_message(h));
    }
    uvm_harness_free(h);
    for (unsigned d = 0; d < DISKS; d++) {
        assert_int_equal(unlink(image(d)), 0);
    }
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(churn)};
    const char *temporary = getenv("TEST_TMPDIR");
    if (argc < 5) {
        fprintf(stderr, "usage: %s KERNEL INITRD UVM-LAUNCH STEPS [SEED]\n", argv[0]);
        return 2;
    }
    args = argv + 1;
    steps = (unsigned)strtoul(args[3], NULL, 10);
    seed = argc > 5 ? strtoull(args[4], NULL, 10) : seed;
    qemu.launch_path = realpath(args[2], NULL);
    if (realpath(temporary == NULL ? "/tmp" : temporary, folder) == NULL) {
        return 2;
    }
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free((void *)(uintptr_t)qemu.launch_path);
    return failed;
}
