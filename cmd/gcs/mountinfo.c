/* SPDX-License-Identifier: MIT
 *
 * mountinfo, read (mountinfo.h). Whoever may mount chooses the words in it.
 */
#include "cmd/gcs/mountinfo.h"

#include <limits.h>
#include <string.h>

static const char *take_number(const char *at, unsigned *ret) {
    unsigned value = 0;
    const char *begin = at;

    for (; *at >= '0' && *at <= '9'; at++) {
        unsigned digit = (unsigned)(*at - '0');

        if (value > (UINT_MAX - digit) / 10) {
            return NULL;
        }
        value = value * 10 + digit;
    }
    *ret = value;
    return at == begin ? NULL : at;
}

const char *gcs_device_number(const char *text, unsigned *ret_major, unsigned *ret_minor) {
    unsigned major, minor = 0;
    const char *at = take_number(text, &major);

    at = at != NULL && *at == ':' ? take_number(at + 1, &minor) : NULL;
    if (at != NULL) {
        *ret_major = major;
        *ret_minor = minor;
    }
    return at;
}

static bool is_octal(const char *at, char highest) {
    return *at >= '0' && *at <= highest;
}

/* Undoes the octal escapes, in place. */
static void unescape(char *text) {
    char *to = text;

    for (const char *from = text; *from != '\0'; to++) {
        if (from[0] == '\\' && is_octal(from + 1, '3') && is_octal(from + 2, '7') &&
            is_octal(from + 3, '7')) {
            *to = (char)((from[1] - '0') * 64 + (from[2] - '0') * 8 + (from[3] - '0'));
            from += 4;
        } else {
            *to = *from++;
        }
    }
    *to = '\0';
}

/* Behind the next space; NULL at the end. */
static char *next_field(char *at) {
    at = at == NULL ? NULL : strchr(at, ' ');
    return at == NULL ? NULL : at + 1;
}

bool gcs_mountinfo_line(char *line, unsigned *ret_major, unsigned *ret_minor, char **ret_where) {
    char *field = next_field(next_field(line));
    const char *end = field == NULL ? NULL : gcs_device_number(field, ret_major, ret_minor);

    if (end == NULL || *end != ' ') {
        return false;
    }
    field = next_field(next_field(field)); /* behind the number, and the root */
    if (field == NULL) {
        return false;
    }
    field[strcspn(field, " ")] = '\0';
    unescape(field);
    *ret_where = field;
    return true;
}
