/* SPDX-License-Identifier: MIT
 * state.c — finding the state folder, and names in it.
 *
 * What stands there was written by owners of our own user or root; the folders' ownership is checked by
 * async/folder.h each time one is opened. An exact name wins over everything, then an exact id, then
 * prefixes; ids are read from vm.json, which needs no owner to answer.
 */
#include "cmd/uvmctl/state.h"
#include "async/folder.h"
#include "async/json.h"
#include "async/limits.h"
#include "uvm/control.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool state_path(char ret[PATH_BYTES], struct uvm__fail *f) {
    const char *set = getenv("UVM_STATE_DIR");
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    char here[PATH_BYTES];
    int n;
    if (set != NULL && set[0] == '/') {
        n = snprintf(ret, PATH_BYTES, "%s", set);
    } else if (set != NULL && set[0] != 0) {
        n = getcwd(here, sizeof here) == NULL ? -1 : snprintf(ret, PATH_BYTES, "%s/%s", here, set);
    } else if (geteuid() == 0) {
        n = snprintf(ret, PATH_BYTES, "/run/uvm");
    } else if (runtime != NULL && runtime[0] == '/') {
        n = snprintf(ret, PATH_BYTES, "%s/uvm", runtime);
    } else {
        n = snprintf(ret, PATH_BYTES, "/tmp/uvm-%u", (unsigned)geteuid());
    }
    if (n < 0 || (unsigned)n >= PATH_BYTES) {
        (void)uvm__fail(f, UVM_E_HOST, 0, "the state folder's path is too long");
        return false;
    }
    return true;
}

int state_open(int *ret_fd, struct uvm__fail *f) {
    char path[PATH_BYTES];
    return state_path(path, f) ? uvm__folder_open(path, false, ret_fd, f) : -UVM_E_HOST;
}

struct listing {
    struct state_names *to;
    bool dotted, failed;
};

static bool take_name(const char *name, void *arg) {
    struct listing *l = arg;
    struct state_names *to = l->to;
    bool wanted = uvm__folder_name_ok(name) || (l->dotted && strlen(name) < sizeof to->names[0]);
    if (!wanted || to->count == STATE_NAMES_MAX) {
        return true;
    }
    if ((to->count & (to->count - 1)) == 0) { /* a power of two: full */
        void *more = realloc(to->names, (to->count == 0 ? 1 : to->count * 2) * sizeof *to->names);
        if (more == NULL) {
            l->failed = true;
            return false;
        }
        to->names = more;
    }
    (void)snprintf(to->names[to->count++], sizeof to->names[0], "%s", name);
    return true;
}

static int by_name(const void *a, const void *b) {
    return strcmp(a, b);
}

int state_list(int fd, bool dotted, struct state_names *ret, struct uvm__fail *f) {
    struct listing l = {.to = ret, .dotted = dotted};
    *ret = (struct state_names){0};
    int rc = uvm__folder_list(fd, take_name, &l, f);
    if (l.failed) {
        rc = uvm__fail(f, UVM_E_NOMEM, 0, "out of memory");
    }
    if (rc < 0) {
        free(ret->names);
        *ret = (struct state_names){0};
    } else if (ret->count > 0) {
        qsort(ret->names, ret->count, sizeof ret->names[0], by_name);
    }
    return rc;
}

/* "" when it cannot be read. */
static void read_id(int state, const char *name, char ret[40]) {
    char text[1024];
    int fd;
    struct uvm__fail ignored;
    cJSON *tree = NULL;
    ret[0] = 0;
    if (uvm__folder_enter(state, name, &fd, &ignored) < 0) {
        return;
    }
    int64_t n = uvm__folder_read(fd, UVM_CONTROL_ABOUT, text, sizeof text);
    close(fd);
    if (n > 0 && uvm__json_read(UVM__JSON_STRICT, text, (size_t)n, &tree, &ignored) == 0) {
        const char *id = uvm__json_string(uvm__json_get(UVM__JSON_STRICT, tree, "id"));
        (void)snprintf(ret, 40, "%s", id == NULL ? "" : id);
        cJSON_Delete(tree);
    }
}

static int resolve(int fd, const struct state_names *all,
                   void (*id_of)(int fd, const char *name, char ret[40]), const char *word,
                   char ret[64], struct uvm__fail *f) {
    size_t len = strlen(word), prefixes = 0;
    bool exact = false;
    for (size_t i = 0; i < all->count && !exact; i++) {
        exact = strcmp(all->names[i], word) == 0;
        if (exact) {
            (void)snprintf(ret, 64, "%s", word);
        }
    }
    for (size_t i = 0; i < all->count && !exact; i++) {
        char id[40];
        id_of(fd, all->names[i], id);
        exact = strcasecmp(id, word) == 0;
        if (exact || (len > 0 && (strncmp(all->names[i], word, len) == 0 ||
                                  strncasecmp(id, word, len) == 0))) {
            prefixes++;
            (void)snprintf(ret, 64, "%s", all->names[i]);
        }
    }
    if (!exact && prefixes > 1) {
        return uvm__fail(f, UVM_E_INVAL, 0, "%.80s: %zu UVMs begin with that", word, prefixes);
    }
    if (!exact && prefixes == 0) {
        return uvm__fail(f, UVM_E_NOTFOUND, 0,
                         "%.80s: there is no such UVM; \"uvmctl ps\" lists them", word);
    }
    return 0;
}

int state_resolve(int fd, const char *word, char ret[64], struct uvm__fail *f) {
    struct state_names all;
    int rc = state_list(fd, false, &all, f);
    if (rc == 0) {
        rc = resolve(fd, &all, read_id, word, ret, f);
        free(all.names);
    }
    return rc;
}

/* ---- those that are no more --------------------------------------------------------------- */

int state_ended_list(int fd, struct state_names *ret, struct uvm__fail *f) {
    int ended;
    *ret = (struct state_names){0};
    int rc = uvm__folder_enter(fd, UVM_CONTROL_ENDED, &ended, f);
    if (rc < 0) {
        return rc == -UVM_E_NOTFOUND ? 0 : rc;
    }
    rc = state_list(ended, false, ret, f);
    close(ended);
    return rc;
}

cJSON *state_ended_read(int fd, const char *name) {
    struct uvm__fail ignored;
    cJSON *tree = NULL;
    int ended;
    char *text = malloc(UVM__CONTROL_ENDED_BYTES);
    if (text != NULL && uvm__folder_enter(fd, UVM_CONTROL_ENDED, &ended, &ignored) == 0) {
        int64_t n = uvm__folder_read(ended, name, text, UVM__CONTROL_ENDED_BYTES);
        close(ended);
        if (n <= 0 || uvm__json_read(UVM__JSON_STRICT, text, (size_t)n, &tree, &ignored) < 0) {
            tree = NULL;
        }
    }
    free(text);
    return tree;
}

static void read_ended_id(int state, const char *name, char ret[40]) {
    cJSON *tree = state_ended_read(state, name);
    const cJSON *vm = tree == NULL ? NULL : uvm__json_get(UVM__JSON_STRICT, tree, "vm");
    const char *id =
        vm == NULL ? NULL : uvm__json_string(uvm__json_get(UVM__JSON_STRICT, vm, "id"));
    (void)snprintf(ret, 40, "%s", id == NULL ? "" : id);
    cJSON_Delete(tree);
}

int state_ended_resolve(int fd, const char *word, char ret[64], struct uvm__fail *f) {
    struct state_names all;
    int rc = state_ended_list(fd, &all, f);
    if (rc == 0) {
        rc = resolve(fd, &all, read_ended_id, word, ret, f);
        free(all.names);
    }
    return rc;
}
