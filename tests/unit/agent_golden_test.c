/* SPDX-License-Identifier: MIT
 * agent_golden_test.c — the recorded conversations of the reference, replayed to the real agent.
 *
 * tests/golden/bridge-frames.json holds frames as a host sent them and as the reference answered, without the
 * stacks. Each frame is in exactly one of two lists here: replayed, in one of a few conversations, or waiting
 * for the named later work; one that is in neither fails the test. An answer must be the recorded one, field
 * by field and in the same order. Only this may differ: pids (the replay puts its own into what follows),
 * stacks, line numbers, the words behind an HRESULT, and two texts that `free_words` names with the reason.
 */
#include "async/json.h"
#include "tests/unit/agent_host.h"
#include "tests/unit/cm.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum conversation { MAIN, V4_OFF, DENY, HOST, RECONNECT, CONVERSATIONS };

static const struct {
    const char *name;
    enum conversation where;
} replayed[] = {
    {"pre-negotiate: known message before negotiation", MAIN},
    {"negotiate: no common version", MAIN},
    {"negotiate: max too low", MAIN},
    {"negotiate: malformed JSON", MAIN},
    {"negotiate", MAIN},
    {"negotiate: second time", MAIN},
    {"unknown message type 0x10101001", MAIN},
    {"unknown category 0x10300101", MAIN},
    {"response-kind word sent to the agent (0x20100501)", MAIN},
    {"notification-kind word sent to the agent (0x30100101)", MAIN},
    {"empty body (size 16), GetProperties", MAIN},
    {"GetProperties unknown container", MAIN},
    {"GetProperties Query as object", MAIN},
    {"ExecuteProcess external, no stdio", MAIN},
    {"WaitForProcess external exit 7", MAIN},
    {"WaitForProcess external again (gone)", MAIN},
    {"ExecuteProcess external, ActivityId echoed", MAIN},
    {"WaitForProcess external killed by signal", MAIN},
    {"ExecuteProcess external, no ActivityId key", MAIN},
    {"WaitForProcess timeout 50ms", MAIN},
    {"SignalProcess on UVM process", MAIN},
    {"ExecuteProcess external with stdio", MAIN},
    {"WaitForProcess external with stdio", MAIN},
    {"ExecuteProcess external tty", MAIN},
    {"WaitForProcess external tty", MAIN},
    {"ExecuteProcess external, nobody listens on stdout port", MAIN},
    {"ExecuteProcess external, program not found", MAIN},
    {"ExecuteProcess ProcessParameters not JSON text", MAIN},
    {"ExecuteProcess, unknown container", MAIN},
    {"ModifySettings bad ResourceType", MAIN},
    {"ModifySettings missing Settings", MAIN},
    {"ModifySettings bad RequestType", MAIN},
    {"ModifySettings ContainerConstraints on null id", MAIN},
    {"malformed JSON (Create)", MAIN},
    {"int field as float", MAIN},
    {"ContainerId wrong type", MAIN},
    {"DeleteContainerState unknown", MAIN},
    {"Create ContainerConfig as object", MAIN},
    {"DumpStacks", MAIN},
    {"c3 DeleteContainerState again (forgotten)", MAIN},
    {"c5 Start after kill", MAIN}, /* Start succeeds for any id */
    {"agent started with -v4=false: Negotiate", V4_OFF},
    {"agent started with -v4=false: DumpStacks", V4_OFF},
    {"agent started with -v4=false: Start", V4_OFF},
    {"agent started with -initial-policy-stance deny: Exec", DENY},
    {"agent started with -initial-policy-stance deny: DumpStacks", DENY},
    {"agent started with -initial-policy-stance deny: Start", DENY},
    {"hcsshim host id 0: NegotiateProtocol", HOST},
    {"hcsshim host id 1: ExecuteProcess", HOST},
    {"hcsshim host id 2: WaitForProcess", HOST},
    {"hcsshim host id 3: ExecuteProcess", HOST},
    {"hcsshim host id 4: ModifySettings", HOST},
    {"hcsshim host id 5: DumpStacks", HOST},
    {"hcsshim host id 6: DeleteContainerState", HOST},
    {"hcsshim host id 9: Start", HOST},
    {"x negotiate", RECONNECT},
    {"x negotiate again", RECONNECT},
    {"Wait pending across reconnect: answered on the new connection with the old Id", RECONNECT},
    {"after reconnect: negotiate", RECONNECT},
};

#define CONTAINERS "containers"
#define OVERLAYS "overlays, which only a guest mounts (tests/integration/layers_test.c)"
#define PODS "the /pods cgroup, which comes with containers"
#define SCSI "SCSI disks, which only a guest has (tests/integration/disk_test.c)"
#define NOTIFIED "container exit notifications"

static const struct {
    const char *name, *why;
} waiting[] = {
    {"ModifySettings PodCgroupMemoryLimit Update", PODS},
    {"ModifySettings CombinedLayers Add", OVERLAYS},
    {"Create standalone container", CONTAINERS},
    {"Create duplicate id", CONTAINERS},
    {"GetProperties ProcessList", CONTAINERS},
    {"container id target, other resource", CONTAINERS},
    {"SignalProcess exec unknown pid", CONTAINERS},
    {"WaitForProcess unknown pid in known container", CONTAINERS},
    {"ContainerConstraints update", CONTAINERS},
    {"init exit: WaitForProcess response + ContainerNotification, in arrival order", NOTIFIED},
    {"ShutdownGraceful after exit", CONTAINERS},
    {"DeleteContainerState", CONTAINERS},
    {"c2 CombinedLayers Add", OVERLAYS},
    {"c2 ExecuteProcess init, no stdio", CONTAINERS},
    {"c2 killed: Wait response + notification (ForcedExit, 137)", NOTIFIED},
    {"c2 DeleteContainerState", CONTAINERS},
    {"c3 CombinedLayers Add", OVERLAYS},
    {"c3 Create", CONTAINERS},
    {"c5 ShutdownForced before first exec", CONTAINERS},
    {"c6 GetProperties after that", CONTAINERS},
    {"c7 Create", CONTAINERS},
    {"c7 init", CONTAINERS},
    {"c7 SignalProcess exec, Signal 0 (= SIGKILL)", CONTAINERS},
    {"c7 SignalProcess init TERM (pid 1 of its pid namespace, default action ignored by the kernel)",
     CONTAINERS},
    {"c7 SignalProcess init, no Options (= SIGKILL)", CONTAINERS},
    {"c8 init", CONTAINERS},
    {"scsi: MappedVirtualDisk Add, read-only ext4, lun 1", SCSI},
    {"scsi: MappedVirtualDisk Add, EnsureFilesystem, no mkfs.ext4 in the image", SCSI},
    {"scsi: MappedVirtualDisk Remove", SCSI},
    {"scsi: SCSIDevice Remove", SCSI},
    {"hcsshim host id 7: ModifySettings", OVERLAYS},
    {"hcsshim host id 8: Create", CONTAINERS},
    {"hcsshim host id 10: ExecuteProcess", CONTAINERS},
    {"hcsshim host id 11: WaitForProcess", CONTAINERS},
    {"hcsshim host id 12: ExecuteProcess", CONTAINERS},
    {"hcsshim host id 13: WaitForProcess", CONTAINERS},
    {"hcsshim host id 14: GetProperties", CONTAINERS},
    {"hcsshim host id 15: ShutdownGraceful", CONTAINERS},
    {"hcsshim host id 16: ModifySettings", OVERLAYS},
    {"hcsshim host id 17: DeleteContainerState", CONTAINERS},
    {"hcsshim agent: ContainerNotification", NOTIFIED},
};

/* Texts without an HRESULT whose end comes from outside of the agent: equal up to here. */
static const struct {
    const char *name, *up_to;
} free_words[] = {
    /* the recording's device dropped the dial, so that it timed out; here it is refused at once */
    {"ExecuteProcess external, nobody listens on stdout port",
     "failed creating stdout Connection: failed connecting the VsockConnection: "},
};

/* The pid that the recording knows nothing of: the wait across a reconnect has no frame for its exec. */
#define PID_OF_THE_WAIT 252u

static cJSON *frames;
static const char *frames_path;

/* ---- the file ------------------------------------------------------------------------------- */

static int load(void **unused) {
    struct stat st;
    struct uvm__fail f;
    char *text;
    int fd = open(frames_path, O_RDONLY | O_CLOEXEC);

    (void)unused;
    if (fd < 0 || fstat(fd, &st) < 0) {
        print_error("%s: cannot open\n", frames_path);
        return -1;
    }
    text = malloc((size_t)st.st_size);
    assert_non_null(text);
    assert_int_equal(read(fd, text, (size_t)st.st_size), st.st_size);
    close(fd);
    if (uvm__json_read(UVM__JSON_STRICT, text, (size_t)st.st_size, &frames, &f) < 0) {
        print_error("%s: %s\n", frames_path, f.msg);
        return -1;
    }
    free(text);
    return 0;
}

static int unload(void **unused) {
    (void)unused;
    cJSON_Delete(frames);
    return 0;
}

static const cJSON *get(const cJSON *object, const char *key) {
    return uvm__json_get(UVM__JSON_STRICT, object, key);
}

static const char *text_of(const cJSON *object, const char *key) {
    const char *text = uvm__json_string(get(object, key));

    assert_non_null(text);
    return text;
}

static const cJSON *find(const char *name) {
    const cJSON *frame;

    cJSON_ArrayForEach(frame, frames) {
        if (strcmp(text_of(frame, "name"), name) == 0) {
            return frame;
        }
    }
    fail_msg("no frame is called \"%s\"", name);
    return NULL;
}

static uint32_t type_of(const cJSON *part) {
    return (uint32_t)strtoul(text_of(part, "type"), NULL, 16);
}

static uint64_t id_of(const cJSON *part) {
    uint64_t id;

    assert_int_equal(uvm__json_u64(get(part, "id"), UINT64_MAX, &id), 0);
    return id;
}

/* ---- comparing --------------------------------------------------------------------------------- */

/* How much of a recorded text must be there: all, or up to and with its HRESULT. */
static size_t fixed_length(const char *frame, const char *text) {
    const char *at = strstr(text, "HRESULT");

    for (size_t i = 0; i < sizeof free_words / sizeof free_words[0]; i++) {
        if (strcmp(free_words[i].name, frame) == 0) {
            return strlen(free_words[i].up_to);
        }
    }
    at = at == NULL ? NULL : strstr(at, "0x");
    return at == NULL ? strlen(text) : (size_t)(at - text) + 10;
}

static void compare_text(const char *frame, const char *key, const char *want, const char *have) {
    size_t length = strlen(want);

    if (strcmp(key, "StackTrace") == 0 || strcmp(key, "GuestStacks") == 0) {
        assert_true(have[0] != '\0');
        return;
    }
    if (strcmp(key, "ErrorMessage") == 0 || strcmp(key, "Message") == 0) {
        length = fixed_length(frame, want);
    }
    if (strncmp(want, have, length) != 0 ||
        (length == strlen(want) && have[length] != '\0' && strstr(want, "HRESULT 0x") == NULL)) {
        fail_msg("%s: %s is \"%s\", not \"%s\"", frame, key, have, want);
    }
}

static void compare_number(const char *frame, const char *key, const char *want, const char *have) {
    bool known_line = strcmp(key, "Line") == 0 && strcmp(want, "4294967295") != 0;

    if (known_line || strcmp(key, "ProcessId") == 0) {
        assert_true(strcmp(have, "0") != 0 && strcmp(have, "4294967295") != 0);
    } else if (strcmp(want, have) != 0) {
        fail_msg("%s: %s is %s, not %s", frame, key, have, want);
    }
}

static void compare(const char *frame, const char *key, const cJSON *want, const cJSON *have) {
    const cJSON *w = want->child, *h = have->child;

    if (uvm__json_is_number(want) && uvm__json_is_number(have)) {
        compare_number(frame, key, uvm__json_number(want), uvm__json_number(have));
    } else if (cJSON_IsString(want) && cJSON_IsString(have)) {
        compare_text(frame, key, want->valuestring, have->valuestring);
    } else if ((want->type & 0xff) != (have->type & 0xff)) {
        fail_msg("%s: %s has another type", frame, key);
    }
    for (; w != NULL && h != NULL; w = w->next, h = h->next) {
        if ((w->string == NULL) != (h->string == NULL) ||
            (w->string != NULL && strcmp(w->string, h->string) != 0)) {
            fail_msg("%s: %s has %s where %s belongs", frame, key, h->string, w->string);
        }
        compare(frame, w->string == NULL ? key : w->string, w, h);
    }
    if (w != NULL || h != NULL) {
        fail_msg("%s: %s: %s %s", frame, key, w != NULL ? w->string : h->string,
                 w != NULL ? "is missing" : "is too much");
    }
}

static void check(const cJSON *frame, const struct answer *r) {
    const cJSON *want = get(frame, "responses")->child;
    const char *name = text_of(frame, "name"), *body = text_of(want, "body");
    struct uvm__fail f;
    cJSON *tree;

    assert_null(want->next);
    assert_int_equal(r->type, type_of(want));
    assert_int_equal(r->id, id_of(want));
    assert_int_equal(uvm__json_read(UVM__JSON_STRICT, body, strlen(body), &tree, &f), 0);
    compare(name, "body", tree, r->tree);
    cJSON_Delete(tree);
    if (get(r->tree, "ErrorMessage") != NULL) {
        assert_string_equal(answer_string(r, "ErrorMessage"),
                            text_of(get(r->tree, "ErrorRecords")->child, "Message"));
    }
    /* Without words of its own an answer is the recorded one to the byte. */
    if (strstr(body, "StackTrace") == NULL && strstr(body, "HRESULT 0x") == NULL &&
        strstr(body, "ProcessId") == NULL && strstr(body, "GuestStacks") == NULL) {
        assert_string_equal(r->body, body);
    }
}

/* ---- replaying ----------------------------------------------------------------------------------- */

struct replay {
    struct agent agent;
    struct {
        uint32_t recorded, actual;
    } pids[16];
    size_t pids_count;
};

static void pid_learned(struct replay *p, uint32_t recorded, uint32_t actual) {
    assert_true(p->pids_count < 16);
    p->pids[p->pids_count].recorded = recorded;
    p->pids[p->pids_count++].actual = actual;
}

/* The request's body with our pids for the recorded ones. */
static char *request_body(const struct replay *p, const cJSON *request) {
    static const char key[] = "\"ProcessId\":";
    const char *body = text_of(request, "body");
    const char *at = strstr(body, key);
    size_t bytes = strlen(body) + 16;
    char *copy = malloc(bytes), *end;
    unsigned long pid;

    assert_non_null(copy);
    (void)snprintf(copy, bytes, "%s", body);
    if (at == NULL) {
        return copy;
    }
    at += sizeof key - 1;
    pid = strtoul(at, &end, 10);
    for (size_t i = 0; i < p->pids_count; i++) {
        if (p->pids[i].recorded == pid) {
            (void)snprintf(copy + (at - body), bytes - (size_t)(at - body), "%u%s",
                           p->pids[i].actual, end);
        }
    }
    return copy;
}

/* Listens where an execute will dial, unless the frame is about nobody listening. */
static void listen_for(const struct replay *p, const char *name, const char *body, int fds[3]) {
    static const char *const keys[3] = {"\"StdIn\":", "\"StdOut\":", "\"StdErr\":"};

    for (size_t i = 0; i < 3; i++) {
        const char *at = strstr(body, keys[i]);

        fds[i] = -1;
        if (at != NULL && strstr(name, "nobody listens") == NULL) {
            fds[i] = agent_listen(&p->agent, (uint32_t)strtoul(at + strlen(keys[i]), NULL, 10));
        }
    }
}

/* Gives the process "in" and an end, and takes what it says. */
static void serve(int fds[3]) {
    char text[256];

    for (size_t i = 0; i < 3; i++) {
        if (fds[i] >= 0) {
            fds[i] = agent_accept(fds[i]);
        }
    }
    if (fds[0] >= 0) {
        write_all(fds[0], "in", 2);
        close(fds[0]);
    }
    for (size_t i = 1; i < 3; i++) {
        if (fds[i] >= 0) {
            assert_true(read_all(fds[i], text, sizeof text) > 0);
        }
    }
}

static void send_frame(struct replay *p, const cJSON *frame) {
    const cJSON *request = get(frame, "request");
    char *body = request_body(p, request);

    agent_send(&p->agent, type_of(request), id_of(request), body, strlen(body));
    free(body);
}

static void expect_frame(struct replay *p, const cJSON *frame) {
    struct answer r;

    agent_receive(&p->agent, &r);
    check(frame, &r);
    if (type_of(get(frame, "request")) == REQ_EXECUTE && answer_result(&r) == 0) {
        const char *recorded =
            strstr(text_of(get(frame, "responses")->child, "body"), "\"ProcessId\":");

        pid_learned(p, (uint32_t)strtoul(recorded + 12, NULL, 10),
                    (uint32_t)answer_number(&r, "ProcessId"));
    }
    answer_free(&r);
}

static void replay_frame(struct replay *p, const char *name) {
    const cJSON *frame = find(name);
    int fds[3];

    print_message("  %s\n", name);
    listen_for(p, name, text_of(get(frame, "request"), "body"), fds);
    send_frame(p, frame);
    expect_frame(p, frame);
    serve(fds);
}

static void replay_all(enum conversation where, const char *const *flags) {
    struct replay p = {.pids_count = 0};

    agent_start(&p.agent, true, flags);
    if (where == DENY) {
        agent_negotiate(&p.agent, false);
    }
    for (size_t i = 0; i < sizeof replayed / sizeof replayed[0]; i++) {
        if (replayed[i].where == where) {
            replay_frame(&p, replayed[i].name);
        }
    }
    assert_int_equal(agent_end(&p.agent), 0);
    agent_clean(&p.agent);
}

/* ---- the tests -------------------------------------------------------------------------------------- */

static unsigned listed(const char *name) {
    unsigned count = 0;

    for (size_t i = 0; i < sizeof replayed / sizeof replayed[0]; i++) {
        count += strcmp(replayed[i].name, name) == 0;
    }
    for (size_t i = 0; i < sizeof waiting / sizeof waiting[0]; i++) {
        count += strcmp(waiting[i].name, name) == 0;
    }
    return count;
}

static void every_frame_is_replayed_or_waits(void **unused) {
    const cJSON *frame;
    size_t count = 0;

    (void)unused;
    cJSON_ArrayForEach(frame, frames) {
        const char *name = text_of(frame, "name");

        if (listed(name) != 1) {
            fail_msg("\"%s\" is in %u lists", name, listed(name));
        }
        count++;
    }
    assert_int_equal(count,
                     sizeof replayed / sizeof replayed[0] + sizeof waiting / sizeof waiting[0]);
    for (size_t i = 0; i < sizeof waiting / sizeof waiting[0]; i++) {
        print_message("  waits for %s: %s\n", waiting[i].why, waiting[i].name);
    }
}

static void the_main_conversation(void **unused) {
    (void)unused;
    replay_all(MAIN, AGENT_FLAGS("-v4", "-dial"));
}

static void without_v4(void **unused) {
    (void)unused;
    replay_all(V4_OFF, AGENT_FLAGS("-v4=false"));
}

static void policy_deny(void **unused) {
    (void)unused;
    replay_all(DENY, AGENT_FLAGS("-v4", "-initial-policy-stance", "deny"));
}

static void as_the_go_host_writes_it(void **unused) {
    (void)unused;
    replay_all(HOST, AGENT_FLAGS("-v4", "-dial"));
}

static void a_wait_survives_reconnects(void **unused) {
    const cJSON *wait =
        find("Wait pending across reconnect: answered on the new connection with the old Id");
    struct replay p = {.pids_count = 0};
    uint32_t pid;
    int in;

    (void)unused;
    agent_start(&p.agent, false, AGENT_FLAGS("-v4"));
    agent_accept_bridge(&p.agent);
    replay_frame(&p, "x negotiate");
    in = agent_listen(&p.agent, AGENT_STDIO);
    p.agent.next_id = 1;
    pid = agent_execute(&p.agent, "{\"CommandArgs\":[\"cat\"],\"CreateStdInPipe\":true}",
                        AGENT_STDIO, 0, 0);
    in = agent_accept(in);
    pid_learned(&p, PID_OF_THE_WAIT, pid);
    send_frame(&p, wait);
    agent_drop_bridge(&p.agent);
    agent_accept_bridge(&p.agent);
    replay_frame(&p, "x negotiate again");
    agent_drop_bridge(&p.agent);
    agent_accept_bridge(&p.agent);
    replay_frame(&p, "after reconnect: negotiate");
    close(in); /* cat ends */
    expect_frame(&p, wait);
    agent_shutdown(&p.agent);
    agent_clean(&p.agent);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_frame_is_replayed_or_waits),
        cmocka_unit_test(the_main_conversation),
        cmocka_unit_test(without_v4),
        cmocka_unit_test(policy_deny),
        cmocka_unit_test(as_the_go_host_writes_it),
        cmocka_unit_test(a_wait_survives_reconnects),
    };

    frames_path = argc == 3 ? argv[2] : "";
    agent_program(argc == 3 ? 2 : argc, argv);
    return cmocka_run_group_tests(tests, load, unload);
}
