/* SPDX-License-Identifier: MIT
 * json_int.h — the state of one reading, shared by the files that do it.
 */
#pragma once
#include "async/json.h"
#include "async/limits.h"

/* X(name, what encoding/json says of a character there, what we say was expected). */
#define UVM__JSON_PLACE_MAP(X)                                                                     \
    X(VALUE, "looking for beginning of value", "a value")                                          \
    X(NAME, "looking for beginning of object key string", "a name in quotes")                      \
    X(COLON, "after object key", "':'")                                                            \
    X(MEMBER, "after object key:value pair", "',' or '}'")                                         \
    X(ELEMENT, "after array element", "',' or ']'")                                                \
    X(TEXT, "in string literal", "the closing quote")                                              \
    X(ESCAPE, "in string escape code", "one of \"\\/bfnrtu after a backslash")                     \
    X(HEX, "in \\u hexadecimal character escape", "four hexadecimal digits")                       \
    X(NUMBER, "in numeric literal", "a digit")                                                     \
    X(FRACTION, "after decimal point in numeric literal", "a digit after the point")               \
    X(EXPONENT, "in exponent of numeric literal", "a digit of the exponent")                       \
    X(END, "after top-level value", "the end")

enum uvm__json_place {
#define X(name, go, want) UVM__JSON_AT_##name,
    UVM__JSON_PLACE_MAP(X)
#undef X
};

/* A name in an object that is still open, and where it stands. */
struct uvm__json_name {
    const char *text;
    size_t at;
};

struct uvm__json_reader {
    enum uvm__json_mode mode;
    const uint8_t *start, *at, *end;
    struct uvm__fail *fail;
    cJSON *root;
    size_t nodes, nodes_max;
    unsigned depth;
    cJSON *open[UVM__JSON_DEPTH_MAX];
    size_t names_from[UVM__JSON_DEPTH_MAX]; /* where the names of open[i] begin */
    bool fresh;                             /* the innermost container has no element yet */
    char *name;                             /* of the member whose value comes next */
    size_t name_at;
    struct uvm__json_name *names; /* strict mode only */
    size_t names_count, names_cap;
};

/* Fail with the words of the mode, about what stands at r->at; return the negative code. */
int uvm__json_syntax(struct uvm__json_reader *r, enum uvm__json_place place);
int uvm__json_no_memory(struct uvm__json_reader *r);

static inline size_t uvm__json_offset(const struct uvm__json_reader *r) {
    return (size_t)(r->at - r->start);
}

/* Reads a string from its opening quote at r->at to behind its closing one. The text is a block of
 * cJSON's that the caller owns. */
int uvm__json_read_string(struct uvm__json_reader *r, char **ret_text);
