/* SPDX-License-Identifier: MIT
 * disk_kit.h — disk images in a folder of the test's own, made and looked into with the tools of the host.
 */
#pragma once
#include "tests/integration/detach_kit.h"

/* A command line of this host's shell, in the folder of images; it must succeed. */
__attribute__((format(printf, 1, 2))) void host(const char *fmt, ...);
/* The path of an image. Valid for the next 63 calls. */
const char *image(const char *name);
/* A raw image of so many MiB with an empty ext4. */
void make_ext4(const char *name, unsigned mb);
/* What stands in a file of an ext4 that is in a raw image. */
void expect_in_image(const char *name, const char *file, const char *text);

/* A shell's command line in the UVM called demo: its status and exact output. */
void guest(int status, const char *out, const char *script);

/* An attach to demo that must succeed; the id is copied, NULL: not wanted. */
void attach(char ret_id[32], const char *const *words);
void detach(const char *id);
/* Nothing is attached to demo but what is the engine's own; waits a little for what is just leaving. */
void expect_no_disks(void);

/* Around kit_open() and kit_close(); the seventh argument of the test is tools.img. */
void disks_open(char **argv);
void disks_close(void);
