/* SPDX-License-Identifier: MIT
 *
 * Shell words. One pass over the text with a state of three values; each word is written to the block
 * behind the vector as it is read. A word can only shrink, and two words are at least one blank apart, so
 * the block's size is known before: (length / 2 + 2) pointers and length + 1 bytes.
 */
#include "cmd/gcs/words.h"

#include "async/alloc.h"
#include "async/check.h"

#include <string.h>

enum quote { NONE, SINGLE, DOUBLE };

struct splitter {
    const char *in;
    char *out;
    enum quote quote;
    bool word; /* in a word, perhaps an empty one: '' */
};

static bool blank(char c) {
    return c == ' ' || c == '\t' || c == '\n';
}

/* Takes what follows a backslash; false at the end of the text. */
static bool escape(struct splitter *s) {
    char c = *s->in;

    if (c == '\0') {
        return false;
    }
    s->in++;
    if (c == '\n') {
        return true;
    }
    if (s->quote == DOUBLE && strchr("$`\"\\", c) == NULL) {
        *s->out++ = '\\';
    }
    *s->out++ = c;
    s->word = true;
    return true;
}

/* Takes one character; true when it ended a word. `ret_bad` is set on an unfinished escape. */
static bool step(struct splitter *s, bool *ret_bad) {
    char c = *s->in++;

    if (s->quote == SINGLE) {
        if (c == '\'') {
            s->quote = NONE;
        } else {
            *s->out++ = c;
        }
    } else if (c == '\\') {
        *ret_bad = !escape(s);
    } else if (c == '"') {
        s->quote = s->quote == DOUBLE ? NONE : DOUBLE;
        s->word = true;
    } else if (c == '\'' && s->quote == NONE) {
        s->quote = SINGLE;
        s->word = true;
    } else if (blank(c) && s->quote == NONE) {
        return s->word;
    } else {
        *s->out++ = c;
        s->word = true;
    }
    return false;
}

int gcs_words_split(uvm_engine *e, const char *text, char ***ret_argv, size_t *ret_count) {
    size_t bytes = strlen(text);
    size_t slots = bytes / 2 + 2;
    size_t count = 0;
    bool bad = false;
    char **argv = uvm__alloc(e, slots * sizeof *argv + bytes + 1);
    struct splitter s = {.in = text, .quote = NONE, .word = false};

    if (argv == NULL) {
        return -UVM_E_NOMEM;
    }
    s.out = (char *)(argv + slots);
    argv[0] = s.out;
    while (*s.in != '\0' && !bad) {
        if (step(&s, &bad)) {
            *s.out++ = '\0';
            argv[++count] = s.out;
            s.word = false;
        }
    }
    if (bad || s.quote != NONE) {
        uvm__free(e, argv);
        return -UVM_E_INVAL;
    }
    if (s.word) {
        *s.out++ = '\0';
        count++;
    }
    UVM_ASSERT_CMP(count, <, slots);
    UVM_ASSERT((size_t)(s.out - (char *)(argv + slots)) <= bytes + 1);
    argv[count] = NULL;
    *ret_argv = argv;
    *ret_count = count;
    return 0;
}
