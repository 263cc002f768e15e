/* SPDX-License-Identifier: MIT
 *
 * Users and groups by name. Both files have the same shape, lines of fields parted by colons, with the
 * name first and the id third; passwd has the login group fourth. A name is looked up first, so that a
 * user who is called "1000" wins over the number; then it is read as a number.
 */
#include "cmd/gcs/user.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct entry {
    uint32_t id, login_gid;
    bool has_login_gid;
};

static bool number(const char *text, uint32_t *ret) {
    char *end;
    unsigned long value;

    if (text[0] < '0' || text[0] > '9') {
        return false;
    }
    errno = 0;
    value = strtoul(text, &end, 10);
    if (*end != '\0' || errno != 0 || value >= UINT32_MAX) { /* the last one means "no change" */
        return false;
    }
    *ret = (uint32_t)value;
    return true;
}

/* Cuts a line into at most four fields in place; true when it is about `key`: the name, or the id if
 * `by_id`. */
static bool match(char *line, const char *key, bool by_id, struct entry *ret) {
    char *fields[4] = {NULL, NULL, NULL, NULL};
    char *rest = line;
    uint32_t wanted;

    line[strcspn(line, "\n")] = '\0';
    for (size_t i = 0; i < 4 && rest != NULL; i++) {
        fields[i] = strsep(&rest, ":");
    }
    if (fields[2] == NULL || !number(fields[2], &ret->id)) {
        return false;
    }
    ret->has_login_gid = fields[3] != NULL && number(fields[3], &ret->login_gid);
    if (by_id) {
        return number(key, &wanted) && ret->id == wanted;
    }
    return strcmp(fields[0], key) == 0;
}

static bool find_in(FILE *file, const char *key, bool by_id, struct entry *ret) {
    char line[GCS_USER_LINE_MAX];
    bool whole = true; /* the next piece begins a line */

    while (fgets(line, sizeof line, file) != NULL) {
        bool begins = whole;

        whole = strchr(line, '\n') != NULL || feof(file) != 0;
        if (begins && whole && match(line, key, by_id, ret)) {
            return true;
        }
    }
    return false;
}

/* By name, else as a number that need not be in the file. */
static bool find(const char *path, const char *key, struct entry *ret) {
    FILE *file = fopen(path, "re");
    bool found = file != NULL && find_in(file, key, false, ret);

    if (!found && number(key, &ret->id)) {
        ret->has_login_gid = false;
        if (file != NULL) {
            rewind(file);
            if (!find_in(file, key, true, ret)) {
                ret->has_login_gid = false;
                (void)number(key, &ret->id);
            }
        }
        found = true;
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    return found;
}

int gcs_user_find(const char *spec, const char *passwd_path, const char *group_path,
                  struct gcs_user *ret, struct uvm__fail *f) {
    char text[GCS_USER_SPEC_MAX];
    size_t bytes = strlen(spec);
    struct entry user, group;
    char *colon;

    if (bytes >= sizeof text) {
        return uvm__fail(f, UVM_E_INVAL, EINVAL, "user: name of %zu bytes (at most %zu)", bytes,
                         sizeof text - 1);
    }
    memcpy(text, spec, bytes + 1);
    colon = strchr(text, ':');
    if (colon != NULL) {
        *colon++ = '\0';
    }
    if (text[0] == '\0' || (colon != NULL && (*colon == '\0' || strchr(colon, ':') != NULL))) {
        return uvm__fail(f, UVM_E_INVAL, EINVAL, "user: \"%.100s\" is not name|uid[:group|gid]",
                         spec);
    }
    if (!find(passwd_path, text, &user)) {
        return uvm__fail(f, UVM_E_NOTFOUND, ENOENT, "user: no user \"%.100s\" in %.64s", text,
                         passwd_path);
    }
    group.id = user.has_login_gid ? user.login_gid : 0;
    if (colon != NULL && !find(group_path, colon, &group)) {
        return uvm__fail(f, UVM_E_NOTFOUND, ENOENT, "user: no group \"%.100s\" in %.64s", colon,
                         group_path);
    }
    ret->uid = user.id;
    ret->gid = group.id;
    return 0;
}
