/* SPDX-License-Identifier: MIT
 * error.c — counted, immutable errors with a cause chain, and ones that never need memory.
 *
 * An error keeps its own copy of the allocator: it may outlive its engine in an embedder's hands. Amending
 * an error that others hold works on a clone. Where memory is lacking, a static error of the same code
 * stands in, and amendments are left out: reporting itself cannot fail.
 */
#include "async/error.h"
#include "async/check.h"
#include "async/engine_int.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

struct uvm_error {
    uint32_t refs; /* 0: static */
    enum uvm_error_code code;
    int64_t sys;
    bool retryable;
    struct uvm_allocator allocator;
    char *step, *message, *detail; /* NULL: "" */
    uvm_error *cause;
};

/* One per code, used when there is no memory for a real one: the code is right, the words are not. */
static const uvm_error static_errors[UVM_E_MAX] = {
#define UVM__X(name, text)                                                                         \
    [UVM_E_##name] = {.code = UVM_E_##name, .retryable = UVM_E_##name == UVM_E_NOMEM},
    UVM_ERROR_MAP(UVM__X)
#undef UVM__X
};

static const struct {
    const char *name, *text;
} codes[UVM_E_MAX] = {[UVM_OK] = {"OK", "success"},
#define UVM__X(name, text) [UVM_E_##name] = {#name, text},
                      UVM_ERROR_MAP(UVM__X)
#undef UVM__X
};

static int code_index(int code) {
    code = code < 0 ? -code : code;
    return code >= 0 && code < UVM_E_MAX ? code : -1;
}

const char *uvm_error_code_text(int code) {
    int i = code_index(code);
    return i < 0 ? "unknown error" : codes[i].text;
}

const char *uvm_error_code_name(int code) {
    int i = code_index(code);
    return i < 0 ? "UNKNOWN" : codes[i].name;
}

enum uvm_error_code uvm_error_code(const uvm_error *err) {
    return err->code;
}

int64_t uvm_error_sys(const uvm_error *err) {
    return err->sys;
}

const char *uvm_error_step(const uvm_error *err) {
    return err->step == NULL ? "" : err->step;
}

const char *uvm_error_message(const uvm_error *err) {
    return err->message == NULL ? uvm_error_code_text((int)err->code) : err->message;
}

const char *uvm_error_detail(const uvm_error *err) {
    return err->detail == NULL ? "" : err->detail;
}

bool uvm_error_retryable(const uvm_error *err) {
    return err->retryable;
}

const uvm_error *uvm_error_cause(const uvm_error *err) {
    return err->cause;
}

uvm_error *uvm_error_ref(const uvm_error *err) {
    uvm_error *e = (uvm_error *)(uintptr_t)err; /* counting does not change what it says */
    if (e != NULL && e->refs > 0) {
        e->refs++;
    }
    return e;
}

uvm_error *uvm_error_unref(uvm_error *err) {
    while (err != NULL && err->refs > 0 && --err->refs == 0) {
        uvm_error *cause = err->cause;
        struct uvm_allocator a = err->allocator;
        char *owned[] = {err->step, err->message, err->detail};
        for (size_t i = 0; i < sizeof owned / sizeof owned[0]; i++) {
            if (owned[i] != NULL) {
                a.free(owned[i], a.arg);
            }
        }
        a.free(err, a.arg);
        err = cause;
    }
    return NULL;
}

/* Never written through: refs is 0. */
static uvm_error *static_error(enum uvm_error_code code) {
    return (uvm_error *)(uintptr_t)&static_errors[code];
}

uvm_error *uvm__error_nomem(void) {
    return static_error(UVM_E_NOMEM);
}

static char *copy_text(const struct uvm_allocator *a, const char *text, size_t bytes) {
    char *copy = a->malloc(bytes + 1, a->arg);
    if (copy != NULL) {
        memcpy(copy, text, bytes);
        copy[bytes] = 0;
    }
    return copy;
}

static uvm_error *new_error(const struct uvm_allocator *a, enum uvm_error_code code, int64_t sys,
                            const char *message) {
    uvm_error *err = a->malloc(sizeof *err, a->arg);
    if (err == NULL) {
        return static_error(code);
    }
    *err = (uvm_error){.refs = 1, .code = code, .sys = sys, .allocator = *a};
    if (message != NULL) {
        err->message = copy_text(a, message, strlen(message));
    }
    return err;
}

uvm_error *uvm__error_v(uvm_engine *e, enum uvm_error_code code, int64_t sys, const char *fmt,
                        va_list ap) {
    UVM_ASSERT(code > UVM_OK && code < UVM_E_MAX);
    if (code == UVM_E_NOMEM) {
        return uvm__error_nomem();
    }
    char message[1024];
    (void)vsnprintf(message, sizeof message, fmt, ap);
    return new_error(&e->allocator, code, sys, message);
}

uvm_error *uvm__error(uvm_engine *e, enum uvm_error_code code, int64_t sys, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    uvm_error *err = uvm__error_v(e, code, sys, fmt, ap);
    va_end(ap);
    return err;
}

uvm_error *uvm__error_errno(uvm_engine *e, int err, const char *fmt, ...) {
    if (err == ENOMEM) {
        return uvm__error_nomem();
    }
    char what[512];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    return uvm__error(e, UVM_E_IO, err, "%s: %s", what, strerrordesc_np(err));
}

/* The caller's reference, on an error that nobody else holds; the static one comes back as it is. */
static uvm_error *own(uvm_error *err) {
    if (err->refs <= 1) {
        return err;
    }
    uvm_error *clone = new_error(&err->allocator, err->code, err->sys, err->message);
    if (clone->refs == 0) {
        return err; /* no memory: unamended, but the right error */
    }
    clone->retryable = err->retryable;
    clone->cause = uvm_error_ref(err->cause);
    if (err->step != NULL) {
        clone->step = copy_text(&err->allocator, err->step, strlen(err->step));
    }
    if (err->detail != NULL) {
        clone->detail = copy_text(&err->allocator, err->detail, strlen(err->detail));
    }
    uvm_error_unref(err);
    return clone;
}

static void replace(uvm_error *err, char **field, char *take_text) {
    if (take_text != NULL) {
        if (*field != NULL) {
            err->allocator.free(*field, err->allocator.arg);
        }
        *field = take_text;
    }
}

uvm_error *uvm__error_detail(uvm_error *take_err, const char *text, size_t bytes) {
    uvm_error *err = own(take_err);
    if (err->refs == 1 && bytes > 0) {
        replace(err, &err->detail, copy_text(&err->allocator, text, bytes));
    }
    return err;
}

uvm_error *uvm__error_cause(uvm_error *take_err, uvm_error *take_cause) {
    uvm_error *err = own(take_err);
    if (err->refs != 1 || err == take_cause) {
        uvm_error_unref(take_cause);
        return err;
    }
    uvm_error *last = err;
    while (last->cause != NULL && last->cause->refs == 1) {
        last = last->cause;
    }
    if (last->cause == NULL) {
        last->cause = take_cause;
    } else {
        uvm_error_unref(take_cause);
    }
    return err;
}

uvm_error *uvm__error_retryable(uvm_error *take_err) {
    uvm_error *err = own(take_err);
    if (err->refs == 1) {
        err->retryable = true;
    }
    return err;
}

uvm_error *uvm__error_step(uvm_error *take_err, const char *name) {
    uvm_error *err = own(take_err);
    if (err->refs != 1) {
        return err;
    }
    char path[256];
    const char *rest = uvm_error_step(err);
    int n = snprintf(path, sizeof path, "%s%s%s", name, rest[0] == 0 ? "" : " › ", rest);
    UVM_ASSERT(n >= 0);
    replace(err, &err->step, copy_text(&err->allocator, path, strlen(path)));
    return err;
}

int uvm__fail(struct uvm__fail *f, enum uvm_error_code code, int64_t sys, const char *fmt, ...) {
    if (f != NULL) {
        va_list ap;
        va_start(ap, fmt);
        (void)vsnprintf(f->msg, sizeof f->msg, fmt, ap);
        va_end(ap);
        f->sys = sys;
    }
    return -(int)code;
}

uvm_error *uvm__fail_error(uvm_engine *e, int negative_code, const struct uvm__fail *f) {
    UVM_ASSERT(negative_code < 0 && negative_code > -UVM_E_MAX);
    enum uvm_error_code code = (enum uvm_error_code)(-negative_code);
    if (f == NULL || f->msg[0] == 0) {
        return uvm__error(e, code, 0, "%s", uvm_error_code_text(negative_code));
    }
    return uvm__error(e, code, f->sys, "%s", f->msg);
}
