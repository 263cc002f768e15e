/* SPDX-License-Identifier: MIT
 * json_read.c — reads JSON text from outside into a cJSON tree.
 *
 * One pass, no recursion: a stack of open containers bounded by UVM__JSON_DEPTH_MAX, each attached
 * to its parent as soon as it is opened, so that whatever goes wrong one cJSON_Delete() frees
 * everything. All memory is cJSON's (there is no engine here), and every lack of it is survived.
 *
 * The modes differ in what they refuse (strict: duplicates, bytes that are not UTF-8, lone
 * surrogates) and in their words: strict ones name the offset and what was expected, Go's are those
 * of encoding/json, because the agent's replies quote them. That package feeds a blank to its state
 * machine at the end of the text, so a text that stops inside a number or a literal complains of an
 * invalid blank, any other of the end.
 *
 * Duplicates are found by sorting the names of an object when it closes: a heap sort over an array
 * shared by the open objects, because hostile names would make a list quadratic and could be made
 * to collide in any hash that has no secret.
 */
#include "async/check.h"
#include "async/cleanup.h"
#include "async/json_int.h"
#include <stdio.h>
#include <string.h>

static const struct {
    const char *go, *want;
} places[] = {
#define X(name, go, want) {go, want},
    UVM__JSON_PLACE_MAP(X)
#undef X
};

/* ---- errors ------------------------------------------------------------------------------- */

/* One byte as Go's %q of the rune of that value. `bytes` of 16 are enough. */
static const char *quote(uint8_t c, char *buf, size_t bytes) {
    static const char escapes[] = "\aa\bb\ff\nn\rr\tt\vv\\\\''";
    for (size_t i = 0; i < sizeof escapes - 1; i += 2) {
        if (c == (uint8_t)escapes[i]) {
            (void)snprintf(buf, bytes, "'\\%c'", escapes[i + 1]);
            return buf;
        }
    }
    if (c < 0x20 || c == 0x7f) {
        (void)snprintf(buf, bytes, "'\\x%02x'", c);
    } else if (c < 0x7f) {
        (void)snprintf(buf, bytes, "'%c'", c);
    } else if (c <= 0xa0 || c == 0xad) {
        (void)snprintf(buf, bytes, "'\\u%04x'", c);
    } else {
        (void)snprintf(buf, bytes, "'%c%c'", 0xc0 | c >> 6, 0x80 | (c & 0x3f));
    }
    return buf;
}

int uvm__json_no_memory(struct uvm__json_reader *r) {
    return uvm__fail(r->fail, UVM_E_NOMEM, 0, "out of memory after %zu bytes of JSON",
                     uvm__json_offset(r));
}

/* The text does not go on as it should at r->at. `in_token`: a blank would not be allowed there. */
static int syntax_text(struct uvm__json_reader *r, bool in_token, const char *go,
                       const char *want) {
    char found[16];
    bool ended = r->at == r->end;
    quote(ended ? ' ' : *r->at, found, sizeof found);
    if (r->mode == UVM__JSON_STRICT) {
        return uvm__fail(r->fail, UVM_E_PROTOCOL, 0, "byte %zu: expected %s, found %s",
                         uvm__json_offset(r), want, ended ? "the end" : found);
    }
    if (ended && !in_token) {
        return uvm__fail(r->fail, UVM_E_PROTOCOL, 0, "unexpected end of JSON input");
    }
    return uvm__fail(r->fail, UVM_E_PROTOCOL, 0, "invalid character %s %s", found, go);
}

int uvm__json_syntax(struct uvm__json_reader *r, enum uvm__json_place place) {
    bool in_token = place >= UVM__JSON_AT_ESCAPE && place <= UVM__JSON_AT_EXPONENT;
    return syntax_text(r, in_token, places[place].go, places[place].want);
}

/* ---- duplicate names ---------------------------------------------------------------------- */

static int note_name(struct uvm__json_reader *r, const char *text) {
    if (r->names_count == r->names_cap) {
        size_t cap = r->names_cap == 0 ? 32 : r->names_cap * 2;
        struct uvm__json_name *names = cJSON_malloc(cap * sizeof *names);
        if (names == NULL) {
            return uvm__json_no_memory(r);
        }
        if (r->names_count > 0) {
            memcpy(names, r->names, r->names_count * sizeof *names);
        }
        cJSON_free(r->names);
        r->names = names;
        r->names_cap = cap;
    }
    r->names[r->names_count++] = (struct uvm__json_name){text, r->name_at};
    return 0;
}

static bool name_before(const struct uvm__json_name *a, const struct uvm__json_name *b) {
    int order = strcmp(a->text, b->text);
    return order != 0 ? order < 0 : a->at < b->at;
}

static void sift_down(struct uvm__json_name *names, size_t root, size_t count) {
    struct uvm__json_name moving = names[root];
    for (size_t child = root * 2 + 1; child < count; child = root * 2 + 1) {
        if (child + 1 < count && name_before(&names[child], &names[child + 1])) {
            child++;
        }
        if (!name_before(&moving, &names[child])) {
            break;
        }
        names[root] = names[child];
        root = child;
    }
    names[root] = moving;
}

static void sort_names(struct uvm__json_name *names, size_t count) {
    for (size_t i = count / 2; i-- > 0;) {
        sift_down(names, i, count);
    }
    for (size_t last = count; last-- > 1;) {
        struct uvm__json_name largest = names[0];
        names[0] = names[last];
        names[last] = largest;
        sift_down(names, 0, last);
    }
}

static int fail_twice(struct uvm__json_reader *r, const struct uvm__json_name *twice) {
    char shown[80];
    size_t n = 0;
    for (; n < sizeof shown - 1 && twice->text[n] != 0; n++) {
        uint8_t c = (uint8_t)twice->text[n];
        shown[n] = c < 0x20 || c == 0x7f ? '?' : twice->text[n];
    }
    while (n > 0 && ((uint8_t)twice->text[n] & 0xc0) == 0x80) {
        n--; /* cut between two characters */
    }
    shown[n] = 0;
    return uvm__fail(r->fail, UVM_E_PROTOCOL, 0, "byte %zu: the name \"%s\" comes twice", twice->at,
                     shown);
}

/* Forgets the names of the object that closes; the first one that came twice is an error. */
static int check_names(struct uvm__json_reader *r) {
    size_t from = r->names_from[r->depth];
    const struct uvm__json_name *twice = NULL;
    UVM_ASSERT_CMP(from, <=, r->names_count);
    if (r->names_count - from < 2) {
        r->names_count = from;
        return 0;
    }
    sort_names(r->names + from, r->names_count - from);
    for (size_t i = from + 1; i < r->names_count; i++) {
        const struct uvm__json_name *n = &r->names[i];
        if (strcmp(n[-1].text, n->text) == 0 && (twice == NULL || n->at < twice->at)) {
            twice = n;
        }
    }
    r->names_count = from;
    if (twice == NULL) {
        return 0;
    }
    return fail_twice(r, twice);
}

/* ---- values ------------------------------------------------------------------------------- */

static void skip_blanks(struct uvm__json_reader *r) {
    while (r->at < r->end &&
           (*r->at == ' ' || *r->at == '\t' || *r->at == '\n' || *r->at == '\r')) {
        r->at++;
    }
}

static bool is_digit(const struct uvm__json_reader *r) {
    return r->at < r->end && *r->at >= '0' && *r->at <= '9';
}

static void skip_digits(struct uvm__json_reader *r) {
    while (is_digit(r)) {
        r->at++;
    }
}

/* How many values a text may have: what honest ones have at the most, so that the tree of a dense one
 * stays in proportion to it. */
static size_t nodes_max(size_t bytes) {
    size_t by_text = UVM__JSON_NODES_MIN + bytes / UVM__JSON_BYTES_PER_NODE;
    return by_text < UVM__JSON_NODES_MAX ? by_text : UVM__JSON_NODES_MAX;
}

static int count_node(struct uvm__json_reader *r) {
    if (r->nodes < r->nodes_max) {
        r->nodes++;
        return 0;
    }
    return r->mode == UVM__JSON_GO
               ? uvm__fail(r->fail, UVM_E_LIMIT, 0, "exceeded max number of values")
               : uvm__fail(r->fail, UVM_E_LIMIT, 0, "byte %zu: more than %zu values in %zu bytes",
                           uvm__json_offset(r), r->nodes_max, (size_t)(r->end - r->start));
}

/* Puts the node into the innermost container, or makes it the root. Takes it, also on failure. */
static int add(struct uvm__json_reader *r, cJSON *take_node) {
    if (take_node == NULL) {
        return uvm__json_no_memory(r);
    }
    if (r->depth == 0) {
        UVM_ASSERT(r->root == NULL && r->name == NULL);
        r->root = take_node;
        return 0;
    }
    cJSON *parent = r->open[r->depth - 1];
    UVM_ASSERT((r->name != NULL) == (cJSON_IsObject(parent) != 0));
    take_node->string = UVM_TAKE_PTR(r->name);
    r->fresh = false;
    /* Only links the node, whatever the parent is. */
    cJSON_bool added = cJSON_AddItemToArray(parent, take_node);
    UVM_ASSERT(added);
    if (take_node->string == NULL || r->mode == UVM__JSON_GO) {
        return 0;
    }
    return note_name(r, take_node->string);
}

/* A node that owns `take_text`, a block of cJSON's. */
static int add_text(struct uvm__json_reader *r, int type, char *take_text) {
    cJSON *node = take_text == NULL ? NULL : cJSON_CreateNull();
    if (node == NULL) {
        cJSON_free(take_text);
        return uvm__json_no_memory(r);
    }
    node->type = type;
    node->valuestring = take_text;
    return add(r, node);
}

static int read_number(struct uvm__json_reader *r) {
    const uint8_t *first = r->at;
    r->at += *r->at == '-';
    if (!is_digit(r)) {
        return uvm__json_syntax(r, UVM__JSON_AT_NUMBER);
    }
    if (*r->at == '0') {
        r->at++;
    } else {
        skip_digits(r);
    }
    if (r->at < r->end && *r->at == '.') {
        r->at++;
        if (!is_digit(r)) {
            return uvm__json_syntax(r, UVM__JSON_AT_FRACTION);
        }
        skip_digits(r);
    }
    if (r->at < r->end && (*r->at | 0x20) == 'e') {
        r->at++;
        r->at += r->at < r->end && (*r->at == '+' || *r->at == '-');
        if (!is_digit(r)) {
            return uvm__json_syntax(r, UVM__JSON_AT_EXPONENT);
        }
        skip_digits(r);
    }
    size_t bytes = (size_t)(r->at - first);
    char *literal = cJSON_malloc(bytes + 1);
    if (literal != NULL) {
        memcpy(literal, first, bytes);
        literal[bytes] = 0;
    }
    return add_text(r, cJSON_Raw, literal);
}

static int read_word(struct uvm__json_reader *r, const char *word, cJSON *(*create)(void)) {
    for (const char *p = word; *p != 0; p++, r->at++) {
        if (r->at == r->end || *r->at != (uint8_t)*p) {
            char go[64];
            (void)snprintf(go, sizeof go, "in literal %s (expecting '%c')", word, *p);
            return syntax_text(r, true, go, word);
        }
    }
    return add(r, create());
}

static int open_container(struct uvm__json_reader *r) {
    if (r->depth == UVM__JSON_DEPTH_MAX) {
        return r->mode == UVM__JSON_GO
                   ? uvm__fail(r->fail, UVM_E_LIMIT, 0, "exceeded max depth")
                   : uvm__fail(r->fail, UVM_E_LIMIT, 0, "byte %zu: nested deeper than %u levels",
                               uvm__json_offset(r), UVM__JSON_DEPTH_MAX);
    }
    cJSON *node = *r->at == '{' ? cJSON_CreateObject() : cJSON_CreateArray();
    int rc = add(r, node);
    if (rc < 0) {
        return rc;
    }
    r->at++;
    r->fresh = true;
    r->names_from[r->depth] = r->names_count;
    r->open[r->depth++] = node;
    return 0;
}

static int read_value(struct uvm__json_reader *r) {
    char *text = NULL;
    int rc = 0;
    skip_blanks(r);
    if (r->at < r->end && (rc = count_node(r)) < 0) {
        return rc;
    }
    switch (r->at == r->end ? 0 : *r->at) {
    case '{':
    case '[':
        return open_container(r);
    case '"':
        rc = uvm__json_read_string(r, &text);
        return rc < 0 ? rc : add_text(r, cJSON_String, text);
    case 't':
        return read_word(r, "true", cJSON_CreateTrue);
    case 'f':
        return read_word(r, "false", cJSON_CreateFalse);
    case 'n':
        return read_word(r, "null", cJSON_CreateNull);
    case '-':
    case '0' ... '9':
        return read_number(r);
    default:
        return uvm__json_syntax(r, UVM__JSON_AT_VALUE);
    }
}

static int read_name(struct uvm__json_reader *r) {
    skip_blanks(r);
    if (r->at == r->end || *r->at != '"') {
        return uvm__json_syntax(r, UVM__JSON_AT_NAME);
    }
    r->name_at = uvm__json_offset(r);
    int rc = uvm__json_read_string(r, &r->name);
    if (rc < 0) {
        return rc;
    }
    skip_blanks(r);
    if (r->at == r->end || *r->at != ':') {
        return uvm__json_syntax(r, UVM__JSON_AT_COLON);
    }
    r->at++;
    return 0;
}

/* The next element of the innermost container, or its end. */
static int read_element(struct uvm__json_reader *r) {
    bool object = cJSON_IsObject(r->open[r->depth - 1]);
    int rc = 0;
    skip_blanks(r);
    if (r->at < r->end && *r->at == (object ? '}' : ']')) {
        r->at++;
        r->depth--;
        r->fresh = false;
        return check_names(r);
    }
    if (!r->fresh) {
        if (r->at == r->end || *r->at != ',') {
            return uvm__json_syntax(r, object ? UVM__JSON_AT_MEMBER : UVM__JSON_AT_ELEMENT);
        }
        r->at++;
    }
    if (object) {
        rc = read_name(r);
    }
    return rc < 0 ? rc : read_value(r);
}

int uvm__json_read(enum uvm__json_mode mode, const char *text, size_t bytes, cJSON **ret_tree,
                   struct uvm__fail *f) {
    const uint8_t *start = (const uint8_t *)(text == NULL ? "" : text);
    struct uvm__json_reader r = {
        .mode = mode, .start = start, .at = start, .end = start + bytes, .fail = f};
    r.nodes_max = nodes_max(bytes);
    UVM_ASSERT(ret_tree != NULL && (text != NULL || bytes == 0));
    int rc = read_value(&r);
    while (rc == 0 && r.depth > 0) {
        rc = read_element(&r);
    }
    if (rc == 0) {
        skip_blanks(&r);
        rc = r.at < r.end ? uvm__json_syntax(&r, UVM__JSON_AT_END) : 0;
    }
    cJSON_free(r.names);
    cJSON_free(r.name);
    if (rc < 0) {
        cJSON_Delete(r.root);
        return rc;
    }
    UVM_ASSERT(r.root != NULL && r.name == NULL && r.names_count == 0);
    *ret_tree = r.root;
    return 0;
}
