/* SPDX-License-Identifier: MIT
 * exec.c — `uvmctl exec NAME -- CMD`: a command in a UVM that runs.
 *
 * Our descriptors go to the owner, who relays them; we only wait for the end. With --json the command gets
 * pipes of ours instead. The terminal is ours to make raw and to give back, whatever happens: restored in
 * before_end, at exit, and on a crash.
 * SIGINT is passed on to the command once; a second one, SIGTERM and SIGHUP end the connection, and so the
 * command.
 */
#include "async/sock.h"
#include "cmd/uvmctl/reach.h"
#include "cmd/uvmctl/terminal.h"
#include "cmd/uvmctl/verbs.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ENV_MAX 128u
#define DEFAULT_PATH "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static const struct option_row rows[] = {
    {"tty", 't', NULL, "give the command a terminal"},
    {"env", 'e', "K=V", "a variable of the command; K alone takes ours; may be repeated"},
    {"workdir", 'w', "DIR", "the command's folder (/)"},
    {"user", 'u', "USER", "the command's user: name or uid, with :group (root)"},
    REACH_OPTIONS,
    {NULL, 0, NULL, NULL},
};

struct exec {
    struct reach r;
    bool tty;
    const char *cwd, *user;
    const char *env[ENV_MAX];
    size_t env_count;
    uint64_t process; /* 0: not started */
    struct {
        struct uvm__sock *sock;
        struct capture kept;
    } pipes[2]; /* with --json */
    bool ended;
    int code;
};

static struct exec *exec_of(struct reach *r) {
    return (struct exec *)(void *)r; /* its first member */
}

static bool on_option(struct reach *r, const struct option_row *row, const char *value) {
    struct exec *x = exec_of(r);
    switch (row->letter) {
    case 't':
        x->tty = true;
        return true;
    case 'w':
        x->cwd = value;
        return true;
    case 'u':
        x->user = value;
        return true;
    default:
        break;
    }
    if (x->env_count == ENV_MAX || value[0] == 0 || value[0] == '=') {
        /* without the value: what a command is told is nobody else's business */
        out_usage("exec: --env: it is not K=V, or there are more than %u", ENV_MAX);
        return false;
    }
    x->env[x->env_count++] = value;
    return true;
}

/* ---- the request -------------------------------------------------------------------------- */

static bool add_text(cJSON *list, const char *text) {
    cJSON *node = cJSON_CreateString(text);
    if (node == NULL || !cJSON_AddItemToArray(list, node)) {
        cJSON_Delete(node);
        return false;
    }
    return true;
}

static bool add_variable(cJSON *list, const char *key, const char *value) {
    char text[4096];
    int n = snprintf(text, sizeof text, "%s=%s", key, value);
    return n > 0 && (size_t)n < sizeof text && add_text(list, text);
}

static bool add_env(const struct exec *x, cJSON *params) {
    cJSON *list = cJSON_AddArrayToObject(params, "env");
    bool ok = list != NULL, path = false, term = false;
    for (size_t i = 0; ok && i < x->env_count; i++) {
        const char *ours = strchr(x->env[i], '=') == NULL ? getenv(x->env[i]) : NULL;
        path = path || strncmp(x->env[i], "PATH=", 5) == 0;
        term = term || strncmp(x->env[i], "TERM=", 5) == 0;
        if (strchr(x->env[i], '=') != NULL) {
            ok = add_text(list, x->env[i]);
        } else if (ours != NULL) {
            ok = add_variable(list, x->env[i], ours);
        }
    }
    if (ok && !path) {
        ok = add_text(list, DEFAULT_PATH);
    }
    if (ok && x->tty && !term) {
        ok = add_variable(list, "TERM", getenv("TERM") == NULL ? "linux" : getenv("TERM"));
    }
    return ok;
}

static bool add_terminal(const struct exec *x, cJSON *params) {
    uint16_t height, width;
    if (!x->tty) {
        return true;
    }
    terminal_size(&height, &width);
    return cJSON_AddTrueToObject(params, "tty") != NULL &&
           uvm__json_add_u64(params, "rows", height) != NULL &&
           uvm__json_add_u64(params, "cols", width) != NULL;
}

static bool is_open(int fd) {
    return fcntl(fd, F_GETFD) >= 0;
}

static cJSON *request(const struct exec *x, int *fds, size_t *ret_count) {
    static const int ours[] = {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO};
    cJSON *params = cJSON_CreateObject();
    cJSON *argv = params == NULL ? NULL : cJSON_AddArrayToObject(params, "argv");
    cJSON *stdio = params == NULL ? NULL : cJSON_AddArrayToObject(params, "stdio");
    bool ok = argv != NULL && stdio != NULL && add_env(x, params) && add_terminal(x, params);
    for (char **w = x->r.command; ok && *w != NULL; w++) {
        ok = add_text(argv, *w);
    }
    *ret_count = 0;
    for (int i = 0; ok && i < 3; i++) {
        int fd = x->r.json && i > 0 ? fds[i] : ours[i];
        bool wanted = is_open(fd) && !(x->tty && i == STDERR_FILENO);
        ok = add_text(stdio, wanted ? "fd" : "none");
        if (wanted) {
            fds[(*ret_count)++] = fd;
        }
    }
    ok = ok && (x->cwd == NULL || cJSON_AddStringToObject(params, "cwd", x->cwd) != NULL) &&
         (x->user == NULL || cJSON_AddStringToObject(params, "user", x->user) != NULL);
    if (!ok) {
        cJSON_Delete(params);
        return NULL;
    }
    return params;
}

/* ---- the end ------------------------------------------------------------------------------ */

static void before_end(struct reach *r) {
    struct exec *x = exec_of(r);
    terminal_restore();
    for (size_t i = 0; i < 2; i++) {
        if (x->pipes[i].sock != NULL) {
            uvm__sock_close(x->pipes[i].sock, NULL, NULL);
            x->pipes[i].sock = NULL;
        }
    }
}

static void print_result(const struct exec *x) {
    static const char *const names[] = {"stdout", "stderr"};
    struct json_out j = {0};
    json_open(&j, NULL, '{');
    json_text(&j, "name", x->r.name);
    json_int(&j, "exit_code", x->code);
    for (size_t i = 0; i < 2; i++) {
        const struct capture *kept = &x->pipes[i].kept;
        json_string(&j, names[i], kept->data == NULL ? "" : kept->data, kept->len);
    }
    if (x->pipes[0].kept.truncated || x->pipes[1].kept.truncated) {
        json_bool(&j, "truncated", true);
    }
    json_close(&j, '}');
    (void)json_finish(&j, STDOUT_FILENO);
}

/* The command has ended, and what it said is here. */
static void check_end(struct exec *x) {
    if (x->ended && x->pipes[0].sock == NULL && x->pipes[1].sock == NULL && !x->r.over) {
        if (x->r.json) {
            print_result(x);
        }
        reach_end(&x->r, x->code);
    }
}

static void on_end(struct client *c, const cJSON *result, const uvm_error *err, int status,
                   void *arg) {
    struct exec *x = arg;
    int64_t code = 0, signo = 0;
    (void)c;
    (void)status;
    if (err != NULL) {
        terminal_restore();
        reach_fail(&x->r, err, 0);
        return;
    }
    (void)uvm__json_i64(uvm__json_get(UVM__JSON_STRICT, result, "code"), 0, UINT32_MAX, &code);
    (void)uvm__json_i64(uvm__json_get(UVM__JSON_STRICT, result, "signal"), 0, 127, &signo);
    const char *lost = uvm__json_string(uvm__json_get(UVM__JSON_STRICT, result, "lost"));
    if (lost != NULL) {
        terminal_restore();
        out_message("%s: output was dropped: %s", x->r.name, lost);
    }
    x->code = signo != 0 ? EXIT_SIGNAL + (int)signo : (int)(code & 0xff);
    x->ended = true;
    check_end(x);
}

/* ---- while it runs ------------------------------------------------------------------------ */

static cJSON *about_process(const struct exec *x) {
    cJSON *params = cJSON_CreateObject();
    if (params != NULL) {
        (void)uvm__json_add_u64(params, "process", x->process);
    }
    return params;
}

static void resize(struct app *app) {
    struct exec *x = app->arg;
    uint16_t height, width;
    cJSON *params = x->process == 0 || x->r.over ? NULL : about_process(x);
    if (params != NULL) {
        terminal_size(&height, &width);
        (void)uvm__json_add_u64(params, "rows", height);
        (void)uvm__json_add_u64(params, "cols", width);
        client_call(x->r.client, "resize", params, NULL, 0, NULL, NULL);
    }
}

static void on_interrupt(struct app *app, int signo, unsigned times) {
    struct exec *x = app->arg;
    cJSON *params =
        times > 1 || signo != SIGINT || x->process == 0 || x->r.over ? NULL : about_process(x);
    if (params == NULL) {
        reach_end(&x->r, EXIT_SIGNAL + signo);
        return;
    }
    (void)uvm__json_add_i64(params, "signal", signo);
    (void)cJSON_AddTrueToObject(params, "group");
    client_call(x->r.client, "signal", params, NULL, 0, NULL, NULL);
}

static void on_started(struct client *c, const cJSON *result, const uvm_error *err, int status,
                       void *arg) {
    struct exec *x = arg;
    if (err != NULL) {
        reach_fail(&x->r, err, status);
        return;
    }
    (void)uvm__json_u64(uvm__json_get(UVM__JSON_STRICT, result, "process"), UINT64_MAX,
                        &x->process);
    if (x->tty) {
        (void)terminal_make_raw();
        resize(&x->r.app); /* it may have changed since */
    }
    client_call(c, "wait", about_process(x), NULL, 0, on_end, x);
}

/* ---- output of --json --------------------------------------------------------------------- */

static void keep(struct capture *k, const char *data, size_t bytes) {
    size_t n = bytes < CAPTURE_BYTES_MAX - k->len ? bytes : CAPTURE_BYTES_MAX - k->len;
    char *more = n == 0 ? NULL : realloc(k->data, k->len + n);
    if (more != NULL) {
        memcpy(more + k->len, data, n);
        k->data = more;
        k->len += n;
    }
    k->truncated = k->truncated || more == NULL || n < bytes;
}

static void on_pipe(struct uvm__sock *s, void *arg) {
    struct exec *x = arg;
    char buf[65536];
    size_t i = s == x->pipes[0].sock ? 0 : 1;
    ssize_t n = uvm__sock_recv(s, buf, sizeof buf, NULL, NULL);
    if (n > 0) {
        keep(&x->pipes[i].kept, buf, (size_t)n);
    } else if (n != -UVM_E_AGAIN) {
        uvm__sock_close(s, NULL, NULL);
        x->pipes[i].sock = NULL;
        check_end(x);
    }
}

static bool open_pipes(struct exec *x, int fds[3]) {
    static const struct uvm__sock_events events = {on_pipe, NULL};
    for (int i = 1; i < 3; i++) {
        int ends[2];
        if (pipe2(ends, O_CLOEXEC) != 0) {
            return false;
        }
        fds[i] = ends[1];
        if (uvm__sock_open(x->r.app.engine, ends[0], &events, x, &x->pipes[i - 1].sock) < 0) {
            return false;
        }
        uvm__sock_reading(x->pipes[i - 1].sock, true);
    }
    return true;
}

static int exec(char **argv) {
    struct exec x = {.r = {.verb = &verb_exec,
                           .needs_name = true,
                           .takes_command = true,
                           .on_option = on_option,
                           .before_end = before_end}};
    int fds[3] = {-1, -1, -1}, given[2];
    size_t count = 0;
    if (!reach_begin(&x.r, argv)) {
        return x.r.status;
    }
    x.r.app.on_interrupt = on_interrupt;
    x.r.app.on_resize = x.tty ? resize : NULL;
    bool bad = x.tty && (x.r.json || !isatty(STDIN_FILENO));
    if (bad) {
        out_usage("exec: -t %s",
                  x.r.json ? "does not go with --json" : "wants a terminal as standard input");
        reach_end(&x.r, EXIT_ENGINE);
    } else if (reach_connect(&x.r, &(struct client_events){.arg = &x})) {
        bool ok = !x.r.json || open_pipes(&x, fds);
        given[0] = fds[1];
        given[1] = fds[2];
        cJSON *params = ok ? request(&x, fds, &count) : NULL;
        if (params == NULL) {
            out_message("exec: out of memory or descriptors");
            reach_end(&x.r, EXIT_ENGINE);
        } else {
            client_call(x.r.client, "exec", params, fds, count, on_started, &x);
        }
        for (size_t i = 0; i < 2; i++) {
            if (given[i] >= 0) {
                close(given[i]);
            }
        }
    }
    int status = reach_run(&x.r);
    free(x.pipes[0].kept.data);
    free(x.pipes[1].kept.data);
    return status;
}

const struct verb verb_exec = {
    .name = "exec",
    .summary = "run a command in a UVM that runs",
    .words = "NAME [OPTION…] -- CMD ARG…",
    .about = "Runs CMD in the UVM, with our standard input, output and errors. When uvmctl ends\n"
             "first, the command is killed. Ctrl-C goes to the command; twice ends it.",
    .options = rows,
    .status = "the command's (128 + n when signal n ended it); 124 the timeout passed,\n"
              "125 the engine failed, 126 not runnable, 127 not found.",
    .example = "uvmctl exec web -- cat /proc/uptime\nuvmctl exec web -t -- sh",
    .run = exec,
};
