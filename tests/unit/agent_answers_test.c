/* SPDX-License-Identifier: MIT
 * agent_answers_test.c — what the real agent answers about containers and devices that it does not
 * serve: by table. The recorded answers are agent_golden_test's; these are their neighbours.
 */
#include "tests/unit/agent_host.h"
#include "tests/unit/cm.h"

#include <stdio.h>
#include <string.h>

#define OK 0
#define FAIL ((int64_t)(int32_t)0x80004005)
#define JSON ((int64_t)(int32_t)0xc037010d)
#define NONE ((int64_t)(int32_t)0xc037010e)
#define GONE ((int64_t)(int32_t)0x80070490)

#define OF_UVM "\"ContainerId\":\"" NULL_ID "\""
#define OF_C "\"ContainerId\":\"c\""
#define SCHEMA "\\\"SchemaVersion\\\":{\\\"Major\\\":2,\\\"Minor\\\":1}"
#define NOT_YET "not supported by this agent yet"
#define BAD_TYPE "the RequestType"
#define REQ_FORCE (REQ_SHUTDOWN + 0x100)
#define REQ_DEL 0x10100d01u

static const struct {
    uint32_t type;
    const char *body;
    int64_t result;
    const char *words; /* of the error; NULL: any */
} rows[] = {
    /* containers */
    {REQ_CREATE, "{" OF_C ",\"ContainerConfig\":\"{" SCHEMA "}\"}", FAIL,
     "container c: containers are not supported by this agent yet"},
    {REQ_CREATE, "{" OF_C ",\"ContainerConfig\":\"{}\"}", JSON, "the schema version is below 2.1"},
    {REQ_CREATE,
     "{" OF_C ",\"ContainerConfig\":\"{\\\"schemaversion\\\":{\\\"MAJOR\\\":2,\\\"Minor\\\":0}}\"}",
     JSON, "the schema version is below 2.1"},
    {REQ_CREATE, "{" OF_C ",\"ContainerConfig\":\"{x\"}", JSON,
     "failed to unmarshal JSON for ContainerConfig \"{x\": HRESULT 0xc037010d: "},
    {REQ_CREATE, "{" OF_C "}", JSON, "failed to unmarshal JSON for ContainerConfig \"\""},
    {REQ_START, "{" OF_C "}", OK, NULL},
    {REQ_START, "[]", JSON, NULL},
    {REQ_SHUTDOWN, "{" OF_C "}", NONE, NULL},
    {REQ_FORCE, "{" OF_C "}", NONE, NULL},
    {REQ_DEL, "{" OF_UVM "}", NONE, NULL},
    {REQ_WAIT, "{" OF_C ",\"ProcessId\":1,\"TimeoutInMs\":1}", NONE, NULL},
    {REQ_SIGNAL, "{" OF_C ",\"ProcessId\":1}", NONE, NULL},
    {REQ_RESIZE, "{" OF_C ",\"ProcessId\":1}", NONE, NULL},
    {REQ_RESIZE, "{" OF_C ",\"ProcessId\":1,\"Height\":65536}", JSON, NULL},
    /* questions */
    {REQ_PROPERTIES, "{" OF_UVM ",\"Query\":\"\"}", FAIL, "the UVM itself has no properties"},
    {REQ_PROPERTIES, "{" OF_UVM "}", FAIL, "the UVM itself has no properties"},
    {REQ_PROPERTIES, "{" OF_C ",\"Query\":\"{\\\"PropertyTypes\\\":[\\\"x\\\"]}\"}", NONE, NULL},
    {REQ_PROPERTIES, "{" OF_C ",\"Query\":\"{\"}", JSON, "HRESULT 0xc037010d: "},
    {REQ_WAIT, "{" OF_UVM ",\"ProcessId\":1,\"TimeoutInMs\":1}", GONE, NULL},
    {REQ_WAIT, "{" OF_UVM ",\"ProcessId\":-1}", JSON, NULL},
    {REQ_WAIT, "{" OF_UVM ",\"ProcessId\":4294967296}", JSON, NULL},
    /* settings: a missing type is Add */
    {REQ_MODIFY,
     "{" OF_UVM ",\"Request\":{\"ResourceType\":\"MappedVirtualDisk\",\"Settings\":{}}}", FAIL,
     "Add MappedVirtualDisk is " NOT_YET},
    {REQ_MODIFY,
     "{" OF_UVM
     ",\"request\":{\"resourcetype\":\"VPMemDevice\",\"REQUESTTYPE\":\"Remove\",\"settings\":null}}",
     FAIL, "Remove VPMemDevice is " NOT_YET},
    {REQ_MODIFY,
     "{" OF_UVM
     ",\"Request\":{\"RequestType\":\"Add\",\"ResourceType\":\"SCSIDevice\",\"Settings\":{}}}",
     FAIL, BAD_TYPE},
    {REQ_MODIFY,
     "{" OF_UVM
     ",\"Request\":{\"RequestType\":\"Remove\",\"ResourceType\":\"VPCIDevice\",\"Settings\":{}}}",
     FAIL, BAD_TYPE},
    {REQ_MODIFY,
     "{" OF_UVM
     ",\"Request\":{\"RequestType\":\"Sing\",\"ResourceType\":\"Network\",\"Settings\":{}}}",
     FAIL, "the RequestType \"Sing\" is not supported"},
    {REQ_MODIFY,
     "{" OF_UVM
     ",\"Request\":{\"RequestType\":\"Sing\",\"ResourceType\":\"SecurityPolicy\",\"Settings\":{}}}",
     FAIL, NOT_YET},
    {REQ_MODIFY, "{" OF_UVM ",\"Request\":{\"ResourceType\":\"PodCgroupMemoryLimit\"}}", FAIL,
     BAD_TYPE},
    {REQ_MODIFY,
     "{" OF_UVM
     ",\"Request\":{\"RequestType\":\"Update\",\"ResourceType\":\"PodCgroupMemoryLimit\"}}",
     FAIL, NOT_YET},
    {REQ_MODIFY, "{" OF_C ",\"Request\":{\"ResourceType\":\"CombinedLayers\",\"Settings\":{}}}",
     NONE, NULL},
    {REQ_MODIFY,
     "{" OF_C ",\"Request\":{\"ResourceType\":\"ContainerConstraints\",\"Settings\":{}}}", NONE,
     NULL},
    {REQ_MODIFY, "{" OF_UVM ",\"Request\":{\"ResourceType\":\"Network\",\"Settings\":[]}}", JSON,
     "failed to unmarshal settings as Network"},
    {REQ_MODIFY,
     "{" OF_UVM ",\"Request\":{\"ResourceType\":\"mappedvirtualdisk\",\"Settings\":{}}}", FAIL,
     "invalid ResourceType 'mappedvirtualdisk'"},
    {REQ_MODIFY, "{" OF_UVM "}", FAIL, "invalid ResourceType ''"},
    {REQ_MODIFY, "{" OF_UVM ",\"Request\":{\"ResourceType\":7}}", JSON, NULL},
};

static void answers_by_table(void **unused) {
    struct agent agent = {0};
    (void)unused;
    agent_start(&agent, true, AGENT_FLAGS("-v4"));
    agent_negotiate(&agent, true);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct answer r;
        agent_call(&agent, &r, rows[i].type, "%s", rows[i].body);
        if (answer_result(&r) != rows[i].result) {
            fail_msg("%s: %s", rows[i].body, r.body);
        }
        if (rows[i].words != NULL &&
            strstr(answer_string(&r, "ErrorMessage"), rows[i].words) == NULL) {
            fail_msg("%s: no \"%s\" in %s", rows[i].body, rows[i].words, r.body);
        }
        answer_free(&r);
    }
    assert_int_equal(agent_end(&agent), 0);
    agent_clean(&agent);
}

/* An answer that quotes the request twice is cut to what a host accepts, 64 KiB. */
static void long_requests_get_short_answers(void **unused) {
    static char body[200000];
    static const char head[] =
        "{\"ActivityId\":\"11111111-2222-3333-4444-555555555555\",\"Request\":{"
        "\"ResourceType\":\"";
    struct agent agent = {0};
    struct answer r;
    size_t n = sizeof head - 1;
    (void)unused;
    agent_start(&agent, true, AGENT_FLAGS("-v4"));
    agent_negotiate(&agent, false);
    memcpy(body, head, n);
    memset(body + n, '<', sizeof body - n - 3); /* six bytes each in the answer */
    body[sizeof body - 3] = '"';
    body[sizeof body - 2] = body[sizeof body - 1] = '}';
    agent_send(&agent, REQ_MODIFY, 77, body, sizeof body);
    agent_receive(&agent, &r); /* fails above 64 KiB, or when it is no JSON */
    assert_int_equal(r.id, 77);
    assert_int_equal(answer_result(&r), FAIL);
    assert_string_equal(answer_string(&r, "ActivityId"), "11111111-2222-3333-4444-555555555555");
    answer_free(&r);
    body[sizeof body - 1] = ' '; /* and the same for one that does not decode */
    agent_send(&agent, REQ_EXECUTE, 78, body, sizeof body);
    agent_receive(&agent, &r);
    assert_int_equal(answer_result(&r), JSON);
    answer_free(&r);
    assert_int_equal(agent_end(&agent), 0);
    agent_clean(&agent);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_by_table),
        cmocka_unit_test(long_requests_get_short_answers),
    };

    agent_program(argc, argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
