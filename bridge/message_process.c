/* SPDX-License-Identifier: MIT
 * message_process.c — ProcessParameters, the JSON text inside an execute request
 * (docs/PROTOCOL-bridge.md, Processes and Process control).
 *
 * The writer sorts the environment by key, since the reference sends a map; of entries with one key the
 * last one holds. The reader gives an argv and an envp that exec can take, in one block. Members that the
 * reference's agent does not read (User, ConsoleSize) never make a request fail.
 */
#include "async/alloc.h"
#include "async/check.h"
#include "bridge/json_in_int.h"
#include "bridge/json_out_int.h"
#include "bridge/message.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- writing ------------------------------------------------------------------------------ */

struct variable {
    const char *text;
    size_t key_bytes, index;
};

static int compare(const void *a, const void *b) {
    const struct variable *x = a;
    const struct variable *y = b;
    size_t common = x->key_bytes < y->key_bytes ? x->key_bytes : y->key_bytes;
    int order = memcmp(x->text, y->text, common);
    if (order != 0) {
        return order;
    }
    if (x->key_bytes != y->key_bytes) {
        return x->key_bytes < y->key_bytes ? -1 : 1;
    }
    return x->index < y->index ? -1 : 1;
}

static bool same_key(const struct variable *a, const struct variable *b) {
    return a->key_bytes == b->key_bytes && memcmp(a->text, b->text, a->key_bytes) == 0;
}

static int write_environment(struct uvm__json_out *o, uvm_engine *e, const char *const *env) {
    size_t count = 0;
    while (env[count] != NULL) {
        count++;
    }
    if (count == 0) {
        return 0;
    }
    struct variable *sorted = uvm__alloc(e, count * sizeof *sorted);
    if (sorted == NULL) {
        return -UVM_E_NOMEM;
    }
    for (size_t i = 0; i < count; i++) {
        const char *eq = strchr(env[i], '=');
        if (eq == NULL || eq == env[i]) {
            uvm__free(e, sorted);
            return -UVM_E_INVAL;
        }
        sorted[i] = (struct variable){env[i], (size_t)(eq - env[i]), i};
    }
    qsort(sorted, count, sizeof *sorted, compare);
    uvm__json_out_key(o, "Environment");
    uvm__json_out_open(o, '{');
    for (size_t i = 0; i < count; i++) {
        if (i + 1 < count && same_key(&sorted[i], &sorted[i + 1])) {
            continue;
        }
        const char *value = sorted[i].text + sorted[i].key_bytes + 1;
        uvm__json_out_string(o, sorted[i].text, sorted[i].key_bytes);
        uvm__json_out_raw(o, ":", 1);
        o->comma = false;
        uvm__json_out_string(o, value, strlen(value));
    }
    uvm__json_out_close(o, '}');
    uvm__free(e, sorted);
    return 0;
}

static void write_text(struct uvm__json_out *o, const char *key, const char *text) {
    if (text != NULL && text[0] != 0) {
        uvm__json_out_member(o, key, text);
    }
}

int uvm__msg_process_write(struct uvm__buf *b, const struct uvm__msg_process *p,
                           uint32_t process_control) {
    struct uvm__json_out o;
    uvm__json_out_init(&o, b, true);
    uvm__json_out_open(&o, '{');
    write_text(&o, "CommandLine", p->command_line);
    if (p->args != NULL && p->args[0] != NULL) {
        uvm__json_out_key(&o, "CommandArgs");
        uvm__json_out_open(&o, '[');
        for (size_t i = 0; p->args[i] != NULL; i++) {
            uvm__json_out_string(&o, p->args[i], strlen(p->args[i]));
        }
        uvm__json_out_close(&o, ']');
    }
    if (process_control > 0) {
        write_text(&o, "User", p->user);
    }
    write_text(&o, "WorkingDirectory", p->cwd);
    int rc = p->env == NULL ? 0 : write_environment(&o, b->engine, p->env);
    if (rc < 0) {
        return rc;
    }
    uvm__json_out_member_true(&o, "EmulateConsole", p->terminal);
    uvm__json_out_member_true(&o, "CreateStdInPipe", p->in);
    uvm__json_out_member_true(&o, "CreateStdOutPipe", p->out);
    uvm__json_out_member_true(&o, "CreateStdErrPipe", p->err);
    if (process_control > 0 && (p->height != 0 || p->width != 0)) {
        uvm__json_out_key(&o, "ConsoleSize");
        uvm__json_out_open(&o, '[');
        uvm__json_out_int(&o, p->height);
        uvm__json_out_int(&o, p->width);
        uvm__json_out_close(&o, ']');
    }
    uvm__json_out_member_true(&o, "CreateInUtilityVM", p->in_utility_vm);
    uvm__json_out_close(&o, '}');
    return o.rc;
}

/* ---- reading ------------------------------------------------------------------------------ */

/* Pointers and text are laid out in one block: args, NULL, env, NULL, "KEY=value" texts. */
struct layout {
    size_t args, env, text_bytes;
    const cJSON *args_node, *env_node;
};

static const char *text_of(const cJSON *node) {
    const char *text = uvm__json_string(node);
    return text == NULL ? "" : text; /* null: the zero value */
}

static void measure(struct uvm__json_in *in, const cJSON *body, struct layout *l) {
    const cJSON *it;
    l->args_node = uvm__json_in_array(in, body, "CommandArgs");
    l->env_node = uvm__json_in_object(in, body, "Environment");
    cJSON_ArrayForEach(it, l->args_node) {
        if (!cJSON_IsString(it) && !cJSON_IsNull(it)) {
            uvm__json_in_wrong(in, "CommandArgs", "a list of strings", it);
        }
        l->args++;
    }
    cJSON_ArrayForEach(it, l->env_node) {
        if (!cJSON_IsString(it) && !cJSON_IsNull(it)) {
            uvm__json_in_wrong(in, "Environment", "a map of strings", it);
        }
        l->env++;
        l->text_bytes += strlen(it->string) + 1 + strlen(text_of(it)) + 1;
    }
}

static char *put_variable(char *at, const char *key, const char *value) {
    size_t bytes = strlen(key) + 1 + strlen(value) + 1;
    (void)snprintf(at, bytes, "%s=%s", key, value);
    return at + bytes;
}

/* "KEY=value" of every member into `text`, then their pointers, sorted and without the overridden, to
 * `ret`. */
static int lay_out_environment(uvm_engine *e, const struct layout *l, char *text,
                               const char **ret) {
    if (l->env == 0) {
        return 0;
    }
    struct variable *sorted = uvm__alloc(e, l->env * sizeof *sorted);
    if (sorted == NULL) {
        return -UVM_E_NOMEM;
    }
    size_t n = 0;
    const cJSON *it;
    cJSON_ArrayForEach(it, l->env_node) {
        sorted[n] = (struct variable){text, strlen(it->string), n};
        text = put_variable(text, it->string, text_of(it));
        n++;
    }
    UVM_ASSERT_CMP(n, ==, l->env);
    qsort(sorted, n, sizeof *sorted, compare);
    for (size_t i = 0; i < n; i++) {
        if (i + 1 == n || !same_key(&sorted[i], &sorted[i + 1])) {
            *ret++ = sorted[i].text;
        }
    }
    uvm__free(e, sorted);
    return 0;
}

static int lay_out(uvm_engine *e, const struct layout *l, struct uvm__msg_process *ret) {
    size_t pointers = l->args + 1 + l->env + 1;
    const char **at = uvm__zalloc(e, pointers * sizeof *at + l->text_bytes);
    if (at == NULL) {
        return -UVM_E_NOMEM;
    }
    const char **env = at + l->args + 1;
    int rc = lay_out_environment(e, l, (char *)(at + pointers), env);
    if (rc < 0) {
        uvm__free(e, at);
        return rc;
    }
    ret->memory = at;
    ret->args = at;
    ret->env = env;
    const cJSON *it;
    cJSON_ArrayForEach(it, l->args_node) {
        *at++ = text_of(it);
    }
    return 0;
}

/* [height,width]; anything else is no size. */
static void read_size(const cJSON *body, struct uvm__msg_process *ret) {
    const cJSON *size = uvm__json_get(UVM__JSON_GO, body, "ConsoleSize");
    uint64_t height = 0;
    uint64_t width = 0;
    if (cJSON_IsArray(size) && size->child != NULL && size->child->next != NULL &&
        uvm__json_u64(size->child, UINT16_MAX, &height) == 0 &&
        uvm__json_u64(size->child->next, UINT16_MAX, &width) == 0) {
        ret->height = (uint16_t)height;
        ret->width = (uint16_t)width;
    }
}

int uvm__msg_process_read(uvm_engine *e, const char *text, struct uvm__msg_process *ret,
                          struct uvm__fail *f) {
    cJSON *tree = NULL;
    int rc = uvm__json_in_body(text, strlen(text), &tree, f);
    if (rc < 0) {
        return rc;
    }
    struct uvm__json_in in = {.fail = f};
    struct uvm__msg_process p = {.tree = tree};
    struct layout l = {0};
    const char *user = uvm__json_string(uvm__json_get(UVM__JSON_GO, tree, "User"));
    p.command_line = uvm__json_in_string(&in, tree, "CommandLine");
    measure(&in, tree, &l);
    p.cwd = uvm__json_in_string(&in, tree, "WorkingDirectory");
    p.user = user == NULL ? "" : user;
    p.terminal = uvm__json_in_bool(&in, tree, "EmulateConsole");
    p.in = uvm__json_in_bool(&in, tree, "CreateStdInPipe");
    p.out = uvm__json_in_bool(&in, tree, "CreateStdOutPipe");
    p.err = uvm__json_in_bool(&in, tree, "CreateStdErrPipe");
    p.in_utility_vm = uvm__json_in_bool(&in, tree, "CreateInUtilityVM");
    p.has_oci_process = uvm__json_in_object(&in, tree, "OciProcess") != NULL;
    read_size(tree, &p);
    rc = in.rc;
    if (rc == 0) {
        rc = lay_out(e, &l, &p);
    }
    if (rc < 0) {
        cJSON_Delete(tree);
        return rc;
    }
    *ret = p;
    return 0;
}

void uvm__msg_process_deinit(uvm_engine *e, struct uvm__msg_process *p) {
    uvm__free(e, p->memory);
    cJSON_Delete(p->tree);
    *p = (struct uvm__msg_process){0};
}
