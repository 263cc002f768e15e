/* SPDX-License-Identifier: MIT
 * limits.h — every time and size limit of the engine, in one place.
 *
 * Times are milliseconds, sizes bytes. Reaching one is a worded error, never a crash.
 */
#pragma once

/* times */
#define UVM__BOOT_MS 120000u        /* options accepted to negotiated (hcsshim's: 2 min) */
#define UVM__UNDO_MS 5000u          /* the undo of one op, from the moment it begins */
#define UVM__CHILD_ASK_MS 500u      /* ladder: polite request */
#define UVM__CHILD_TERM_MS 500u     /* ladder: SIGTERM */
#define UVM__CHILD_KILLED_MS 10000u /* ladder: SIGKILL to the end; then the kernel keeps it */
#define UVM__CHILD_DRAIN_MS 200u    /* a child's end to the end of what others hold of its stderr */
#define UVM__EXIT_CLASSIFY_MS 1000u /* first sign of the VMM's end to a decided exit reason */
#define UVM__AGENT_LOST_MS 3000u    /* end of the bridge to the VM's end; then it is terminated */
#define UVM__MEMORY_RETRY_MS 100u   /* what must not fail for lack of memory is tried again */
#define UVM__ATTACH_MS 60000u       /* a device asked for to its guest's answer */
#define UVM__DETACH_MS 60000u       /* the other way */
#define UVM__REMOVE_MS 10000u       /* the host's part of a removal; then it is given up on */
#define UVM__STOP_GRACE_MS 10000u   /* a guest that was asked to shut down; our agent needs half */
#define UVM__HEARTBEAT_MS 5000u     /* between two heartbeats of a running VM */
#define UVM__RPC_MS 300000u         /* a synchronous RPC (reference: 5 min) */
#define UVM__BRIDGE_MEMORY_MS 5000u /* a frame waits for memory before its connection is given up */
#define UVM__STDIO_IDLE_MS 1000u    /* drain after exit: no byte while the reader was ready */
#define UVM__ACCEPT_STDIO_MS 10000u /* exec request sent to its streams connected */
#define UVM__VSOCK_CONNECT_MS 2000u /* host dials guest */
#define UVM__VSOCK_CLOSING_MS 8000u /* our SHUTDOWN to the guest's RST */
#define UVM__SHARE_BUSY_MS 2000u    /* what a guest forgets of a share it gives back by then */
#define UVM__UNPLUG_MS 5000u        /* a removal that the VMM was asked for, to its end */
#define UVM__PLUG_APART_MS 10u      /* two disks of one controller that come or go */
#define UVM__PROBE_KVM_MS 1000u     /* accelerator probe VM */
#define UVM__PROBE_QMP_MS 10000u    /* a VMM that is only asked what it can do */
#define UVM__ACCEPT_REST_MS 100u    /* a listener that got no descriptor tries again */
#define UVM__CONTROL_HELLO_MS 5000u /* a control client connected to its hello */
#define UVM__CONTROL_LINGER_MS 1000u /* last answers wait for a control client that does not read */
#define UVM__CONTROL_ENDED_MS 86400000u /* the end of a UVM is remembered */
#define UVM__VMBUS_OPEN_MS 20000u       /* a device offered to the guest's word that it found it */
#define UVM__VMBUS_CLOSE_MS 5000u       /* ... rescinded to its word that it let go */

/* sizes and counts */
#define UVM__FRAME_BYTES_MAX 65536u             /* bridge frame towards the host, header included */
#define UVM__REQUEST_BYTES_MAX 65536u           /* bridge frame towards the guest that we send */
#define UVM__SERVER_FRAME_BYTES_MAX (16u << 20) /* bridge frame that our agent accepts */
#define UVM__RPC_PENDING_MAX 1024u           /* calls in flight on one bridge, orphans included */
#define UVM__BRIDGE_OUT_BYTES_MAX (1u << 20) /* requests that wait to leave on one bridge */
#define UVM__SERVER_REPLIES_MAX 64u /* answers that wait to leave before the agent stops reading */
#define UVM__SERVER_IN_WORK_MAX 4096u /* requests that the agent works on at a time */
#define UVM__JSON_DEPTH_MAX 64u
#define UVM__JSON_NODES_MAX 65536u
#define UVM__JSON_NODES_MIN 4096u
#define UVM__JSON_BYTES_PER_NODE 4u
#define UVM__CMDLINE_BYTES_MAX                                                                     \
    2047u /* a guest kernel's: COMMAND_LINE_SIZE without the terminator */
#define UVM__DOCUMENT_BYTES_MAX (1u << 20)
#define UVM__QMP_LINE_BYTES_MAX (1u << 20)
#define UVM__CONSOLE_TAIL_BYTES 16384u     /* kept of the guest's console */
#define UVM__GUEST_LOG_TAIL_BYTES 16384u   /* kept of the agent's log */
#define UVM__VMM_STDERR_BYTES 8192u        /* kept of the VMM's stderr */
#define UVM__CHILD_FDS_MAX 64u             /* descriptors given to one child */
#define UVM__CHILD_TARGET_MAX 255u         /* ... and the highest number that one may get */
#define UVM__SOCK_OUT_BYTES_MAX (1u << 20) /* queued on one socket */
#define UVM__SOCK_FDS_MAX 16u              /* descriptors in one message */
#define UVM__STREAM_WINDOW_BYTES 524288u   /* receive window of one hvsock stream */
#define UVM__STREAMS_MAX 1024u             /* streams of one VM, half-open ones included */
#define UVM__STREAMS_BYTES_MAX (16u << 20) /* unread bytes of all streams of one VM */
#define UVM__REQUESTS_PER_S_MAX 20000u     /* connections that a guest opens, in the long run */
#define UVM__REQUESTS_AT_ONCE_MAX 4096u    /* ... and in one go */
#define UVM__CONNECTS_MAX 128u             /* host-initiated connects in flight per VM */
#define UVM__ACCEPTS_MAX 128u              /* accepted, not yet taken, per listener */
#define UVM__HEARTBEAT_MISSES 2u           /* periods in a row without an answer; then it is hung */
#define UVM__EVENT_RING 32u                /* recent events kept per VM */
#define UVM__STEPS_MAX 32u                 /* steps in one saga */
#define UVM__VMBUS_DEVICES_MAX 64u         /* offered to one VM */
#define UVM__VMBUS_LINE_BYTES_MAX 256u     /* of the offer channel, line feed included */
#define UVM__CONTROL_CLIENTS_MAX 32u       /* control clients of one VM */
#define UVM__CONTROL_BACKLOG 64            /* ... that wait to be accepted */
#define UVM__CONTROL_LINE_BYTES_MAX 131072u /* a control request; an exec has 60 KiB of words */
#define UVM__CONTROL_ANSWER_BYTES_MAX (4u << 20) /* a control answer, line feed included */
#define UVM__CONTROL_CALLS_MAX 64u               /* in flight, of one control client */
#define UVM__CONTROL_PROCESSES_MAX 64u  /* that one control client started and did not wait for */
#define UVM__CONTROL_FDS_MAX 8u         /* descriptors of a control client that no call took yet */
#define UVM__CONTROL_ENDED_MAX 64u      /* ends of UVMs that a state folder remembers */
#define UVM__CONTROL_ENDED_BYTES 65536u /* of one of them */
#define UVM__CONTROL_SPANS_MAX 8192u /* spans, begins and ends, of one call of a control client */
#define UVM__CONTROL_STREAM_BYTES 65536u /* of console or log, for a reader that is slow */
