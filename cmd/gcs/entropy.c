/* SPDX-License-Identifier: MIT
 *
 * Entropy from the host (entropy.h). The host is trusted with this as with all of the guest's
 * memory; what is checked is only that it lets the boot go on.
 */
#include "cmd/gcs/entropy.h"

#include "cmd/gcs/early.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <linux/random.h>

enum { CHUNK_BYTES = 512, BYTES_MAX = 16384, SILENCE_S = 5 };

struct pool {
    int entropy_count; /* bits; the layout of struct rand_pool_info */
    int buf_size;      /* bytes */
    unsigned char buf[CHUNK_BYTES];
};

static int feed(int from, int random) {
    struct pool pool;
    ssize_t n;

    for (size_t total = 0; total < BYTES_MAX; total += (size_t)n) {
        n = read(from, pool.buf, sizeof pool.buf);
        if (n <= 0) {
            return (int)n;
        }
        pool.buf_size = (int)n;
        pool.entropy_count = (int)n * 8;
        if (ioctl(random, RNDADDENTROPY, &pool) < 0) {
            return -1;
        }
    }
    return 0;
}

int uvm__entropy_feed(uint32_t port) {
    const struct timeval silence = {.tv_sec = SILENCE_S};
    int random = open("/dev/random", O_RDWR | O_CLOEXEC);
    int from = random < 0 ? -1 : uvm__host_dial(port);
    int result = -1;

    if (from >= 0) {
        setsockopt(from, SOL_SOCKET, SO_RCVTIMEO, &silence, sizeof silence);
        result = feed(from, random);
    }
    if (result < 0) {
        uvm__say("init", "no entropy from host port %u: %s", port, strerror(errno));
    }
    if (from >= 0) {
        close(from);
    }
    if (random >= 0) {
        close(random);
    }
    return result;
}
