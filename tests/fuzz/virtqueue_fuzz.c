/* SPDX-License-Identifier: MIT
 * virtqueue_fuzz.c — any bytes as a guest's memory with a split ring in it.
 *
 * Input: one byte of switches, then the guest's memory (short ones end in zeroes), then what the guest writes
 * into it while the device works: three bytes each, offset and value. The memory is in two blocks of exactly
 * its size, neighbours for the guest and not for us, so that the sanitizers see a step past either.
 * What must hold: each element's pieces lie inside the blocks and count what they should, readable before
 * writable; a broken queue stays broken; positions never part.
 */
#include "async/check.h"
#include "async/engine.h"
#include "hvsock/virtqueue.h"
#include <stdlib.h>
#include <string.h>

enum { SIZE = 8, RAM = 1024, SEAM = 512, DESC = 0, AVAIL = 128, USED = 160, STEPS = 100 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void check_segments(const struct uvm__vq_element *el, uint8_t *const ram[2]) {
    uint64_t sums[2] = {0, 0};
    UVM_ASSERT((unsigned)el->readable + el->writable <= UVM__VQ_SEGMENTS_MAX);
    for (unsigned i = 0; i < (unsigned)el->readable + el->writable; i++) {
        const uint8_t *at = el->segments[i].iov_base;
        size_t n = el->segments[i].iov_len;
        bool first = at >= ram[0] && n <= SEAM && at <= ram[0] + SEAM - n;
        bool second = at >= ram[1] && n <= RAM - SEAM && at <= ram[1] + (RAM - SEAM) - n;
        UVM_ASSERT(n > 0 && (first || second));
        sums[i >= el->readable] += n;
    }
    UVM_ASSERT(sums[0] == el->readable_bytes && sums[1] == el->writable_bytes);
}

/* Reads all, writes all, gives it back. */
static void serve(struct uvm__vq *q, struct uvm__vq_element *el) {
    uint8_t piece[64];
    struct uvm__vq_cursor c;
    uint64_t got = 0;
    size_t n;
    uvm__vq_cursor_readable(&c, el);
    while ((n = uvm__vq_cursor_get(&c, piece, sizeof piece)) > 0) {
        got += n;
    }
    UVM_ASSERT(got == el->readable_bytes);
    uint64_t put = 0;
    uvm__vq_cursor_writable(&c, el);
    while (put < el->writable_bytes && (n = uvm__vq_cursor_put(&c, piece, sizeof piece)) > 0) {
        put += n;
    }
    UVM_ASSERT(put == el->writable_bytes);
    uvm__vq_complete(q, el, (uint32_t)(put < UINT32_MAX ? put : UINT32_MAX));
}

static void run(const struct uvm__vq_params *p, struct uvm__guest_mem *mem, uint8_t *const ram[2],
                const uint8_t *script, size_t bytes) {
    static struct uvm__vq_element el;
    struct uvm__vq q;
    uvm__vq_start(&q, mem, p);
    for (unsigned i = 0; i < STEPS; i++) {
        int rc = uvm__vq_peek(&q, &el);
        UVM_ASSERT((rc < 0) == (q.broken != NULL));
        if (rc < 0) {
            UVM_ASSERT(uvm__vq_peek(&q, &el) < 0 && !uvm__vq_kicks_on(&q));
            return;
        }
        if (rc > 0) {
            check_segments(&el, ram);
            serve(&q, &el);
        }
        if (i % 3 == 0) {
            (void)uvm__vq_show(&q);
        }
        if (rc == 0 && !uvm__vq_kicks_on(&q) && bytes < 3) {
            return;
        }
        if (i % 5 == 0) {
            uvm__vq_kicks_off(&q);
        }
        if (bytes >= 3) {
            unsigned at = (unsigned)(script[0] | script[1] << 8) % RAM;
            ram[at >= SEAM][at % SEAM] = script[2];
            script += 3;
            bytes -= 3;
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    if (bytes < 1) {
        return 0;
    }
    uint8_t *ram[2] = {calloc(1, SEAM), calloc(1, RAM - SEAM)};
    UVM_ASSERT(ram[0] != NULL && ram[1] != NULL);
    uint8_t switches = data[0];
    data++;
    bytes--;
    size_t n = bytes < RAM ? bytes : RAM;
    memcpy(ram[0], data, n < SEAM ? n : SEAM);
    if (n > SEAM) {
        memcpy(ram[1], data + SEAM, n - SEAM);
    }
    struct uvm__guest_region regions[2] = {
        {.gpa = 0, .bytes = SEAM, .at = ram[0]},
        {.gpa = SEAM, .bytes = RAM - SEAM, .at = ram[1]},
    };
    struct uvm__guest_mem mem = {.regions = regions, .count = 2, .capacity = 2};
    struct uvm__vq_params p = {.desc = ram[0] + DESC,
                               .avail = ram[0] + AVAIL,
                               .used = ram[0] + USED,
                               .size = SIZE,
                               .base = (uint16_t)((switches & 4) != 0 ? 0xfffc : 0),
                               .event_idx = (switches & 1) != 0,
                               .indirect = (switches & 2) != 0};
    run(&p, &mem, ram, data + n, bytes - n);
    free(ram[0]);
    free(ram[1]);
    return 0;
}
