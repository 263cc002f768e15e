/* SPDX-License-Identifier: MIT
 * spawn.c — the options of uvm-launch for a VMM.
 *
 * Its own process group, so that a Ctrl-C at the owner's terminal does not reach it; killed with its owner;
 * no core file, which would hold the guest's memory; no way to more privileges; few files.
 */
#include "hcs/qemu/spawn.h"

#include <stdio.h>
#include <sys/resource.h>

#include "async/check.h"

#define FILES_MAX 4096u /* a disk, a queue or a share takes a few descriptors each */

/* As many as that, or as we may give. */
static unsigned files_max(void) {
    struct rlimit own;
    return getrlimit(RLIMIT_NOFILE, &own) == 0 && own.rlim_max < FILES_MAX ? (unsigned)own.rlim_max
                                                                           : FILES_MAX;
}

int uvm__qemu_spawn(uvm_engine *e, const struct uvm__qemu_spawn *params, struct uvm__child **ret,
                    struct uvm__fail *f) {
    char uid[16], gid[16], files[16];
    const char *options[16];
    size_t n = 0;

    options[n++] = "--pgroup";
    options[n++] = "--nofile";
    snprintf(files, sizeof files, "%u", files_max());
    options[n++] = files;
    options[n++] = "--no-core";
    if (params->cgroup != NULL) {
        options[n++] = "--cgroup";
        options[n++] = params->cgroup;
    }
    if (params->lease->drop) {
        snprintf(uid, sizeof uid, "%u", params->lease->uid);
        snprintf(gid, sizeof gid, "%u", params->lease->gid);
        options[n++] = "--uid";
        options[n++] = uid;
        options[n++] = "--gid";
        options[n++] = gid;
    }
    options[n++] = "--no-new-privs";
    options[n++] = "--chdir";
    options[n++] = "/";
    options[n++] = "--deathsig";
    options[n++] = "9";
    options[n] = NULL;
    UVM_ASSERT_CMP(n, <, sizeof options / sizeof options[0]);
    const struct uvm__child_params child = {
        .launch_path = params->launch_path,
        .name = "qemu",
        .argv = (const char *const *)params->argv,
        .launch_args = options,
        .fds = params->fds,
        .fds_count = params->fds_count,
        .capture_stderr = true,
        .on_started = params->on_started,
        .on_exit = params->on_exit,
        .arg = params->arg,
    };
    return uvm__child_spawn(e, &child, ret, f);
}
