/* SPDX-License-Identifier: MIT
 * flags.h — the agent's command line, in the syntax of Go's flag package.
 *
 * One or two dashes; `-name value` or `-name=value`; a boolean without `=` is true and takes no value;
 * `--` or the first argument without a dash ends the flags. The last of several wins.
 * Source: hcsshim's cmd/gcs/main.go for the reference's flags; `-dial` is ours.
 */
#pragma once
#include "async/async.h"
#include "async/error.h"

enum gcs_log_format { GCS_LOG_TEXT, GCS_LOG_JSON };

struct gcs_flags {
    bool v4;                      /* without it every message is answered "not supported" */
    enum uvm_log_level log_level; /* logrus names; panic and fatal mean error */
    enum gcs_log_format log_format;
    const char *log_file;           /* "": stderr */
    unsigned kmsg_level;            /* kernel messages at or below it are copied to the log */
    bool use_inouterr;              /* bridge on stdin and stdout */
    const char *core_dump_location; /* "": untouched */
    uint64_t root_mem_reserve_bytes;
    uint64_t gcs_mem_limit_bytes;
    bool disable_time_sync;
    bool scrub_logs;
    bool policy_deny;          /* -initial-policy-stance deny */
    const char *dial_unix_dir; /* -dial unix:DIR; NULL: AF_VSOCK */
};

/* What the program does after reading its flags. */
enum { GCS_FLAGS_RUN, GCS_FLAGS_HELP };

/* GCS_FLAGS_RUN or GCS_FLAGS_HELP; or -UVM_E_INVAL, and `f` says which argument and why. Strings are
 * borrowed from argv. */
int gcs_flags_parse(int argc, char **argv, struct gcs_flags *ret, struct uvm__fail *f);

/* The table of flags for people. */
void gcs_flags_usage(int fd);
