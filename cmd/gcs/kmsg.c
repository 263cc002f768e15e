/* SPDX-License-Identifier: MIT
 *
 * /dev/kmsg gives one record a read. Old ones are skipped (seek to the end): the console had them. A record
 * that was overwritten before we read it says EPIPE, which is no end. At most a few records a turn, so that
 * a kernel that babbles does not keep the agent from its work.
 */
#include "cmd/gcs/kmsg.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RECORD_BYTES 2048
#define RECORDS_PER_TURN 16

int gcs_kmsg_parse(char *record, unsigned *ret_level, const char **ret_text) {
    char *end;
    unsigned long priority;
    char *text = strchr(record, ';');

    if (text == NULL || record[0] < '0' || record[0] > '9') {
        return -UVM_E_PROTOCOL;
    }
    priority = strtoul(record, &end, 10);
    if (*end != ',') {
        return -UVM_E_PROTOCOL;
    }
    text++;
    text[strcspn(text, "\n")] = '\0'; /* what follows are KEY=value lines */
    *ret_level = (unsigned)(priority & 7);
    *ret_text = text;
    return 0;
}

static void copy(struct gcs_kmsg *k, char *record) {
    unsigned level;
    const char *text;

    if (gcs_kmsg_parse(record, &level, &text) == 0 && level <= k->level_max) {
        GCS_LOG(k->log,
                level <= 3   ? UVM_LOG_ERROR
                : level == 4 ? UVM_LOG_WARN
                             : UVM_LOG_INFO,
                "kernel message", GCS_NUMBER("kmsg_level", level), GCS_TEXT("kmsg", text));
    }
}

static void on_readable(uv_poll_t *poll, int status, int events) {
    struct gcs_kmsg *k = poll->data;
    char record[RECORD_BYTES + 1];

    (void)status;
    (void)events;
    for (int i = 0; i < RECORDS_PER_TURN; i++) {
        ssize_t n = read(k->fd, record, RECORD_BYTES);

        if (n > 0) {
            record[n] = '\0';
            copy(k, record);
        } else if (n == 0 || (errno != EPIPE && errno != EINTR && errno != EINVAL)) {
            if (n == 0 || errno != EAGAIN) {
                (void)uv_poll_stop(&k->poll);
            }
            return;
        }
    }
}

void gcs_kmsg_init(struct gcs_kmsg *k) {
    k->fd = -1;
}

int gcs_kmsg_open(struct gcs_kmsg *k, uv_loop_t *loop, struct gcs_log *log, unsigned level_max) {
    int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);

    if (fd < 0) {
        return -UVM_E_IO;
    }
    if (lseek(fd, 0, SEEK_END) < 0 || uv_poll_init(loop, &k->poll, fd) != 0) {
        close(fd);
        return -UVM_E_IO;
    }
    k->fd = fd;
    k->level_max = level_max;
    k->log = log;
    k->poll.data = k;
    (void)uv_poll_start(&k->poll, UV_READABLE, on_readable);
    uv_unref((uv_handle_t *)&k->poll); /* nobody stays alive for it */
    return 0;
}

void gcs_kmsg_close(struct gcs_kmsg *k) {
    if (k->fd >= 0) {
        uv_close((uv_handle_t *)&k->poll, NULL);
        close(k->fd);
        k->fd = -1;
    }
}
