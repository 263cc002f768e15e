/* SPDX-License-Identifier: MIT
 * svg.c — a row for each span: its name, indented by its depth, a bar on the axis, and how long it took.
 *
 * One colour for each kind of span; one that failed is red and tells its code. Nothing is loaded from
 * anywhere: no script, no font, no style from outside.
 */
#include "cmd/uvmctl/svg.h"
#include "cmd/uvmctl/out.h"
#include <math.h>
#include <string.h>

#define WIDTH 980
#define LEFT 290  /* of the axis */
#define RIGHT 850 /* ... what follows is for the time of what ends last */
#define TOP 34
#define ROW 17
#define INDENT 11
#define INDENTS_MAX 9u
#define NAME_CHARS 40u

/* ---- text --------------------------------------------------------------------------------- */

static uint32_t point_of(const unsigned char *p, size_t n) {
    uint32_t c = n == 1 ? p[0] : p[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        c = c << 6 | (p[i] & 0x3fu);
    }
    return c;
}

/* Controls, what XML forbids, and what turns the direction of the text around it. */
static bool is_bad(uint32_t c) {
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || (c >= 0x200e && c <= 0x200f) ||
           (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) || c == 0xfffe ||
           c == 0xffff;
}

static void put_text(FILE *out, const char *text, size_t chars) {
    size_t bytes = strlen(text);
    for (size_t i = 0; i < bytes; chars--) {
        const unsigned char *p = (const unsigned char *)text + i;
        size_t n = out_utf8_len(p, bytes - i);
        if (chars == 0) {
            (void)fputs("…", out);
            return;
        }
        if (n == 0 || is_bad(point_of(p, n))) {
            (void)fputc('?', out);
        } else if (*p == '<') {
            (void)fputs("&lt;", out);
        } else if (*p == '>') {
            (void)fputs("&gt;", out);
        } else if (*p == '&') {
            (void)fputs("&amp;", out);
        } else if (*p == '"') {
            (void)fputs("&quot;", out);
        } else {
            (void)fwrite(p, 1, n, out);
        }
        i += n == 0 ? 1 : n;
    }
}

/* Three figures. */
static void put_ms(FILE *out, double us) {
    double ms = us / 1000.0;
    (void)fprintf(out, "%.*f ms", ms < 0.1 ? 3 : ms < 10 ? 2 : ms < 100 ? 1 : 0, ms);
}

/* ---- the axis ----------------------------------------------------------------------------- */

struct axis {
    double begin_us, range_us;
};

static double x_of(const struct axis *a, double us) {
    return LEFT + (RIGHT - LEFT) * ((us - a->begin_us) / a->range_us);
}

/* 1, 2 or 5 times a power of ten ms, such that there are at most ten. */
static double tick_us(double range_us) {
    double tick = 1;
    for (unsigned i = 0; range_us / tick > 10; i++) {
        tick *= i % 3 == 1 ? 2.5 : 2;
    }
    return tick;
}

static void put_axis(FILE *out, const struct axis *a, int height) {
    double tick = tick_us(a->range_us);
    for (unsigned i = 0; i <= 10 && i * tick <= a->range_us * 1.0001; i++) {
        double x = x_of(a, a->begin_us + i * tick);
        int digits = tick >= 1000 ? 0 : tick >= 100 ? 1 : tick >= 10 ? 2 : 3;
        (void)fprintf(out,
                      "<path class=\"g\" d=\"M%.1f %dV%d\"/><text class=\"a\" x=\"%.1f\" "
                      "y=\"%d\">%.*f%s</text>\n",
                      x, TOP - 8, height - 6, x, TOP - 12, digits, i * tick / 1000.0,
                      i == 0 ? " ms" : "");
    }
}

/* ---- rows --------------------------------------------------------------------------------- */

static void put_span(FILE *out, const struct axis *a, const struct timeline_span *s, int y) {
    static const char letters[] = {
        [TIMELINE_OTHER] = 'o', [TIMELINE_VERB] = 'v', [TIMELINE_OP] = 'p',
        [TIMELINE_STEP] = 's',  [TIMELINE_UNDO] = 'u', [TIMELINE_CALL] = 'c',
    };
    bool failed = s->result[0] != 0;
    double x = x_of(a, s->begin_us), end = x_of(a, s->end_us);
    unsigned indent = (s->depth < INDENTS_MAX ? s->depth : INDENTS_MAX) * INDENT;
    (void)fprintf(out, "<text x=\"%u\" y=\"%d\"%s>", 14 + indent, y + 12,
                  s->look == TIMELINE_OP ? " class=\"n\"" : "");
    put_text(out, s->name, NAME_CHARS);
    (void)fprintf(out,
                  "</text><rect class=\"%c\" x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"11\"/>"
                  "<text class=\"%c\" x=\"%.1f\" y=\"%d\">",
                  failed ? 'f' : letters[s->look], x, y + 3, fmax(end - x, 1), failed ? 'e' : 'd',
                  fmax(end, x + 1) + 4, y + 12);
    put_ms(out, s->end_us - s->begin_us);
    if (failed) {
        (void)fputc(' ', out);
        put_text(out, s->result, 12);
    }
    (void)fputs("</text>\n", out);
}

void svg_draw(FILE *out, const struct timeline *t) {
    struct axis a = {t->begin_us, fmax(t->end_us - t->begin_us, 1)};
    int height = TOP + 8;
    for (size_t i = 0; i < t->count; i++) {
        bool other = i == 0 || strcmp(t->rows[i]->pid, t->rows[i - 1]->pid) != 0;
        height += other ? 2 * ROW : ROW;
    }
    (void)fprintf(out,
                  "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
                  "viewBox=\"0 0 %d %d\">\n"
                  "<style>text{font:11px sans-serif;fill:#222}.h,.n{font-weight:bold}"
                  ".a{text-anchor:middle;fill:#666}.d{fill:#666}.e{fill:#b00;font-weight:bold}"
                  ".g{stroke:#ddd}.p{fill:#3f6fc0}.s{fill:#93b3e6}.u{fill:#e0a030}.c{fill:#7aa874}"
                  ".v,.o{fill:#9a9a9a}.f{fill:#cc3333}</style>\n"
                  "<rect width=\"%d\" height=\"%d\" fill=\"#fff\"/>\n",
                  WIDTH, height, WIDTH, height, WIDTH, height);
    put_axis(out, &a, height);
    int y = TOP;
    for (size_t i = 0; i < t->count; i++, y += ROW) {
        if (i == 0 || strcmp(t->rows[i]->pid, t->rows[i - 1]->pid) != 0) {
            (void)fprintf(out, "<text class=\"h\" x=\"4\" y=\"%d\">", y + 12);
            put_text(out, timeline_process(t, t->rows[i]), (size_t)2 * NAME_CHARS);
            (void)fputs("</text>\n", out);
            y += ROW;
        }
        put_span(out, &a, t->rows[i], y);
    }
    (void)fputs("</svg>\n", out);
}
