/* SPDX-License-Identifier: MIT
 *
 * The agent's flags: one row a flag, with the field that it sets and how its text is read. What the
 * reference takes and this agent has no use for yet is read and kept, so that a host's command line
 * written for the reference starts this agent unchanged.
 */
#include "cmd/gcs/flags.h"

#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct flag;
typedef bool (*read_fn)(const char *text, void *field);

struct flag {
    const char *name;
    read_fn read;
    size_t offset; /* of the field in struct gcs_flags */
    const char *help;
};

static bool read_bool(const char *text, void *field) {
    static const char *const yes[] = {"1", "t", "T", "true", "TRUE", "True"};
    static const char *const no[] = {"0", "f", "F", "false", "FALSE", "False"};

    for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++) {
        if (strcmp(text, yes[i]) == 0 || strcmp(text, no[i]) == 0) {
            *(bool *)field = strcmp(text, yes[i]) == 0;
            return true;
        }
    }
    return false;
}

static bool read_text(const char *text, void *field) {
    *(const char **)field = text;
    return true;
}

/* Decimal, or with a prefix 0x or 0. */
static bool read_u64(const char *text, void *field) {
    char *end;
    unsigned long long value;

    if (text[0] < '0' || text[0] > '9') {
        return false;
    }
    errno = 0;
    value = strtoull(text, &end, 0);
    if (*end != '\0' || errno != 0) {
        return false;
    }
    *(uint64_t *)field = value;
    return true;
}

static bool read_unsigned(const char *text, void *field) {
    uint64_t value;

    if (!read_u64(text, &value) || value > UINT_MAX) {
        return false;
    }
    *(unsigned *)field = (unsigned)value;
    return true;
}

static bool read_level(const char *text, void *field) {
    static const struct {
        const char *name;
        enum uvm_log_level level;
    } levels[] = {
        {"panic", UVM_LOG_ERROR}, {"fatal", UVM_LOG_ERROR},  {"error", UVM_LOG_ERROR},
        {"warn", UVM_LOG_WARN},   {"warning", UVM_LOG_WARN}, {"info", UVM_LOG_INFO},
        {"debug", UVM_LOG_DEBUG}, {"trace", UVM_LOG_TRACE},
    };

    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++) {
        if (strcasecmp(text, levels[i].name) == 0) {
            *(enum uvm_log_level *)field = levels[i].level;
            return true;
        }
    }
    return false;
}

static bool read_format(const char *text, void *field) {
    bool json = strcmp(text, "json") == 0;

    *(enum gcs_log_format *)field = json ? GCS_LOG_JSON : GCS_LOG_TEXT;
    return json || strcmp(text, "text") == 0;
}

static bool read_stance(const char *text, void *field) {
    bool deny = strcmp(text, "deny") == 0;

    *(bool *)field = deny;
    return deny || strcmp(text, "allow") == 0;
}

static bool read_dial(const char *text, void *field) {
    static const char prefix[] = "unix:";

    if (strncmp(text, prefix, sizeof prefix - 1) != 0 || text[sizeof prefix - 1] == '\0') {
        return false;
    }
    *(const char **)field = text + sizeof prefix - 1;
    return true;
}

#define ROW(name, read, field, help)                                                               \
    { name, read, offsetof(struct gcs_flags, field), help }

static const struct flag flags[] = {
    ROW("v4", read_bool, v4, "serve protocol version 4 (needed)"),
    ROW("loglevel", read_level, log_level, "panic fatal error warning info debug trace (debug)"),
    ROW("log-format", read_format, log_format, "text or json (text)"),
    ROW("logfile", read_text, log_file, "log to this file instead of stderr"),
    ROW("kmsgLogLevel", read_unsigned, kmsg_level, "copy kernel messages up to it to the log (4)"),
    ROW("use-inouterr", read_bool, use_inouterr, "bridge on stdin and stdout"),
    ROW("core-dump-location", read_text, core_dump_location, "the kernel's core_pattern"),
    ROW("root-mem-reserve-bytes", read_u64, root_mem_reserve_bytes, "RAM that pods do not get"),
    ROW("gcs-mem-limit-bytes", read_u64, gcs_mem_limit_bytes, "warn when the agent uses more"),
    ROW("disable-time-sync", read_bool, disable_time_sync, "leave the clock alone"),
    ROW("scrub-logs", read_bool, scrub_logs, "no payloads in trace logs (true)"),
    ROW("initial-policy-stance", read_stance, policy_deny, "allow or deny (allow)"),
    ROW("dial", read_dial, dial_unix_dir, "unix:DIR: sockets DIR/PORT in place of vsock"),
};

static const struct flag *find(const char *name, size_t bytes) {
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        if (strlen(flags[i].name) == bytes && memcmp(flags[i].name, name, bytes) == 0) {
            return &flags[i];
        }
    }
    return NULL;
}

/* Reads the flag at argv[*i], and its value, which may be the next argument. */
static int parse_one(int argc, char **argv, int *i, struct gcs_flags *ret, struct uvm__fail *f) {
    const char *arg = argv[*i];
    const char *name = arg + (arg[1] == '-' ? 2 : 1);
    size_t bytes = strcspn(name, "=");
    const char *value = name[bytes] == '=' ? name + bytes + 1 : NULL;
    const struct flag *flag = find(name, bytes);

    if (bytes == 0 || name[0] == '-') {
        return uvm__fail(f, UVM_E_INVAL, 0, "bad flag syntax: %.100s", arg);
    }
    if (flag == NULL &&
        ((bytes == 4 && memcmp(name, "help", 4) == 0) || (bytes == 1 && *name == 'h'))) {
        return GCS_FLAGS_HELP;
    }
    if (flag == NULL) {
        return uvm__fail(f, UVM_E_INVAL, 0, "flag provided but not defined: -%.*s",
                         bytes < 100 ? (int)bytes : 100, name);
    }
    if (value == NULL && flag->read == read_bool) {
        value = "true";
    } else if (value == NULL && *i + 1 >= argc) {
        return uvm__fail(f, UVM_E_INVAL, 0, "flag needs an argument: -%s", flag->name);
    } else if (value == NULL) {
        value = argv[++*i];
    }
    if (!flag->read(value, (char *)ret + flag->offset)) {
        return uvm__fail(f, UVM_E_INVAL, 0, "invalid value \"%.100s\" for flag -%s: %s", value,
                         flag->name, flag->help);
    }
    return GCS_FLAGS_RUN;
}

int gcs_flags_parse(int argc, char **argv, struct gcs_flags *ret, struct uvm__fail *f) {
    struct gcs_flags parsed = {
        .log_level = UVM_LOG_DEBUG,
        .log_format = GCS_LOG_TEXT,
        .log_file = "",
        .kmsg_level = 4,
        .core_dump_location = "",
        .root_mem_reserve_bytes = 75u << 20,
        .gcs_mem_limit_bytes = 50u << 20,
        .scrub_logs = true,
    };

    for (int i = 1; i < argc && argv[i][0] == '-' && argv[i][1] != '\0'; i++) {
        int r;

        if (strcmp(argv[i], "--") == 0) {
            break;
        }
        r = parse_one(argc, argv, &i, &parsed, f);
        if (r != GCS_FLAGS_RUN) {
            return r;
        }
    }
    *ret = parsed;
    return GCS_FLAGS_RUN;
}

void gcs_flags_usage(int fd) {
    dprintf(fd, "usage: gcs [flags]\n");
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        dprintf(fd, "  -%-24s %s\n", flags[i].name, flags[i].help);
    }
}
