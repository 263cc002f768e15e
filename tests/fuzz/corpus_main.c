/* SPDX-License-Identifier: MIT
 * corpus_main.c — runs a fuzzer's kept inputs as an ordinary test.
 *
 * Takes files and folders of files. Each file is given to LLVMFuzzerTestOneInput() as it is, then
 * each of its beginnings, then with each byte in turn changed to the values that lengths and types
 * break on. Long files are sampled, so that the time is bounded. Every input gets a buffer of its
 * own, exactly as long as it is, so that the sanitizers see a read past its end.
 *
 * What is wrong shows as a sanitizer's report or an assertion; an empty corpus is a failure too. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define POSITIONS_MAX 512u
#define FILE_BYTES_MAX (1u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void run_one(const uint8_t *data, size_t bytes) {
    uint8_t *copy = malloc(bytes ? bytes : 1);
    if (!copy) {
        abort();
    }
    memcpy(copy, data, bytes);
    LLVMFuzzerTestOneInput(copy, bytes);
    free(copy);
}

static void run_near(uint8_t *data, size_t bytes) {
    static const uint8_t values[] = {0x00, 0x01, 0x7f, 0x80, 0xff};
    size_t step = bytes / POSITIONS_MAX + 1;
    run_one(data, bytes);
    for (size_t at = 0; at < bytes; at += step) {
        uint8_t kept = data[at];
        run_one(data, at);
        for (size_t i = 0; i < sizeof values; i++) {
            data[at] = values[i];
            run_one(data, bytes);
        }
        data[at] = kept;
    }
}

/* Returns how many inputs it ran: 0 or 1. */
static size_t run_file(const char *path) {
    FILE *f = fopen(path, "rb");
    uint8_t *data = malloc(FILE_BYTES_MAX);
    if (!f || !data) {
        perror(path);
        exit(1);
    }
    size_t bytes = fread(data, 1, FILE_BYTES_MAX, f);
    fclose(f);
    run_near(data, bytes);
    free(data);
    return 1;
}

static size_t run_path(const char *path) {
    struct stat st;
    if (stat(path, &st) != 0) {
        perror(path);
        exit(1);
    }
    if (!S_ISDIR(st.st_mode)) {
        return run_file(path);
    }
    struct dirent **names;
    int count = scandir(path, &names, NULL, alphasort);
    if (count < 0) {
        perror(path);
        exit(1);
    }
    size_t ran = 0;
    for (int i = 0; i < count; i++) {
        char child[4096];
        if (names[i]->d_name[0] != '.') {
            int n = snprintf(child, sizeof child, "%s/%s", path, names[i]->d_name);
            if (n < 0 || (size_t)n >= sizeof child) {
                fprintf(stderr, "%s: the path is too long\n", path);
                exit(1);
            }
            ran += run_path(child);
        }
        free(names[i]);
    }
    free(names);
    return ran;
}

int main(int argc, char **argv) {
    size_t ran = 0;
    for (int i = 1; i < argc; i++) {
        ran += run_path(argv[i]);
    }
    printf("%zu inputs and what is near them\n", ran);
    return ran > 0 ? 0 : 1;
}
