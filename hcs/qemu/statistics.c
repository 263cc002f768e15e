/* SPDX-License-Identifier: MIT
 * statistics.c — what a system has used: processor time, memory, and what its devices have moved.
 *
 * Times are the VMM's, from /proc, in the ticks that the kernel counts (10 ms); memory is told apart by whose
 * it is: pages of the guest's memory file, of virtual PMem, and what the VMM itself has resident beside them
 * (its programs, heap and translated code). What a disk has moved QEMU counts; the answer of query-blockstats is
 * passed to each kind of resource, which adds what it knows (uvm__resource_type.statistics).
 * Fields: hcsshim's schema1.go and schema2 (Statistics, Memory); under "Vmm" and "Resources", ours.
 */
#include "hcs/qemu/statistics.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "async/alloc.h"
#include "async/cleanup.h"
#include "async/json.h"
#include "async/saga.h"
#include "hcs/qemu/qmp.h"
#include "hcs/qemu/resource.h"

#define PAGE_BYTES 4096u
#define TEXT_BYTES 4096u

/* ---- /proc -------------------------------------------------------------------------------- */

/* A file of a process that is ours to reap, so that its number is no other's. */
static bool read_proc(const struct uvm__qemu_system *s, const char *name, char buf[TEXT_BYTES]) {
    char path[64];

    if (s->pid <= 0 || s->facts.exited) {
        return false;
    }
    (void)snprintf(path, sizeof path, "/proc/%d/%s", (int)s->pid, name);
    UVM_CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, buf, TEXT_BYTES - 1);
    buf[n < 0 ? 0 : n] = '\0';
    return n > 0;
}

/* utime and stime are the 14th and 15th field; the second is a name in brackets that may hold anything. */
bool uvm__qemu_read_times(const char *text, uint64_t *ret_user, uint64_t *ret_kernel) {
    const char *p = strrchr(text, ')');

    for (unsigned field = 2; p != NULL && field < 14; field++) {
        p = strchr(p + 1, ' ');
    }
    if (p == NULL) {
        return false;
    }
    char *behind_user, *behind_kernel;
    uint64_t user = strtoull(p, &behind_user, 10);
    uint64_t kernel = strtoull(behind_user, &behind_kernel, 10);
    if (behind_user == p || behind_kernel == behind_user) {
        return false;
    }
    *ret_user = user;
    *ret_kernel = kernel;
    return true;
}

/* "RssAnon:   1234 kB" */
static uint64_t resident(const char *text, const char *key) {
    const char *at = strstr(text, key);
    return at == NULL ? 0 : strtoull(at + strlen(key), NULL, 10) * 1024u;
}

static uint64_t file_bytes(int fd) {
    struct stat st;
    return fd >= 0 && fstat(fd, &st) == 0 ? (uint64_t)st.st_blocks * 512u : 0;
}

/* ---- what is told at once ----------------------------------------------------------------- */

static bool add_processor(const struct uvm__qemu_system *s, cJSON *statistics) {
    char text[TEXT_BYTES];
    uint64_t user = 0, kernel = 0, tick = 10000000u / (uint64_t)sysconf(_SC_CLK_TCK);
    cJSON *o = cJSON_AddObjectToObject(statistics, "Processor");

    if (read_proc(s, "stat", text)) {
        (void)uvm__qemu_read_times(text, &user, &kernel);
    }
    return o != NULL && uvm__json_add_u64(o, "TotalRuntime100ns", (user + kernel) * tick) != NULL &&
           uvm__json_add_u64(o, "RuntimeUser100ns", user * tick) != NULL &&
           uvm__json_add_u64(o, "RuntimeKernel100ns", kernel * tick) != NULL;
}

static bool add_memory(const struct uvm__qemu_system *s, cJSON *root) {
    char text[TEXT_BYTES];
    uint64_t own = 0, vpmem = 0;
    cJSON *memory = cJSON_AddObjectToObject(root, "Memory");
    cJSON *vm = memory == NULL ? NULL : cJSON_AddObjectToObject(memory, "VirtualMachineMemory");
    cJSON *used = memory == NULL ? NULL : cJSON_AddObjectToObject(memory, "UsedBytes");

    if (read_proc(s, "status", text)) {
        own = resident(text, "RssAnon:") + resident(text, "RssFile:");
    }
    for (unsigned i = 0; i < s->vpmem_count; i++) {
        vpmem += file_bytes(s->vpmem[i]);
    }
    uint64_t pages = s->doc.vm.topology.memory.size_in_mb * ((1u << 20) / PAGE_BYTES);
    return vm != NULL && used != NULL && uvm__json_add_u64(vm, "AssignedMemory", pages) != NULL &&
           uvm__json_add_u64(used, "Guest", file_bytes(s->ram_fd)) != NULL &&
           uvm__json_add_u64(used, "VirtualPMem", vpmem) != NULL &&
           uvm__json_add_u64(used, "Vmm", own) != NULL;
}

bool uvm__qemu_add_statistics(const struct uvm__qemu_system *s, cJSON *root) {
    cJSON *statistics = cJSON_AddObjectToObject(root, "Statistics");
    uint64_t from = s->times.started_us, to = s->times.ended_us;

    to = to != 0 ? to : uvm__now_us(s->engine);
    return statistics != NULL &&
           uvm__json_add_u64(statistics, "Uptime100ns", from == 0 ? 0 : (to - from) * 10) != NULL &&
           add_processor(s, statistics) && add_memory(s, root);
}

/* ---- with what QEMU counts ---------------------------------------------------------------- */

const cJSON *uvm__qemu_blockstats(const cJSON *blocks, const char *device) {
    const cJSON *entry;

    cJSON_ArrayForEach(entry, blocks) {
        const char *name = uvm__json_string(uvm__json_get(UVM__JSON_STRICT, entry, "qdev"));
        const char *last = name == NULL ? NULL : strrchr(name, '/');
        if (name != NULL && strcmp(last == NULL ? name : last + 1, device) == 0) {
            return uvm__json_get(UVM__JSON_STRICT, entry, "stats");
        }
    }
    return NULL;
}

struct query {
    struct uvm__qemu_system *system;
    uvm_op *op;
    char *text;
};

static char *print(struct uvm__qemu_system *s, const cJSON *blocks) {
    cJSON *root = cJSON_CreateObject();
    bool ok = root != NULL && uvm__qemu_add_statistics(s, root) &&
              uvm__resource_statistics(s, blocks, root);
    char *text = ok ? uvm__json_print(s->engine, root, NULL) : NULL;

    cJSON_Delete(root);
    return text;
}

static void query_on_done(uvm_op *child, const uvm_error *err, void *arg) {
    struct query *q = arg;

    if (err != NULL) {
        uvm__step_done(q->op, uvm_error_ref(err));
        return;
    }
    q->text = print(q->system, uvm__qmp_execute_result(child));
    uvm__step_done(q->op, q->text == NULL ? uvm__error_nomem() : NULL);
}

static void query_run(uvm_op *op, void *state) {
    struct query *q = state;
    struct uvm__qemu_system *s = q->system;
    const struct uvm__qmp_execute_params p = {s->qmp, "query-blockstats", NULL, false};
    int rc = s->qmp == NULL || s->state == UVM__QEMU_ENDED
                 ? -UVM_E_CLOSED
                 : uvm__qmp_execute(&p, uvm__op_scope(op), query_on_done, q, NULL);

    q->op = op;
    if (rc == -UVM_E_CLOSED) {
        uvm__step_done(op, uvm__error(s->engine, UVM_E_CLOSED, 0, "vm %s: it is ending", s->name));
    } else if (rc < 0) {
        uvm__step_done(op, uvm__error_nomem());
    }
}

static int query_init(uvm_op *op, void *state, const void *params) {
    struct query *q = state;

    (void)op;
    q->system = uvm__qemu_ref((struct uvm__qemu_system *)(uintptr_t)params);
    return 0;
}

static void query_deinit(void *state) {
    struct query *q = state;

    uvm__free(q->system->engine, q->text);
    uvm__qemu_unref(q->system);
}

static const struct uvm__step query_steps[] = {{.name = "query", .run = query_run, .child = true}};
static const struct uvm__saga query_saga = {
    .name = "vm statistics",
    .steps = query_steps,
    .steps_count = 1,
    .commit_step = 0,
    .state_bytes = sizeof(struct query),
    .init = query_init,
    .deinit = query_deinit,
};

int uvm__qemu_statistics(struct uvm__hcs_system *base, uvm_scope *scope, uvm_done_fn on_done,
                         void *arg, uvm_op **ret_op) {
    struct uvm__qemu_system *s = uvm__qemu_system_of(base);

    if (s->state == UVM__QEMU_ENDED || s->closing) {
        return -UVM_E_EXITED;
    }
    return uvm__op_start(s->engine, scope, &query_saga, s, on_done, arg, ret_op);
}

const char *uvm__qemu_statistics_result(uvm_op *op) {
    const struct query *q = uvm__op_state(op);
    return uvm__op_succeeded(op) ? q->text : NULL;
}
