/* SPDX-License-Identifier: MIT
 *
 * The words of a request about a device that failed (device.h).
 */
#include "cmd/gcs/device.h"

#include <stdarg.h>
#include <stdio.h>

static int say(struct gcs_words *w, int status, const char *fmt, va_list ap) {
    w->status = status;
    w->unreadable = false;
    (void)vsnprintf(w->text, sizeof w->text, fmt, ap);
    return -1;
}

int gcs_fail(struct gcs_words *w, const char *fmt, ...) {
    va_list ap;

    va_start(ap, fmt);
    (void)say(w, GCS_DEVICE_FAILED, fmt, ap);
    va_end(ap);
    return -1;
}

int gcs_bad(struct gcs_words *w, const char *fmt, ...) {
    va_list ap;

    va_start(ap, fmt);
    (void)say(w, GCS_DEVICE_BAD_SETTINGS, fmt, ap);
    va_end(ap);
    return -1;
}
