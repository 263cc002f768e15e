/* SPDX-License-Identifier: MIT
 * view.h — uvm-view: puts folders and files of the host into another process's mount namespace, and takes
 * them out again.
 *
 *     uvm-view add PID NAME PATH ro|rw [FILE...]     PATH is seen as /NAME there; with FILEs, a folder of just these
 *     uvm-view remove PID NAME                       and no more
 *
 * PID is a file server that has shut itself into an empty folder (uvm-launch --tmpfs), so what it is shown here is
 * all that it can serve. A view is a mount of its own: read-only ones are so by the kernel, whatever the server
 * or who uses it does. It does not follow what is mounted below PATH. Everything blocks; uvm starts one process a
 * change. The exit status is an enum uvm__view_status; but for the first, stderr has the words.
 */
#pragma once

enum uvm__view_status {
    UVM__VIEW_DONE,
    UVM__VIEW_FAILED,
    UVM__VIEW_NO_PATH,  /* what shall be seen is missing */
    UVM__VIEW_WRONG,    /* it is of another type: no folder, no regular file */
    UVM__VIEW_BUSY,     /* of a removal: something there is still open; ask again */
    UVM__VIEW_NO_SERVER /* the process, or its namespace, is gone */
};

int uvm__view_main(int argc, char **argv);
