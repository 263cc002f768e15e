/* SPDX-License-Identifier: MIT
 * layers_test.c — a container's root in a real guest: an overlay of layers that are a disk and an image in virtual
 * PMem, and of a scratch disk, plain or encrypted; put together, written to, taken apart, and nothing is held after.
 *
 * The requests are the host's, handed to the agent's worker in the guest. One UVM serves all cases; after each of
 * them nothing is attached, and no overlay is there.
 */
#include "tests/integration/disk_kit.h"
#include <stdio.h>
#include <string.h>

/* The settings of a request, which hold no "'". */
static void request(int status, const char *words, const char *verb, const char *settings) {
    struct command c;
    char script[1200];
    (void)snprintf(script, sizeof script, "UVM_INIT=1 gcs-device CombinedLayers %s '%s'", verb,
                   settings);
    int got = boot_run(&c, LIST("exec", "demo", "--", "sh", "-c", script));
    if (got != status || strstr(c.err_text, words) == NULL) {
        fail_msg("%s: %d: %s", script, got, c.err_text);
    }
    command_free(&c);
}

static int begin(void **state) {
    struct command c;
    (void)state;
    host("rm -rf low top; mkdir -p low/dir top/dir; echo low > low/both; echo low > low/low; "
         "echo low > low/dir/x; echo top > top/both; echo top > top/dir/y; "
         "for l in low top; do truncate -s 8M $l.img; /sbin/mkfs.ext4 -qF -d $l $l.img; done; "
         "cp low.img low.copy; cp top.img top.copy");
    assert_int_equal(boot_run(&c, LIST("--name", "demo", "-d", "--annotation",
                                       "io.microsoft.virtualmachine.devices.virtualpmem."
                                       "maximumcount=2")),
                     0);
    command_free(&c);
    return 0;
}

struct attached {
    char low[32], top[32], scratch[32];
};

static void attach_layers(struct attached *a) {
    struct command c;
    attach(a->low, LIST(image("low.img"), "--mount", "/layers/low", "--ro"));
    int status =
        boot_run(&c, LIST("attach", "demo", "vpmem", image("top.img"), "--mount", "/layers/top"));
    if (status != 0) {
        fail_msg("%d: %s", status, c.err_text);
    }
    (void)snprintf(a->top, sizeof a->top, "%.*s", (int)strcspn(c.out_text, " "), c.out_text);
    command_free(&c);
}

static void detach_layers(const struct attached *a) {
    detach(a->top);
    detach(a->low);
    host("cmp low.img low.copy; cmp top.img top.copy");
}

#define LAYERS "\"Layers\":[{\"Path\":\"/layers/top\"},{\"Path\":\"/layers/low\"}]"
#define ROOT "\"ContainerRootPath\":\"/run/gcs/c/c1/rootfs\""

#define FRESH "\"ContainerRootPath\":\"/run/fresh/c1/rootfs\"" /* nothing of the way is there */

static void test_ten_rounds(void **state) {
    struct attached a;
    (void)state;
    for (int i = 0; i < 10; i++) {
        bool encrypted = i % 2 == 1;
        attach_layers(&a);
        if (encrypted) {
            host("rm -f scratch.img; truncate -s 32M scratch.img");
            attach(a.scratch, LIST(image("scratch.img"), "--mount", "/scratch", "--encrypted"));
        } else {
            make_ext4("scratch.img", 16);
            attach(a.scratch, LIST(image("scratch.img"), "--mount", "/scratch"));
        }
        request(0, "", "Add", "{" ROOT "," LAYERS ",\"ScratchPath\":\"/scratch/c1\"}");
        guest(0, "top\nlow\nlow\ntop\n",
              "cd /run/gcs/c/c1/rootfs && cat both low dir/x dir/y && echo new > both && "
              "echo new > new && rm low && ! test -e low && cat /layers/low/low > /dev/null");
        guest(0, "new\nnew\n", "cat /scratch/c1/upper/both /run/gcs/c/c1/rootfs/new");
        /* The bundle is the scratch's. */
        guest(0, "config\n", "echo config > /run/gcs/c/c1/config; cat /scratch/c1/bundle/config");
        request(1, "something is mounted there already", "Add",
                "{" ROOT "," LAYERS ",\"ScratchPath\":\"/scratch/c1\"}");
        guest(0, "new\n", "cat /run/gcs/c/c1/rootfs/new");
        request(0, "", "Remove", "{" ROOT "}");
        request(0, "", "Remove", "{" ROOT "}");
        guest(0, "", "! grep -e overlay -e /run/gcs /proc/mounts; ! test -e /run/gcs/c/c1/rootfs");
        detach(a.scratch);
        detach_layers(&a);
        if (!encrypted) {
            expect_in_image("scratch.img", "c1/upper/new", "new");
            expect_in_image("scratch.img", "c1/bundle/config", "config");
        }
    }
}

static void test_read_only(void **state) {
    struct attached a;
    (void)state;
    attach_layers(&a);
    request(0, "", "Add", "{" ROOT "," LAYERS "}");
    guest(0, "top\nlow\n", "cd /run/gcs/c/c1/rootfs && cat both low && ! touch x 2>/dev/null");
    request(0, "", "Remove", "{" ROOT "}");
    request(0, "", "Add", "{" ROOT ",\"Layers\":[{\"Path\":\"/layers/low\"}]}");
    guest(0, "low\nlow\n", "cd /run/gcs/c/c1/rootfs && cat both low && ! touch x 2>/dev/null");
    request(0, "", "Remove", "{" ROOT "}");
    detach_layers(&a);
}

/* hcsshim's first layout: the scratch is the bundle. */
static void test_scratch_is_the_bundle(void **state) {
    struct attached a;
    (void)state;
    attach_layers(&a);
    make_ext4("scratch.img", 16);
    attach(a.scratch, LIST(image("scratch.img"), "--mount", "/run/gcs/c/c1"));
    request(0, "", "Add", "{" ROOT "," LAYERS ",\"ScratchPath\":\"/run/gcs/c/c1/scratch/c1\"}");
    guest(0, "", "echo new > /run/gcs/c/c1/rootfs/new; ! grep bundle /proc/self/mountinfo");
    request(0, "", "Remove", "{" ROOT "}");
    guest(0, "new\n", "cat /run/gcs/c/c1/scratch/c1/upper/new"); /* that one stays mounted */
    detach(a.scratch);
    detach_layers(&a);
}

/* What fails leaves nothing: no folder in the scratch, no bundle, no root. */
static void test_refused(void **state) {
    struct attached a;
    (void)state;
    attach_layers(&a);
    guest(0, "", "mkdir -p /s; ln -s /layers/low /run/link");
    request(1, "/layers/none/: No such file or directory", "Add",
            "{" FRESH ",\"Layers\":[{\"Path\":\"/layers/low\"},{\"Path\":\"/layers/none/\"}],"
            "\"ScratchPath\":\"/s/c1\"}");
    request(1, "symbolic link", "Add",
            "{" FRESH ",\"Layers\":[{\"Path\":\"/run/link\"}],\"ScratchPath\":\"/s/c1\"}");
    request(1, "/layers/low/s: Read-only file system", "Add",
            "{" FRESH "," LAYERS ",\"ScratchPath\":\"/layers/low/s\"}");
    request(2, "Layers: there is none", "Add", "{" FRESH ",\"ScratchPath\":\"/s/c1\"}");
    request(2, "Layers: no list", "Add", "{" FRESH ",\"Layers\":7}");
    request(2, "Layers: Path", "Add", "{" FRESH ",\"Layers\":[{\"Path\":\"low\"}]}");
    request(2, "ContainerRootPath", "Add", "{" LAYERS "}");
    guest(0, "0\n",
          "ls /s | wc -l; ! grep -e overlay -e /run/fresh /proc/mounts; ! test -e /run/fresh");
    guest(0, "", "rm /run/link; rmdir /s");
    detach_layers(&a);
}

static int nothing_there(void **state) {
    (void)state;
    expect_no_disks();
    guest(1, "", "grep overlay /proc/mounts");
    return 0;
}

static int end(void **state) {
    expect(0, NULL, NULL, LIST("stop", "demo"));
    return nothing_left(state);
}

int main(int argc, char **argv) {
#define CASE(name) cmocka_unit_test_teardown(name, nothing_there)
    const struct CMUnitTest tests[] = {
        CASE(test_ten_rounds),
        CASE(test_read_only),
        CASE(test_scratch_is_the_bundle),
        CASE(test_refused),
    };
    if (argc != 7) {
        (void)fprintf(stderr, "usage: layers_test UVMCTL UVM-LAUNCH VMLINUX INITRD LIAR TOOLS\n");
        return 2;
    }
    disks_open(argv + 1);
    int failed = cmocka_run_group_tests(tests, begin, end);
    disks_close();
    return failed;
}
