/* SPDX-License-Identifier: MIT
 * uvmctl_kit.c — the folder that the tests of uvmctl run in.
 *
 * The programs are copied, since uvmctl looks for its helper and boot files from its own place, and the
 * place that a build gives it has neither. The boot files are links. TMPDIR and HOME point into a folder
 * that must stay empty, and so must the working folder: a foreground boot writes nothing.
 */
#include "tests/integration/uvmctl_kit.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

struct kit kit;

static void append_file(const char *from, int to) {
    int fd = open(from, O_RDONLY | O_CLOEXEC);
    struct stat st = {0};
    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    for (off_t left = st.st_size; left > 0;) {
        ssize_t n = sendfile(to, fd, NULL, (size_t)left);
        assert_true(n > 0);
        left -= n;
    }
    close(fd);
}

static void copy_file(const char *from, const char *to, mode_t mode) {
    int fd = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    assert_true(fd >= 0);
    append_file(from, fd);
    close(fd);
}

/* Archives may stand one behind the other, each at a multiple of four bytes. */
static void make_liar(const char *initrd, const char *extra) {
    static const char zeros[4] = {0};
    copy_file(initrd, kit.liar, 0644);
    int fd = open(kit.liar, O_WRONLY | O_APPEND | O_CLOEXEC);
    struct stat st = {0};
    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    size_t pad = (4 - (size_t)st.st_size % 4) % 4;
    assert_int_equal(write(fd, zeros, pad), (ssize_t)pad);
    close(fd);
    fd = open(kit.liar, O_WRONLY | O_APPEND | O_CLOEXEC);
    int from = open(extra, O_RDONLY | O_CLOEXEC);
    char buf[65536];
    ssize_t n;
    while ((n = read(from, buf, sizeof buf)) > 0) { /* sendfile refuses O_APPEND */
        assert_int_equal(write(fd, buf, (size_t)n), n);
    }
    assert_int_equal(n, 0);
    close(from);
    close(fd);
}

static void link_file(const char *from, const char *to) {
    char *real = realpath(from, NULL);
    assert_non_null(real);
    assert_int_equal(symlink(real, to), 0);
    free(real);
}

static void count(void) {
    struct uvm_harness_census_params census = UVM_HARNESS_CENSUS_PARAMS_INIT;
    uvm_harness_census_free(kit.nothing);
    census.folders = LIST(kit.folder);
    census.reap = true; /* what runs detached comes to us */
    assert_int_equal(uvm_harness_census_take(&census, &kit.nothing), 0);
}

void kit_open(char **argv) {
    char path[128];
    (void)signal(SIGPIPE, SIG_IGN);
    (void)snprintf(kit.folder, sizeof kit.folder, "/tmp/uvmctl_testXXXXXX");
    if (mkdtemp(kit.folder) == NULL || chmod(kit.folder, 0755) != 0) {
        perror(kit.folder);
        exit(1);
    }
    (void)snprintf(kit.uvmctl, sizeof kit.uvmctl, "%s/bin/uvmctl", kit.folder);
    (void)snprintf(kit.empty, sizeof kit.empty, "%s/empty", kit.folder);
    (void)snprintf(kit.state, sizeof kit.state, "%s/state", kit.folder);
    (void)snprintf(kit.kernel, sizeof kit.kernel, "%s/vmlinux", kit.folder);
    (void)snprintf(kit.initrd, sizeof kit.initrd, "%s/initrd.img", kit.folder);
    (void)snprintf(kit.liar, sizeof kit.liar, "%s/liar.img", kit.folder);
    (void)snprintf(path, sizeof path, "%s/bin", kit.folder);
    assert_int_equal(mkdir(path, 0755), 0);
    assert_int_equal(mkdir(kit.empty, 0755), 0);
    assert_int_equal(mkdir(kit.state, 0700), 0);
    copy_file(argv[0], kit.uvmctl, 0755);
    (void)snprintf(path, sizeof path, "%s/bin/uvm-launch", kit.folder);
    copy_file(argv[1], path, 0755);
    link_file(argv[2], kit.kernel);
    link_file(argv[3], kit.initrd);
    make_liar(argv[3], argv[4]);
    if (argv[5] != NULL) {
        (void)snprintf(path, sizeof path, "%s/tools.img", kit.folder);
        link_file(argv[5], path);
    }
    (void)setenv("TMPDIR", kit.empty, 1);
    (void)setenv("HOME", kit.empty, 1);
    (void)setenv("XDG_RUNTIME_DIR", kit.empty, 1);
    (void)unsetenv("UVM_BOOT_FILES");
    count();
}

static void remove_folder(const char *folder) {
    DIR *d = opendir(folder);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) {
            (void)unlinkat(dirfd(d), e->d_name, 0);
        }
    }
    closedir(d);
    assert_int_equal(rmdir(folder), 0);
}

void kit_close(void) {
    char bin[128];
    uvm_harness_census_free(kit.nothing);
    (void)snprintf(bin, sizeof bin, "%s/bin", kit.folder);
    remove_folder(bin);
    remove_folder(kit.empty);
    remove_folder(kit.state);
    remove_folder(kit.folder);
}

/* Of these kinds; 0: of all. What is left is ended, and the next case counts from there. */
static void expect_left_nothing(unsigned kinds, unsigned timeout_ms) {
    char *text = NULL;
    pid_t pids[8];
    if (uvm_harness_census_compare(kit.nothing, kinds, timeout_ms, &text) == 0) {
        return;
    }
    size_t n = uvm_harness_descendants(NULL, pids, 8);
    for (size_t i = 0; i < n && i < 8; i++) {
        (void)kill(pids[i], SIGKILL);
    }
    count();
    print_error("%s", text == NULL ? "" : text);
    free(text);
    fail_msg("something was left");
}

void expect_nobody_left(unsigned timeout_ms) {
    expect_left_nothing(1u << UVM_HARNESS_PROCESS, timeout_ms);
}

int kit_check(void **state) {
    (void)state;
    expect_left_nothing(0, 1000);
    return 0;
}

/* ---- running ------------------------------------------------------------------------------ */

void boot_start(struct command *c, const struct command_options *o, const char *const *words) {
    const char *argv[32] = {kit.uvmctl};
    struct command_options options = o == NULL ? (struct command_options)COMMAND_OPTIONS_INIT : *o;
    size_t n = 1;
    if (words[0] == NULL || words[0][0] == '-') {
        argv[n++] = "boot";
    }
    for (; *words != NULL; words++) {
        assert_true(n < 31);
        argv[n++] = *words;
    }
    options.folder = kit.empty;
    command_start(c, &options, argv);
}

int boot_run(struct command *c, const char *const *words) {
    boot_start(c, NULL, words);
    return command_end(c, BOOT_MS);
}

void expect_out(const struct command *c, const char *text) {
    if (strcmp(c->out_text, text) != 0) {
        fail_msg("stdout is \"%s\", stderr \"%s\"", c->out_text, c->err_text);
    }
}

void expect_err(const struct command *c, const char *text) {
    if (strstr(c->err_text, text) == NULL) {
        fail_msg("stderr lacks \"%s\": %s", text, c->err_text);
    }
}

/* ---- files -------------------------------------------------------------------------------- */

void kit_write(const char *name, const void *data, size_t bytes, char ret_path[128]) {
    (void)snprintf(ret_path, 128, "%s/%s", kit.folder, name);
    int fd = open(ret_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, bytes), (ssize_t)bytes);
    close(fd);
}

void kit_forget(const char *path) {
    assert_int_equal(unlink(path), 0);
}

void kit_document(const char *initrd, const char *agent, char ret_path[128]) {
    char text[2048];
    int n = snprintf(
        text, sizeof text,
        "{\"Owner\":\"test\",\"SchemaVersion\":{\"Major\":2,\"Minor\":1},\"VirtualMachine\":{"
        "\"StopOnReset\":true,\"Chipset\":{\"LinuxKernelDirect\":{\"KernelFilePath\":\"%s\","
        "\"InitRdPath\":\"%s\",\"KernelCmdLine\":\"panic=-1 quiet nr_cpus=1 brd.rd_nr=0 -- -e 1 "
        "%s\"}},\"ComputeTopology\":{\"Memory\":{\"SizeInMB\":256,\"AllowOvercommit\":true},"
        "\"Processor\":{\"Count\":1}}},\"ShouldTerminateOnLastHandleClosed\":true}",
        kit.kernel, initrd, agent);
    assert_true(n > 0 && (size_t)n < sizeof text);
    kit_write("document.json", text, (size_t)n, ret_path);
}
