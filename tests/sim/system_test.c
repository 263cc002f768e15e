/* SPDX-License-Identifier: MIT
 * system_test.c — random runs of whole systems: three hundred VMs a seed, everything at once.
 *
 *     system_test [--seed N] [--runs N] [--shrink 0|1] [--keep I,I,…]
 *
 * Each seed runs in a process of its own. One that fails is run again with fewer and fewer of its steps
 * until few are left; these are printed, with the command that runs them, and their failure.
 */
#include "tests/sim/shrink.h"
#include "tests/sim/system.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define RUNS 100u
#define TRIES 400u
#define LIMIT_S 120u

static uint64_t first_seed = 1, runs = RUNS;
static bool shrinks = true;
static const char *keep_text;
static struct system_figures *shared; /* with the processes that run */

/* Where a run failed: the first line that names a place; "": it went well, or said nothing. */
struct failure {
    char text[160];
};

static void read_failure(int fd, struct failure *ret) {
    static char said[65536];
    ssize_t n = pread(fd, said, sizeof said - 1, 0);
    said[n < 0 ? 0 : n] = 0;
    ret->text[0] = 0;
    for (char *at = said, *next = said; next != NULL && ret->text[0] == 0; at = next + 1) {
        next = strchr(at, '\n');
        size_t bytes = next == NULL ? strlen(at) : (size_t)(next - at);
        if (memmem(at, bytes, ".c:", 3) != NULL) {
            (void)snprintf(ret->text, sizeof ret->text, "%.*s", (int)bytes, at);
        }
    }
    ret->text[strcspn(ret->text, "(")] = 0; /* without the numbers */
}

/* True: it went well. `failure` NULL: what it says is for the reader. */
static bool run_apart(const struct system_plan *p, const bool *keep, struct failure *failure) {
    int said = failure == NULL ? -1 : memfd_create("said", MFD_CLOEXEC);
    assert_true(failure == NULL || said >= 0);
    (void)fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct system_figures f = *shared;
        (void)alarm(LIMIT_S);
        if (said >= 0) {
            (void)dup2(said, STDOUT_FILENO);
            (void)dup2(said, STDERR_FILENO);
        }
        system_run(p, keep, &f);
        *shared = f;
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (said >= 0) {
        read_failure(said, failure);
        (void)close(said);
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

struct search {
    const struct system_plan *plan;
    struct failure looked_for;
};

static bool fails_again(const bool *keep, void *arg) {
    struct search *s = arg;
    struct failure f;
    return !run_apart(s->plan, keep, &f) && strcmp(f.text, s->looked_for.text) == 0;
}

static void print_kept(const struct system_plan *p, const bool *keep, uint32_t left) {
    print_message("seed %llu fails with %u of its %u steps:\n", (unsigned long long)p->seed, left,
                  p->count);
    system_plan_print(p, keep);
    print_message("again: --seed %llu --keep ", (unsigned long long)p->seed);
    for (uint32_t i = 0, n = 0; i < p->count; i++) {
        if (keep[i]) {
            print_message("%s%u", n++ == 0 ? "" : ",", i);
        }
    }
    print_message("\n");
}

static void run_seed(uint64_t seed) {
    struct system_plan p;
    system_plan_make(&p, seed);
    bool *keep = calloc(p.count, sizeof *keep);
    assert_non_null(keep);
    for (uint32_t i = 0; i < p.count; i++) {
        keep[i] = keep_text == NULL;
    }
    for (const char *at = keep_text; at != NULL; at = strchr(at, ',')) {
        at += *at == ',';
        unsigned long i = strtoul(at, NULL, 10);
        assert_true(i < p.count);
        keep[i] = true;
    }
    struct search s = {.plan = &p};
    bool well = run_apart(&p, keep, shrinks ? &s.looked_for : NULL);
    if (!well && shrinks) {
        print_kept(&p, keep, shrink(keep, p.count, fails_again, &s, TRIES));
        (void)run_apart(&p, keep, NULL); /* for what it says */
    }
    free(keep);
    system_plan_free(&p);
    if (!well) {
        fail_msg("seed %llu", (unsigned long long)seed);
    }
}

static void random_systems(void **unused) {
    (void)unused;
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(shared, MAP_FAILED);
    for (uint64_t seed = first_seed; seed < first_seed + runs; seed++) {
        run_seed(seed);
    }
    const struct system_figures *f = shared;
    print_message(
        "%llu seeds from %llu: %llu steps, %llu boots, %llu calls (ok %llu, given up %llu, "
        "failed %llu of which not undone %llu); %llu s of virtual time\n",
        (unsigned long long)runs, (unsigned long long)first_seed, (unsigned long long)f->steps,
        (unsigned long long)f->booted, (unsigned long long)f->calls, (unsigned long long)f->ok,
        (unsigned long long)f->canceled, (unsigned long long)f->failed,
        (unsigned long long)f->undone, (unsigned long long)(f->virtual_ms / 1000));
    print_message("held against the model: %llu VMs, %llu disks, %llu processes; quarantined then: "
                  "%llu\n",
                  (unsigned long long)f->vms_checked, (unsigned long long)f->disks_checked,
                  (unsigned long long)f->processes_checked, (unsigned long long)f->quarantined);
    (void)munmap(shared, sizeof *shared);
}

static bool needs_two(const bool *keep, void *arg) {
    ++*(uint32_t *)arg;
    return keep[17] && keep[1230];
}

static void what_fails_is_shrunk(void **unused) {
    (void)unused;
    static bool keep[1800];
    uint32_t tries = 0;
    memset(keep, true, sizeof keep);
    assert_int_equal(shrink(keep, 1800, needs_two, &tries, TRIES), 2);
    assert_true(keep[17] && keep[1230] && tries < TRIES / 2);
}

int main(int argc, char **argv) {
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--seed") == 0) {
            first_seed = strtoull(argv[i + 1], NULL, 10);
            runs = 1; /* or what --runs says after it */
        } else if (strcmp(argv[i], "--runs") == 0) {
            runs = strtoull(argv[i + 1], NULL, 10);
        } else if (strcmp(argv[i], "--shrink") == 0) {
            shrinks = argv[i + 1][0] != '0';
        } else if (strcmp(argv[i], "--keep") == 0) {
            keep_text = argv[i + 1];
            shrinks = false;
        }
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_fails_is_shrunk),
        cmocka_unit_test(random_systems),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
