/* SPDX-License-Identifier: MIT
 * version.c — what the library says about itself; what a program was built against, uvm.h's macros say.
 */
#include "uvm/uvm.h"

const char *uvm_version(void) {
    return UVM_VERSION;
}

int uvm_version_number(void) {
    return UVM_VERSION_NUMBER;
}
