/* SPDX-License-Identifier: MIT
 * spawn.h — QEMU as a child: unprivileged, confined, with exactly the descriptors that it is given.
 */
#pragma once
#include "async/child.h"
#include "hcs/qemu/uid.h"

struct uvm__qemu_spawn {
    const char *launch_path;
    char *const *argv;
    const struct uvm__uid_lease *lease;
    const char *cgroup; /* to join; NULL: ours */
    const struct uvm__child_fd *fds;
    size_t fds_count;
    void (*on_started)(struct uvm__child *c, const uvm_error *err, void *arg);
    void (*on_exit)(struct uvm__child *c, int status, void *arg);
    void *arg;
};

int uvm__qemu_spawn(uvm_engine *e, const struct uvm__qemu_spawn *params, struct uvm__child **ret,
                    struct uvm__fail *f);
