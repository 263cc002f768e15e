/* SPDX-License-Identifier: MIT
 * owner_soak.c — UVMs in the background whose owner, or whoever starts one, is killed at a random millisecond.
 *
 * owner_soak UVMCTL UVM-LAUNCH KERNEL INITRD LIAR-INITRD ROUNDS [SEED]. While it dies, a command runs, another
 * is being started and a disk is being attached. Each of them must end soon and say so, the VMM must be gone,
 * what is left is one folder that gc sweeps, and the next UVM of the same name, with the same disk, must start.
 */
#include "tests/integration/detach_kit.h"
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static uint64_t seed = 22, random_state;
static unsigned rounds, round_number, owners, starters, up, swept;
static char image[128];

static unsigned any(unsigned below) {
    random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (unsigned)((random_state >> 33) % below);
}

/* Of whoever was connected; which one it is depends on the moment, but never 0 for what was not done. */
static void end_client(struct command *c, const char *who, bool may_have_worked) {
    int status = command_end(c, SHORT_MS);
    if (status == 0 && !may_have_worked) {
        fail_msg("seed %llu, round %u: %s ended well: %s", (unsigned long long)seed, round_number,
                 who, c->out_text);
    }
    if (status != 0 && c->err_len == 0) {
        fail_msg("seed %llu, round %u: %s ended with %d and no word", (unsigned long long)seed,
                 round_number, who, status);
    }
    command_free(c);
}

/* Nobody is left, and one sweep takes what the dead one had. */
static void expect_swept(void) {
    struct command gc;
    expect_nobody_left(SHORT_MS);
    swept += (unsigned)entries();
    if (boot_run(&gc, LIST("gc")) != 0 || entries() != 0) {
        fail_msg("seed %llu, round %u: gc left %d: %s", (unsigned long long)seed, round_number,
                 entries(), gc.err_text);
    }
    command_free(&gc);
}

static void kill_owner(void **state) {
    struct command running, starting, attach;
    owners++;
    (void)boot_demo(state);
    pid_t owner = owner_of("demo");
    assert_true(owner > 0);
    boot_start(&running, NULL, LIST("exec", "demo", "--", "sh", "-c", "echo up >&2; sleep 1000"));
    assert_true(command_await(&running, "up", SHORT_MS));
    boot_start(&attach, NULL, LIST("attach", "demo", "scsi", image, "--mount", "/m"));
    boot_start(&starting, NULL, LIST("exec", "demo", "--", "sleep", "1000"));
    pause_ms((int)any(600));
    assert_int_equal(kill(owner, SIGKILL), 0);
    end_client(&running, "the command", false);
    end_client(&starting, "the command that was starting", false);
    end_client(&attach, "the attach", true);
    expect_swept();
}

/* Then there is no UVM, or one that runs, or one that goes by itself. */
static void kill_starter(void) {
    struct command boot;
    starters++;
    boot_start(&boot, NULL,
               LIST("boot", "--detach", "--name", "demo", "--memory", "128M", "--scsi", image));
    pause_ms((int)any(3000));
    (void)kill(boot.pid, SIGKILL); /* a zombie at worst: it is ours */
    (void)command_end(&boot, SHORT_MS);
    command_free(&boot);
    pid_t owner = owner_of("demo");
    if (owner > 0) {
        up++;
        (void)kill(owner, SIGKILL);
    }
    expect_swept();
}

static void soak(void **state) {
    struct timespec begin, end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    random_state = seed;
    for (round_number = 1; round_number <= rounds; round_number++) {
        if (round_number % 3 == 0) {
            kill_starter();
        } else {
            kill_owner(state);
        }
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    print_message("seed %llu: %u owners killed, %u starters killed (%u with an owner by then), %u "
                  "folders swept, in %ld s, nothing left after any\n",
                  (unsigned long long)seed, owners, starters, up, swept,
                  (long)(end.tv_sec - begin.tv_sec));
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test_teardown(soak, nothing_left)};
    assert_true(argc > 6);
    rounds = (unsigned)strtoul(argv[6], NULL, 10);
    seed = argc > 7 ? strtoull(argv[7], NULL, 10) : seed;
    char *files[] = {argv[1], argv[2], argv[3], argv[4], argv[5], NULL};
    kit_open(files);
    (void)setenv("UVM_STATE_DIR", kit.state, 1);
    const char *temporary = getenv("TEST_TMPDIR");
    (void)snprintf(image, sizeof image, "%s/owner.img", temporary == NULL ? "/tmp" : temporary);
    int fd = open(image, O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0600);
    assert_true(fd >= 0 && ftruncate(fd, 8 << 20) == 0);
    close(fd);
    struct command mkfs;
    struct command_options o = COMMAND_OPTIONS_INIT;
    assert_int_equal(command_run(&mkfs, &o, LIST("/sbin/mkfs.ext4", "-qF", image), SHORT_MS), 0);
    command_free(&mkfs);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kit_close();
    (void)unlink(image);
    return failed;
}
