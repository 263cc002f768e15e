/* SPDX-License-Identifier: MIT
 * rootfs_test.c — the layers that the build makes for others: the guest's root as a disk that boots, and the agent put
 * over a root of somebody else's.
 */
#include "tests/integration/disk_kit.h"
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char rootfs[PATH_MAX], delta[PATH_MAX];

static void boots(const char *const *words, const char *out) {
    struct command c;
    int status = boot_run(&c, words);
    if (status != 0 || strcmp(c.out_text, out) != 0) {
        fail_msg("%d: \"%s\" \"%s\"", status, c.out_text, c.err_text);
    }
    command_free(&c);
}

/* Whoever is not root cannot make the layer's one device; the guest's kernel has its own. */
static void make_root(const char *layers, const char *name) {
    host(
        "rm -rf tree %s; mkdir tree; for l in %s; do tar -xzf $l -C tree --exclude dev/console; done; "
        "mkdir -p tree/dev; truncate -s 48M %s; /sbin/mkfs.ext4 -qF -d tree %s",
        name, layers, name, name);
}

#define LOOK                                                                                           \
    "sed -n 's|^\\(/dev/[a-z]*\\)[0-9]* / \\(ext4\\) \\(ro\\),.*|\\1 \\2 \\3|p' /proc/mounts; id -u; " \
    "cut -d' ' -f2 /etc/hosts; ls -d /lib/modules/$(uname -r)/modules.load | wc -l; "                  \
    "echo x > /tmp/x && cat /tmp/x; echo x 2>/dev/null > /x || echo read-only"

static void test_root_as_a_disk(void **state) {
    (void)state;
    make_root(rootfs, "root.img");
    host("cp root.img root.copy");
    boots(LIST("--rootfs", image("root.img"), "--", "sh", "-c", LOOK),
          "/dev/sda ext4 ro\n0\nlocalhost\nuvm\n1\nx\nread-only\n");
    host("cmp root.img root.copy");
}

static void test_root_in_virtual_pmem(void **state) {
    (void)state;
    make_root(rootfs, "root.img");
    boots(LIST("--rootfs", image("root.img"), "--rootfs-on", "vpmem", "--", "sh", "-c", LOOK),
          "/dev/pmem ext4 ro\n0\nlocalhost\nuvm\n1\nx\nread-only\n");
}

/* A root that knows nothing of us, and what makes it a guest's. */
static void test_delta(void **state) {
    (void)state;
    host("rm -rf base; mkdir -p base/bin base/etc base/proc base/sys base/run base/tmp base/var; "
         "cp \"$(command -v busybox)\" base/bin/busybox; for w in sh readlink ls; do "
         "ln -s busybox base/bin/$w; done; tar -czf base.tar.gz -C base .");
    char layers[PATH_MAX + 32];
    (void)snprintf(layers, sizeof layers, "base.tar.gz %s", delta);
    make_root(layers, "delta.img");
    boots(LIST("--rootfs", image("delta.img"), "--", "/bin/sh", "-c",
               "/bin/readlink /init; cd /bin; ls -d gcs gcs-* uvm-launch vsockexec; "
               "/bin/gcs -version >/dev/null 2>&1; test $? -le 2 && echo it runs"),
          "bin/gcs\ngcs\ngcs-device\ngcs-dhcp\ngcs-modules\nuvm-launch\nvsockexec\nit runs\n");
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_root_as_a_disk, kit_check),
        cmocka_unit_test_teardown(test_root_in_virtual_pmem, kit_check),
        cmocka_unit_test_teardown(test_delta, kit_check),
    };
    if (argc != 9 || realpath(argv[7], rootfs) == NULL || realpath(argv[8], delta) == NULL) {
        (void)fprintf(stderr, "usage: rootfs_test UVMCTL UVM-LAUNCH VMLINUX INITRD LIAR TOOLS "
                              "ROOTFS DELTA\n");
        return 2;
    }
    disks_open(argv + 1);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    disks_close();
    return failed;
}
