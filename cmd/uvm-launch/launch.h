/* SPDX-License-Identifier: MIT
 * launch.h — the body of uvm-launch, for programs that carry it under another argv[0].
 *
 * The host installs it as a program of its own beside the library; the guest's one binary has it
 * too. async/launch_proto.h is what the caller reads back. See launch.c for the options.          */
#pragma once

/* Does what argv asks and execs; comes back only with the status to end with. */
int uvm__launch_main(int argc, char **argv);
