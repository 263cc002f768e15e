/* SPDX-License-Identifier: MIT
 *
 * Loads kernel modules from a list (modules.h). The list comes with the image, so its lines are
 * trusted; what is not is that this kernel likes them, hence a warning a module and no stop: a
 * guest without pvpanic is still a guest.
 */
#include "cmd/gcs/modules.h"

#include "cmd/gcs/early.h"
#include "cmd/gcs/gcs.h"
#include "cmd/gcs/image_path.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

/* Asking first saves the kernel from reading a file of megabytes to say that it has it. One that another
 * process is loading does not count: the kernel waits for it. */
static bool is_loaded(const char *path) {
    const char *base = strrchr(path, '/') == NULL ? path : strrchr(path, '/') + 1;
    char name[NAME_MAX + 32], state[5] = "";
    int fd;

    snprintf(name, sizeof name, "/sys/module/%.*s/initstate", (int)strcspn(base, "."), base);
    for (char *c = name; *c != '\0'; c++) {
        *c = *c == '-' ? '_' : *c;
    }
    fd = open(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    bool live = read(fd, state, 4) == 4 && strcmp(state, "live") == 0;
    close(fd);
    return live;
}

static int load(int folder, char *line) {
    char *parameters = line + strcspn(line, " ");
    int fd, err;

    if (*parameters != '\0') {
        *parameters++ = '\0';
    }
    if (is_loaded(line)) {
        return 0;
    }
    fd = openat(folder, line, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -1;
    }
    err = syscall(SYS_finit_module, fd, parameters, 0) < 0 ? errno : 0;
    close(fd);
    errno = err;
    /* ENODEV: made for another machine than this, say for a processor's special instructions. */
    return err == 0 || err == EEXIST || err == ENODEV ? 0 : -1;
}

static FILE *list_open(int folder, const char *list) {
    int fd = folder < 0 ? -1 : openat(folder, list, O_RDONLY | O_CLOEXEC);

    return fd < 0 ? NULL : fdopen(fd, "r");
}

int uvm__modules_load(const char *who, const char *list) {
    char path[sizeof(struct utsname) + sizeof UVM__IMAGE "/lib/modules/"], line[PATH_MAX];
    int folder, failures = 0;
    struct utsname kernel;
    FILE *f;

    uname(&kernel);
    snprintf(path, sizeof path, UVM__IMAGE "/lib/modules/%s", kernel.release);
    folder = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0) { /* the image is the root */
        folder = open(path + strlen(UVM__IMAGE), O_PATH | O_DIRECTORY | O_CLOEXEC);
    }
    f = list_open(folder, list);
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (load(folder, line) < 0) {
            uvm__say(who, "module %s: %s", line, strerror(errno));
            failures++;
        }
    }
    if (f != NULL) {
        fclose(f);
    }
    if (folder >= 0) {
        close(folder);
    }
    return failures;
}

int uvm__modules_main(int argc, char **argv) {
    if (argc != 2 || strchr(argv[1], '/') != NULL) {
        uvm__say("gcs-modules", "usage: gcs-modules LIST   (say, modules.ext4)");
        return 2;
    }
    if (!uvm__under_our_init()) {
        uvm__say("gcs-modules", "not in a guest of ours: nothing is loaded");
        return 1;
    }
    return uvm__modules_load("gcs-modules", argv[1]) == 0 ? 0 : 1;
}
