/* SPDX-License-Identifier: MIT
 * root.h — uvm-launch's --root: a file system of the program's own, with nothing in it but what is named.
 *
 * SPEC has a line for each thing:
 *
 *     bind FD ro|rw PLACE    what FD (a folder or a file, O_PATH will do) is open on; the program does not
 *                            get FD. What is mounted below it is not seen; set-user-ID bits and device files have no effect
 *     system PATH            the host's PATH at the same place, read-only; where there is none, nothing
 *     folder PLACE           an empty folder
 *     data FD PLACE          a file with all that FD has to read
 *     text PLACE LINE        a file with this line
 *
 * PLACE is a path from the new root; its folders are made. The root itself is in memory and read-only. The
 * program also has a network namespace without a device, and IPC of its own.
 */
#pragma once

int uvm__launch_root(const char *spec); /* 0, or -1 with errno */
