/* SPDX-License-Identifier: MIT
 * kernel_line.c — rewrites the kernel's arguments token by token; what follows "--" is init's.
 *
 * The kernel splits at white space outside double quotes, and so does this. Of the arguments behind "--"
 * only one thing changes: the agent keeps no time of its own here (there is no Hyper-V time device), so
 * its command gets -disable-time-sync, right behind its name, since the line may go on after its last
 * argument ("… & exec sh").
 */
#include "hcs/qemu/kernel_line.h"

#include <ctype.h>
#include <string.h>

#include "async/buf.h"
#include "async/cleanup.h"
#include "async/limits.h"

#define WHERE "VirtualMachine.Chipset.LinuxKernelDirect.KernelCmdLine"

/* What cannot hold on QEMU, and what stands for it: an empty `put` drops the token. A `token` that ends
 * in '=' matches any value, which is kept behind `put`. */
static const struct rewrite {
    const char *token, *put;
} rewrites[] = {
    {"pci=off", ""},                           /* every device here is a PCI function */
    {"pmtmr=0", ""},                           /* under emulation the PM timer is a good clock */
    {"8250_core.nr_uarts=0", "console=ttyS0"}, /* the console is always kept, for errors */
    {"nr_cpus=", "maxcpus="}, /* processors may be added later: they stay possible */
};

/* The host's own vsock transport is virtio here, so it must not be kept from starting. */
#define BLACKLIST "initcall_blacklist="
#define BLACKLISTED "virtio_vsock_init"

/* What is added for the host's sake. Where every instruction is emulated, nothing that a guest of ours needs: the
 * first two are worth 0.4 s of
 * a boot's 2 s. With the third a kernel thread that hands out what came from a device goes on to the last
 * packet, where else it lets a reader in after each: a fourth to two thirds of the CPU time of a vsock
 * stream to the guest. The fourth leaves out a check that panics ("IO-APIC + timer doesn't work") where a loaded
 * host holds the emulated timer back. The last zeroes no memory before its first use: a third of what a stream to
 * the guest costs where it is emulated. It hardens the guest's kernel against its own mistakes, so that under KVM,
 * where it is cheap, it stays. With virtual PMem there are addresses above 4 GiB, and the kernel takes 64 MiB for
 * copies below that devices could reach: none is needed for memory that is below already. One whose line has a
 * token that begins with `unless` is left out. */
static const struct host_token {
    unsigned host;
    const char *token, *unless;
} host_tokens[] = {
    {UVM__LINE_TCG, "cryptomgr.notests", "cryptomgr.notests"},
    {UVM__LINE_TCG,
     "initcall_blacklist=crypto_kdf108_init,init_kprobe_trace,load_system_certificate_list", NULL},
    {UVM__LINE_TCG, "preempt=none", "preempt="},
    {UVM__LINE_TCG, "no_timer_check", "no_timer_check"},
    {UVM__LINE_TCG, "init_on_alloc=0", "init_on_alloc="},
    {UVM__LINE_PMEM, "swiotlb=noforce", "swiotlb="},
};
#define HOST_TOKENS (sizeof host_tokens / sizeof host_tokens[0])

#define AGENT "gcs"
#define NO_TIME_SYNC "-disable-time-sync"

struct token {
    const char *at;
    size_t bytes;
};

static bool is_space(char c) {
    return c == ' ' || c == '\t';
}

/* The next token of the kernel's part; false at the end. */
static bool next_token(const char **at, struct token *ret) {
    const char *p = *at;
    bool quoted = false;

    while (is_space(*p)) {
        p++;
    }
    ret->at = p;
    for (; *p != '\0' && (quoted || !is_space(*p)); p++) {
        quoted = *p == '"' ? !quoted : quoted;
    }
    ret->bytes = (size_t)(p - ret->at);
    *at = p;
    return ret->bytes > 0;
}

static bool token_is(const struct token *t, const char *text) {
    return t->bytes == strlen(text) && memcmp(t->at, text, t->bytes) == 0;
}

static bool token_begins(const struct token *t, const char *text) {
    size_t bytes = strlen(text);
    return t->bytes >= bytes && memcmp(t->at, text, bytes) == 0;
}

static int put(struct uvm__buf *out, const char *text, size_t bytes) {
    int rc = out->len > 0 ? uvm__buf_puts(out, " ") : 0;
    return rc < 0 ? rc : uvm__buf_append(out, text, bytes);
}

/* The list of an initcall_blacklist without the one entry; nothing when no entry is left. */
static int put_blacklist(struct uvm__buf *out, const struct token *t) {
    const char *p = t->at + strlen(BLACKLIST), *end = t->at + t->bytes;
    bool any = false;
    int rc = 0;

    while (rc == 0 && p < end) {
        const char *comma = memchr(p, ',', (size_t)(end - p));
        struct token entry = {p, (size_t)((comma != NULL ? comma : end) - p)};
        if (entry.bytes > 0 && !token_is(&entry, BLACKLISTED)) {
            rc = any ? uvm__buf_puts(out, ",") : put(out, BLACKLIST, strlen(BLACKLIST));
            rc = rc < 0 ? rc : uvm__buf_append(out, entry.at, entry.bytes);
            any = true;
        }
        p = comma != NULL ? comma + 1 : end;
    }
    return rc;
}

static int put_rewritten(struct uvm__buf *out, const struct token *t) {
    if (token_begins(t, BLACKLIST)) {
        return put_blacklist(out, t);
    }
    for (size_t i = 0; i < sizeof rewrites / sizeof rewrites[0]; i++) {
        const struct rewrite *r = &rewrites[i];
        size_t bytes = strlen(r->token);

        if (r->token[bytes - 1] == '=' && token_begins(t, r->token)) {
            int rc = put(out, r->put, strlen(r->put));
            return rc < 0 ? rc : uvm__buf_append(out, t->at + bytes, t->bytes - bytes);
        }
        if (token_is(t, r->token)) {
            return r->put[0] == '\0' ? 0 : put(out, r->put, strlen(r->put));
        }
    }
    return put(out, t->at, t->bytes);
}

/* The kernel's part up to "--"; *at is left behind it, or at the end. */
static int put_kernel_part(struct uvm__buf *out, const char **at, unsigned host) {
    bool console = false, there[HOST_TOKENS] = {false};
    struct token t;
    int rc = 0;

    while (rc == 0 && next_token(at, &t) && !token_is(&t, "--")) {
        console =
            console || token_begins(&t, "console=ttyS0") || token_is(&t, "8250_core.nr_uarts=0");
        for (size_t i = 0; i < HOST_TOKENS; i++) {
            const char *unless = host_tokens[i].unless;
            there[i] = there[i] || (unless != NULL && token_begins(&t, unless));
        }
        rc = put_rewritten(out, &t);
    }
    if (rc == 0 && !console) {
        rc = put(out, "console=ttyS0", strlen("console=ttyS0"));
    }
    for (size_t i = 0; rc == 0 && i < HOST_TOKENS; i++) {
        const struct host_token *add = &host_tokens[i];
        if ((add->host & host) != 0 && !there[i]) {
            rc = put(out, add->token, strlen(add->token));
        }
    }
    return rc;
}

/* The place behind the agent's name in init's part; NULL when it has none or keeps no time already. */
static const char *behind_agent(const char *init) {
    if (strstr(init, NO_TIME_SYNC) != NULL) {
        return NULL;
    }
    for (const char *p = strstr(init, AGENT); p != NULL; p = strstr(p + 1, AGENT)) {
        char after = p[strlen(AGENT)];
        if (p > init && p[-1] == '/' && (after == '\0' || after == '"' || is_space(after))) {
            return p + strlen(AGENT);
        }
    }
    return NULL;
}

static int put_init_part(struct uvm__buf *out, const char *init) {
    while (is_space(*init)) {
        init++;
    }
    const char *agent = behind_agent(init);
    int rc = put(out, "-- ", 2);

    if (rc == 0 && agent == NULL) {
        return put(out, init, strlen(init));
    }
    rc = rc < 0 ? rc : put(out, init, (size_t)(agent - init));
    rc = rc < 0 ? rc : put(out, NO_TIME_SYNC, strlen(NO_TIME_SYNC));
    return rc < 0 ? rc : uvm__buf_puts(out, agent);
}

static int check_text(const char *line, struct uvm__fail *f) {
    bool quoted = false;

    for (size_t i = 0; line[i] != '\0'; i++) {
        if (iscntrl((unsigned char)line[i]) && line[i] != '\t') {
            return uvm__fail(f, UVM_E_INVAL, 0, WHERE ": control character 0x%02x at byte %zu",
                             (unsigned)(unsigned char)line[i], i);
        }
        quoted = line[i] == '"' ? !quoted : quoted;
    }
    return quoted ? uvm__fail(f, UVM_E_INVAL, 0, WHERE ": a quote is not closed") : 0;
}

int uvm__qemu_kernel_line(uvm_engine *e, const char *line, unsigned host, char **ret,
                          struct uvm__fail *f) {
    const char *at = line == NULL ? "" : line;
    struct uvm__buf out;
    int rc = check_text(at, f);

    if (rc < 0) {
        return rc;
    }
    uvm__buf_init(&out, e, UVM__CMDLINE_BYTES_MAX);
    rc = put_kernel_part(&out, &at, host);
    if (rc == 0 && *at != '\0') {
        rc = put_init_part(&out, at);
    }
    if (rc < 0) {
        uvm__buf_deinit(&out);
        return rc == -UVM_E_LIMIT
                   ? uvm__fail(f, UVM_E_LIMIT, 0,
                               WHERE
                               ": too long once rewritten for this host; the kernel takes %u bytes",
                               UVM__CMDLINE_BYTES_MAX)
                   : uvm__fail(f, UVM_E_NOMEM, 0, WHERE ": out of memory");
    }
    *ret = (char *)UVM_TAKE_PTR(out.data);
    return 0;
}
