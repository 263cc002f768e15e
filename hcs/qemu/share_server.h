/* SPDX-License-Identifier: MIT
 * share_server.h — who serves a VM's shared folders: a virtiofsd and a PCI device of the VM for each mode of
 * access, as long as there is a share of the mode.
 *
 * The server runs in the VM's control group, in a mount namespace of its own whose root is an empty folder; what
 * it can serve is what uvm-view puts there. A server that dies takes its shares with it: what the guest asks them
 * is answered with an error (hvsock/virtio_fs_relay.h) until they are removed; the next share begins a new server.
 *
 *     start   port → process → socket to QEMU → chardev → device. Undone in reverse
 *     stop    device → chardev → process ends by itself → port. It only goes forward
 */
#pragma once
#include "hcs/qemu/qemu_int.h"

#define UVM__SHARE_TAG_BYTES 36u /* virtio-fs's limit: 36 with no end; ours are short */
#define UVM__SHARE_TMPFS "/tmp"  /* where the server's empty folder is, in its own namespace */

struct uvm__share_server;

/* Somebody who waits for a server to come or to go. */
struct uvm__share_wait {
    struct uvm__list link; /* initialised by the owner */
    /* Once, later. `err` (borrowed): it did not come, and is used no more. NULL: it did, or it went. */
    void (*fn)(struct uvm__share_wait *w, const uvm_error *err);
};

/* The server of the mode, which is started where there is none. The caller uses it from here on, also while it
 * comes. 1: it is there; 0: `w` is told when it is. -UVM_E_NOMEM. */
int uvm__share_server_use(struct uvm__qemu_system *s, bool read_only, struct uvm__share_wait *w,
                          struct uvm__share_server **ret);
/* The caller, who may wait for it, uses it no more. True: that is all, for others do. False: it goes,
 * and `w` is told when it is gone. */
bool uvm__share_server_drop(struct uvm__share_server *v, struct uvm__share_wait *w);

bool uvm__share_server_dead(const struct uvm__share_server *v);
pid_t uvm__share_server_pid(const struct uvm__share_server *v);
const char *uvm__share_server_tag(const struct uvm__share_server *v);

/* With the VM's parts: kills what runs; `on_closed` for each process, whose number is returned. */
unsigned uvm__share_servers_close(struct uvm__qemu_system *s, void (*on_closed)(void *arg),
                                  void *arg);
/* With the system: no operation is left. */
void uvm__share_servers_free(struct uvm__qemu_system *s);
