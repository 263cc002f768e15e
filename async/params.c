/* SPDX-License-Identifier: MIT
 * params.c — params structs of embedders older or newer than this library.
 */
#include "async/params.h"
#include "async/check.h"
#include "async/log.h"
#include <string.h>

int uvm__params_read(const char *name, const void *params, size_t known, void *ret,
                     struct uvm__fail *ret_fail) {
    size_t size;
    UVM_ASSERT(known > sizeof size);
    if (params == NULL) {
        return uvm__fail(ret_fail, UVM_E_INVAL, 0, "%s: there is none", name);
    }
    memcpy(&size, params, sizeof size);
    if (size < sizeof size) {
        return uvm__fail(ret_fail, UVM_E_INVAL, 0,
                         "%s: its size is %zu: begin with the initialiser of its header", name,
                         size);
    }
    if (size > known) {
        return uvm__fail(ret_fail, UVM_E_INVAL, 0,
                         "%s: %zu bytes, but this library knows %zu: the program was built for a "
                         "newer libuvm",
                         name, size, known);
    }
    memcpy((char *)ret + sizeof size, (const char *)params + sizeof size, size - sizeof size);
    return 0;
}

int uvm__params_read_logged(uvm_engine *e, const char *name, const void *params, size_t known,
                            void *ret) {
    struct uvm__fail f = {0};
    int rc = uvm__params_read(name, params, known, ret, &f);
    if (rc < 0) {
        uvm__log(e, UVM_LOG_ERROR, NULL, "%s", f.msg);
    }
    return rc;
}
