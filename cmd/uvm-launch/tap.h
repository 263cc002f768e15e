/* SPDX-License-Identifier: MIT
 * tap.h — "uvm-launch tap INTERFACE": the tap of a network adapter, in the namespace that it is run in. */
#pragma once

int uvm__tap_main(int argc, char **argv);
