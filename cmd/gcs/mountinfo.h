/* SPDX-License-Identifier: MIT
 * mountinfo.h — lines of /proc/self/mountinfo, and device numbers as the kernel writes them.        */
#pragma once
#include <stdbool.h>

/* "8:16" at the beginning of `text`: what follows it, or NULL when there is none. */
const char *gcs_device_number(const char *text, unsigned *ret_major, unsigned *ret_minor);

/* "36 35 8:1 / /mnt …": the device, and the place, unescaped in `line` itself. False: no such line. */
bool gcs_mountinfo_line(char *line, unsigned *ret_major, unsigned *ret_minor, char **ret_where);
