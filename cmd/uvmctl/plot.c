/* SPDX-License-Identifier: MIT
 * plot.c — `uvmctl plot`: a trace as a picture.
 *
 * The picture is made in memory and written when it is whole: a trace that cannot be drawn leaves no file.
 */
#include "cmd/uvmctl/args.h"
#include "cmd/uvmctl/out.h"
#include "cmd/uvmctl/outfile.h"
#include "cmd/uvmctl/svg.h"
#include "cmd/uvmctl/verbs.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct option_row rows[] = {
    {"output", 'o', "FILE", "where to write the SVG (standard output)"},
    {NULL, 0, NULL, NULL},
};

struct plot {
    const char *trace, *output;
    dev_t dev; /* of the trace */
    ino_t ino;
};

static bool on_option(const struct option_row *row, const char *value, void *arg) {
    struct plot *p = arg;
    (void)row;
    p->output = value;
    return true;
}

static bool on_word(const char *word, void *arg) {
    struct plot *p = arg;
    if (p->trace != NULL) {
        out_usage("plot: one word too many: \"%s\"", word);
        return false;
    }
    p->trace = word;
    return true;
}

/* The caller frees; NULL: it said why. */
static char *read_trace(struct plot *p, size_t *ret_bytes) {
    struct stat st = {0};
    const char *why = NULL;
    char *text = NULL;
    int fd = open(p->trace, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) != 0) {
        why = strerror(errno);
    } else if (!S_ISREG(st.st_mode)) {
        why = S_ISDIR(st.st_mode) ? "is a directory" : "is no regular file";
    } else if (st.st_size > (off_t)TIMELINE_BYTES_MAX) {
        why = "it is too large: more than 16 MiB make no picture";
    } else if ((text = malloc((size_t)st.st_size + 1)) == NULL) {
        why = "out of memory";
    }
    size_t got = 0;
    while (why == NULL && got < (size_t)st.st_size) {
        ssize_t n = read(fd, text + got, (size_t)st.st_size - got);
        if (n < 0) {
            why = strerror(errno);
        } else if (n == 0) {
            break; /* it has become shorter */
        }
        got += n > 0 ? (size_t)n : 0;
    }
    if (fd >= 0) {
        close(fd);
    }
    if (why != NULL) {
        out_message("plot: %s: %s", p->trace, why);
        free(text);
        return NULL;
    }
    p->dev = st.st_dev;
    p->ino = st.st_ino;
    *ret_bytes = got;
    return text;
}

static int write_picture(const struct plot *p, const char *data, size_t bytes) {
    struct stat st;
    char why[160] = "";
    if (p->output == NULL) {
        return fwrite(data, 1, bytes, stdout) == bytes ? EXIT_DONE : EXIT_FAILED;
    }
    if (stat(p->output, &st) == 0 && st.st_dev == p->dev && st.st_ino == p->ino) {
        out_message("plot: %s: that is the trace itself", p->output);
        return EXIT_FAILED;
    }
    int fd = outfile_open(p->output, why, sizeof why);
    size_t done = 0;
    while (fd >= 0 && done < bytes) {
        ssize_t n = write(fd, data + done, bytes - done);
        if (n <= 0) {
            (void)snprintf(why, sizeof why, "%s", n < 0 ? strerror(errno) : "no more room");
            (void)!ftruncate(fd, 0);
            break;
        }
        done += (size_t)n;
    }
    if (fd >= 0) {
        close(fd);
    }
    if (why[0] != 0) {
        out_message("plot: %s: %s", p->output, why);
        return EXIT_FAILED;
    }
    return EXIT_DONE;
}

static int draw(const struct plot *p, const struct timeline *t) {
    char *data = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&data, &bytes);
    if (out != NULL) {
        svg_draw(out, t);
    }
    bool ok = out != NULL && ferror(out) == 0;
    ok = (out == NULL || fclose(out) == 0) && ok;
    int status = EXIT_FAILED;
    if (ok) {
        status = write_picture(p, data, bytes);
    } else {
        out_message("plot: out of memory");
    }
    free(data);
    return status;
}

static int plot(char **argv) {
    struct plot p = {0};
    struct args a = {"plot", rows, on_option, on_word, &p, NULL, false};
    struct timeline t;
    struct uvm__fail f = {0};
    size_t bytes = 0;
    if (!args_parse(&a, argv)) {
        return EXIT_USAGE;
    }
    if (a.help) {
        help_verb(stdout, &verb_plot);
        return EXIT_DONE;
    }
    if (p.trace == NULL || a.command != NULL) {
        out_usage("plot: %s", p.trace == NULL
                                  ? "which trace? \"--trace FILE\" of any verb writes one"
                                  : "it takes no command");
        return EXIT_USAGE;
    }
    char *text = read_trace(&p, &bytes);
    if (text == NULL) {
        return EXIT_FAILED;
    }
    int status = EXIT_FAILED;
    if (timeline_read(text, bytes, &t, &f) < 0) {
        out_message("plot: %s: %s", p.trace, f.msg);
    } else {
        status = draw(&p, &t);
        timeline_free(&t);
    }
    free(text);
    return status;
}

const struct verb verb_plot = {
    .name = "plot",
    .summary = "the time line of a trace as a picture",
    .words = "TRACE [-o FILE.svg]",
    .about =
        "Draws what --trace wrote, or another Chrome trace of at most 2000 spans, as an SVG: a row for\n"
        "each span, what it started below it, what failed in red with its code.",
    .options = rows,
    .example = "uvmctl boot --trace boot.json -- true\nuvmctl plot boot.json -o boot.svg",
    .run = plot,
};
