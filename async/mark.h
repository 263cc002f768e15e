/* SPDX-License-Identifier: MIT
 * mark.h — coverage marks: what proves that the tests reach the rare branches.
 *
 * UVM__MARK(x) counts that it was passed, and UVM__MARK_IF(x, cond) that it was while `cond` held; `cond`
 * has no effects. Both are nothing at all, the condition included, but where UVM__MARKS is defined: in the
 * second build of a few sources that tests/marks links in front of the library. tests/tidy/objects.py looks
 * that no product has one.
 */
#pragma once
#include <stdint.h>

/* X(name, when it is passed) */
#define UVM__MARK_MAP(X)                                                                           \
    X(nowhere, "never: the test looks that it would say so")                                       \
    X(saga_late_success, "a step succeeds after its operation was quarantined")                    \
    X(saga_late_failure, "a step fails after its operation was quarantined")                       \
    X(saga_same_tick, "a step succeeds in the tick of the cancel")                                 \
    X(saga_asked_too_late, "a step succeeds although it was asked to end")                         \
    X(saga_stop_idle, "a reason to stop comes between two steps")                                  \
    X(saga_stop_committed, "a reason to stop comes after the commit")                              \
    X(saga_failed_armed, "a step fails whose effect may exist")                                    \
    X(saga_undo_failed, "an undo fails")                                                           \
    X(saga_undo_lost, "an undo fails with the connection")                                         \
    X(saga_undo_vm_gone, "an undo fails when the VM is gone")                                      \
    X(saga_unstuck, "the VM's end settles an undo that failed")                                    \
    X(saga_quarantine_run, "a step does not answer the cancel in time")                            \
    X(saga_quarantine_undo, "an undo does not end in time")                                        \
    X(saga_lifted, "a quarantine is lifted")                                                       \
    X(attach_place, "an attach waits for a place")                                                 \
    X(attach_left_to_others, "who gives up an attach leaves the device to others")                 \
    X(attach_failed_together, "an attach fails with the one that it joined")                       \
    X(attach_vm_gone, "the VM ends under an attach")                                               \
    X(attach_lifted, "a device goes after its attach was quarantined")                             \
    X(detach_again, "a detach goes on where another one stopped")                                  \
    X(detach_withdrawn, "a detach is given up before the guest was asked")                         \
    X(detach_stuck, "a detach stops half-way")                                                     \
    X(detach_busy, "a detach meets another one")                                                   \
    X(scsi_canceled, "the host takes back an attach that nobody wants any more")                   \
    X(scsi_unknown, "the host does not say whether it attached")                                   \
    X(scsi_released, "RELEASED frees a slot")                                                      \
    X(scsi_over, "the host answers after the disk's VM ended")                                     \
    X(scsi_memory, "a disk's way down waits for memory")                                           \
    X(scsi_unmount_refused, "the guest keeps a mount, and the reference stays")                    \
    X(scsi_mount_withdrawn, "a mount is withdrawn before the guest was asked")                     \
    X(tools_place, "the tools disk waits for a place")                                             \
    X(tools_raced, "somebody attached the tools disk before")                                      \
    X(tools_failed, "the tools disk does not come")                                                \
    X(bridge_twice, "the guest answers twice")                                                     \
    X(bridge_unknown, "the guest answers what nobody asked")                                       \
    X(bridge_orphan, "a reply comes after its call was given up")                                  \
    X(bridge_withdrawn, "a call is withdrawn before it has left")                                  \
    X(bridge_abandoned, "a call is given up after it has left")                                    \
    X(bridge_memory, "the bridge waits for memory")                                                \
    X(process_kill_refused, "the guest refuses to kill a process that nobody wants")               \
    X(process_unkillable, "the agent cannot kill a process that nobody wants")                     \
    X(process_exited, "a process that nobody wants has ended by itself")                           \
    X(boot_hangup_before, "the agent hangs up before disks are mounted")                           \
    X(boot_hangup_mounting, "the agent hangs up while disks are mounted")                          \
    X(boot_linger, "no word of the VM's end comes in time")                                        \
    X(boot_caller, "a boot is given up while its connection breaks")                               \
    X(boot_child_undo, "the boot's undo covers what a step could not take back")                   \
    X(boot_lost_between, "the agent is lost as the boot ends")                                     \
    X(exit_decides, "the VM's end says why a step failed")                                         \
    X(exit_known, "a step fails whose VM has ended already")                                       \
    X(exit_given_up, "who waits for the VM's end gives up")                                        \
    X(exit_agent_lost, "a VM goes on without its agent, and is terminated")                        \
    X(heartbeat_late, "a heartbeat is answered after it was missed")                               \
    X(heartbeat_hung, "the agent counts as hung")                                                  \
    X(heartbeat_overslept, "the host overslept a heartbeat")                                       \
    X(close_booting, "a VM is closed while it boots")                                              \
    X(close_undo, "a close waits for an undo")                                                     \
    X(stop_grace, "a guest does not shut down in time")

#ifdef UVM__MARKS
enum uvm__mark {
#define UVM__X(name, text) UVM__MARK_##name,
    UVM__MARK_MAP(UVM__X)
#undef UVM__X
        UVM__MARK_MAX
};
extern uint32_t uvm__marks[UVM__MARK_MAX];
#define UVM__MARK(name) ((void)uvm__marks[UVM__MARK_##name]++)
#define UVM__MARK_IF(name, cond) ((void)((cond) ? uvm__marks[UVM__MARK_##name]++ : 0u))
#else
#define UVM__MARK(name) ((void)0)
#define UVM__MARK_IF(name, cond) ((void)0)
#endif
