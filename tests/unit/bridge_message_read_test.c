/* SPDX-License-Identifier: MIT
 * bridge_message_read_test.c — bodies that are read: the reference's own (bridge_vectors.h), and what its
 * rules (docs/PROTOCOL-bridge.md) allow and refuse, one by one.
 */
#include "async/engine.h"
#include "bridge_vectors.h"
#include "cm.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

static uvm_engine *engine;

static int setup(void **state) {
    (void)state;
    struct uvm_engine_params params = UVM_ENGINE_PARAMS_INIT;
    return uvm__engine_new_virtual(&params, 1, &engine);
}

static int teardown(void **state) {
    (void)state;
    uvm__engine_free_virtual(engine);
    return 0;
}

static int read_request(enum uvm__message msg, const char *body, union uvm__msg_request *ret,
                        cJSON **ret_tree) {
    struct uvm__fail f = {0};
    int rc = uvm__msg_request_read(msg, body, strlen(body), ret, ret_tree, &f);
    if (rc < 0) {
        assert_true(f.msg[0] != 0);
    }
    return rc;
}

static void requests_of_the_reference_are_read(void **state) {
    (void)state;
    union uvm__msg_request r;
    cJSON *tree;
    assert_int_equal(read_request(UVM__MSG_NEGOTIATE_PROTOCOL, negotiate_request.body, &r, &tree),
                     0);
    assert_string_equal(r.base.container_id, "");
    assert_string_equal(r.base.activity_id, Z);
    assert_int_equal(r.negotiate.version_min, 4);
    assert_int_equal(r.negotiate.version_max, 4);
    assert_int_equal(r.negotiate.process_control, 0);
    cJSON_Delete(tree);
    assert_int_equal(read_request(UVM__MSG_CREATE, create_request.body, &r, &tree), 0);
    assert_string_equal(r.create.config, CONFIG_INNER);
    cJSON_Delete(tree);
    assert_int_equal(read_request(UVM__MSG_EXECUTE_PROCESS, init_request.body, &r, &tree), 0);
    assert_string_equal(r.base.container_id, "c1");
    assert_int_equal(r.execute.port_in, 0);
    assert_int_equal(r.execute.port_out, 0x40000001);
    assert_int_equal(r.execute.port_err, 0x40000002);
    cJSON_Delete(tree);
    assert_int_equal(read_request(UVM__MSG_WAIT_FOR_PROCESS, wait_request.body, &r, &tree), 0);
    assert_int_equal(r.wait.pid, 213);
    assert_int_equal(r.wait.timeout_ms, UVM__WAIT_INFINITE);
    cJSON_Delete(tree);
    assert_int_equal(read_request(UVM__MSG_SIGNAL_PROCESS, signal_request.body, &r, &tree), 0);
    assert_int_equal(r.signal.signal, 15);
    assert_false(r.signal.group);
    cJSON_Delete(tree);
    assert_int_equal(read_request(UVM__MSG_SIGNAL_PROCESS, kill_request.body, &r, &tree), 0);
    assert_int_equal(r.signal.signal, 0);
    cJSON_Delete(tree);
    assert_int_equal(read_request(UVM__MSG_RESIZE_CONSOLE, resize_request.body, &r, &tree), 0);
    assert_int_equal(r.resize.height, 40);
    assert_int_equal(r.resize.width, 120);
    cJSON_Delete(tree);
    assert_int_equal(read_request(UVM__MSG_GET_PROPERTIES, properties_request.body, &r, &tree), 0);
    assert_string_equal(r.properties.query, "{\"PropertyTypes\":[\"ProcessList\"]}");
    cJSON_Delete(tree);
    assert_int_equal(read_request(UVM__MSG_MODIFY_SETTINGS, modify_request.body, &r, &tree), 0);
    assert_non_null(r.modify.request);
    assert_string_equal(
        uvm__json_string(uvm__json_get(UVM__JSON_GO, r.modify.request, "resourcetype")),
        "MappedVirtualDisk");
    cJSON_Delete(tree);
}

static void a_process_is_read(void **state) {
    (void)state;
    union uvm__msg_request r;
    cJSON *tree;
    struct uvm__fail f;
    struct uvm__msg_process p;
    assert_int_equal(read_request(UVM__MSG_EXECUTE_PROCESS, execute_request.body, &r, &tree), 0);
    assert_int_equal(uvm__msg_process_read(engine, r.execute.parameters, &p, &f), 0);
    assert_string_equal(p.args[0], "sh");
    assert_string_equal(p.args[2], "ls > /run/x && echo \"ok\"");
    assert_null(p.args[3]);
    assert_string_equal(p.env[0], "HOME=/root");
    assert_string_equal(p.env[1], "PATH=/usr/bin:/bin");
    assert_null(p.env[2]);
    assert_string_equal(p.cwd, "/");
    assert_true(p.out && !p.in && !p.err && !p.terminal);
    uvm__msg_process_deinit(engine, &p);
    cJSON_Delete(tree);

    assert_int_equal(uvm__msg_process_read(engine,
                                           "{\"commandline\":\"a b\",\"CommandArgs\":null,"
                                           "\"Environment\":{\"A\":\"1\",\"B\":null,\"A\":\"2\"},"
                                           "\"User\":\"1:2\",\"ConsoleSize\":[3,4],"
                                           "\"EmulateConsole\":true,\"OciProcess\":{}}",
                                           &p, &f),
                     0);
    assert_string_equal(p.command_line, "a b");
    assert_null(p.args[0]);
    assert_string_equal(p.env[0], "A=2");
    assert_string_equal(p.env[1], "B=");
    assert_null(p.env[2]);
    assert_string_equal(p.user, "1:2");
    assert_int_equal(p.height, 3);
    assert_int_equal(p.width, 4);
    assert_true(p.terminal && p.has_oci_process);
    uvm__msg_process_deinit(engine, &p);

    /* What the reference's agent does not read does not fail it. */
    assert_int_equal(uvm__msg_process_read(engine, "{\"User\":5,\"ConsoleSize\":\"x\"}", &p, &f),
                     0);
    assert_string_equal(p.user, "");
    assert_int_equal(p.height, 0);
    uvm__msg_process_deinit(engine, &p);

    static const char *const bad[] = {
        "{x",
        "",
        "[]",
        "{\"CommandArgs\":\"a\"}",
        "{\"CommandArgs\":[1]}",
        "{\"Environment\":{\"A\":1}}",
        "{\"Environment\":[]}",
        "{\"EmulateConsole\":1}",
        "{\"CommandLine\":{}}",
        "{\"OciProcess\":5}",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(uvm__msg_process_read(engine, bad[i], &p, &f), -UVM_E_PROTOCOL);
    }
}

static void requests_are_read_by_the_references_rules(void **state) {
    (void)state;
    static const struct {
        enum uvm__message msg;
        const char *body;
        int rc;
        const char *activity;
    } rows[] = {
        {UVM__MSG_GET_PROPERTIES, "", -UVM_E_PROTOCOL, ""},
        {UVM__MSG_GET_PROPERTIES, "5", -UVM_E_PROTOCOL, ""},
        {UVM__MSG_GET_PROPERTIES, "[]", -UVM_E_PROTOCOL, ""},
        {UVM__MSG_GET_PROPERTIES, "null", 0, ""},
        {UVM__MSG_GET_PROPERTIES, "{} \r\n\t", 0, ""},
        {UVM__MSG_GET_PROPERTIES, "{}x", -UVM_E_PROTOCOL, ""},
        {UVM__MSG_GET_PROPERTIES, "{\"query\":\"\",\"unknown\":[1,{}]}", 0, ""},
        {UVM__MSG_GET_PROPERTIES, "{\"ActivityId\":\"a\",\"Query\":{}}", -UVM_E_PROTOCOL, "a"},
        {UVM__MSG_GET_PROPERTIES, "{\"Query\":null,\"ActivityId\":\"b\"}", 0, "b"},
        {UVM__MSG_GET_PROPERTIES, "{\"ActivityId\":5}", -UVM_E_PROTOCOL, ""},
        {UVM__MSG_GET_PROPERTIES, "{\"ContainerId\":5,\"ActivityId\":\"c\"}", -UVM_E_PROTOCOL, "c"},
        {UVM__MSG_WAIT_FOR_PROCESS, "{\"ProcessId\":3.0}", -UVM_E_PROTOCOL, ""},
        {UVM__MSG_WAIT_FOR_PROCESS, "{\"ProcessId\":1e3}", -UVM_E_PROTOCOL, ""},
        {UVM__MSG_WAIT_FOR_PROCESS, "{\"ProcessId\":-1}", -UVM_E_PROTOCOL, ""},
        {UVM__MSG_WAIT_FOR_PROCESS, "{\"ProcessId\":4294967296}", -UVM_E_PROTOCOL, ""},
        {UVM__MSG_WAIT_FOR_PROCESS, "{\"ProcessId\":\"3\"}", -UVM_E_PROTOCOL, ""},
        {UVM__MSG_WAIT_FOR_PROCESS, "{\"ProcessId\":3,\"processid\":4}", 0, ""},
        {UVM__MSG_SIGNAL_PROCESS, "{\"ProcessId\":3,\"Options\":null}", 0, ""},
        {UVM__MSG_SIGNAL_PROCESS, "{\"Options\":5}", -UVM_E_PROTOCOL, ""},
        {UVM__MSG_SIGNAL_PROCESS, "{\"Options\":{\"Signal\":2147483648}}", -UVM_E_PROTOCOL, ""},
        {UVM__MSG_RESIZE_CONSOLE, "{\"Height\":65536}", -UVM_E_PROTOCOL, ""},
        {UVM__MSG_START, "{\"otsc\":{\"traceparent\":\"x\"}}", 0, ""},
        {UVM__MSG_START, "{\"otsc\":{\"traceparent\":5}}", -UVM_E_PROTOCOL, ""},
        {UVM__MSG_CREATE, "{\"ContainerConfig\":{}}", -UVM_E_PROTOCOL, ""},
        {UVM__MSG_NEGOTIATE_PROTOCOL, "{\"UvmExtensions\":{\"ProcessControl\":1}}", 0, ""},
        {UVM__MSG_NEGOTIATE_PROTOCOL, "{\"UvmExtensions\":7}", -UVM_E_PROTOCOL, ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        union uvm__msg_request r;
        cJSON *tree;
        int rc = read_request(rows[i].msg, rows[i].body, &r, &tree);
        if (rc != rows[i].rc) {
            fail_msg("row %zu: %s: %d", i, rows[i].body, rc);
        }
        assert_string_equal(r.base.activity_id, rows[i].activity);
        cJSON_Delete(tree);
    }
}

static int read_response(enum uvm__message msg, const char *body, struct uvm__msg_result *result,
                         union uvm__msg_answer *answer, cJSON **ret_tree) {
    struct uvm__fail f = {0};
    *ret_tree = NULL;
    int rc = uvm__msg_response_read(msg, body, strlen(body), result, answer, ret_tree, &f);
    if (rc < 0) {
        assert_true(f.msg[0] != 0);
        assert_null(*ret_tree);
    }
    return rc;
}

static void responses_of_the_reference_are_read(void **state) {
    (void)state;
    struct uvm__msg_result res;
    union uvm__msg_answer a;
    cJSON *tree;
    assert_int_equal(
        read_response(UVM__MSG_NEGOTIATE_PROTOCOL, negotiate_response.body, &res, &a, &tree), 0);
    assert_int_equal(a.capabilities.version, 4);
    assert_true(a.capabilities.os_linux && a.capabilities.namespace_add &&
                a.capabilities.signal_process && a.capabilities.dump_stacks &&
                a.capabilities.delete_container_state);
    assert_false(a.capabilities.send_host_create || a.capabilities.send_host_start);
    assert_int_equal(a.capabilities.process_control, 0);
    cJSON_Delete(tree);
    assert_int_equal(
        read_response(UVM__MSG_EXECUTE_PROCESS, execute_response.body, &res, &a, &tree), 0);
    assert_int_equal(a.pid, 213);
    cJSON_Delete(tree);
    assert_int_equal(read_response(UVM__MSG_WAIT_FOR_PROCESS, wait_response.body, &res, &a, &tree),
                     0);
    assert_int_equal(a.exit.code, 137);
    assert_int_equal(a.exit.signal, 0);
    cJSON_Delete(tree);
    assert_int_equal(
        read_response(UVM__MSG_GET_PROPERTIES, properties_response.body, &res, &a, &tree), 0);
    assert_string_equal(a.properties, "{\"ProcessList\":[{\"ProcessId\":213}]}");
    cJSON_Delete(tree);
    assert_int_equal(read_response(UVM__MSG_SIGNAL_PROCESS, error_response.body, &res, &a, &tree),
                     0);
    assert_int_equal(res.result, UVM__HR_NOT_FOUND);
    assert_string_equal(res.message, "HRESULT: 0x80070490");
    cJSON_Delete(tree);
    struct uvm__msg_notification n;
    struct uvm__fail f;
    assert_int_equal(
        uvm__msg_notification_read(notification.body, strlen(notification.body), &n, &tree, &f), 0);
    assert_string_equal(n.base.container_id, "c1");
    assert_string_equal(n.type, "ForcedExit");
    cJSON_Delete(tree);
}

static const struct {
    enum uvm__message msg;
    const char *body;
    int rc;
} responses[] = {
    {UVM__MSG_START, "{\"Result\":0}", 0},
    {UVM__MSG_START, "{\"Result\":0}\n", 0},
    {UVM__MSG_START, "{}", 0},
    {UVM__MSG_START, "", -UVM_E_PROTOCOL},
    {UVM__MSG_START, "[]", -UVM_E_PROTOCOL},
    {UVM__MSG_START, "{\"Result\":0.0}", -UVM_E_PROTOCOL},
    {UVM__MSG_START, "{\"Result\":2147943568}", -UVM_E_PROTOCOL},
    {UVM__MSG_START, "{\"Result\":-2147483649}", -UVM_E_PROTOCOL},
    {UVM__MSG_START, "{\"Result\":\"0\"}", -UVM_E_PROTOCOL},
    {UVM__MSG_START, "{\"ActivityId\":\"\"}", -UVM_E_PROTOCOL},
    {UVM__MSG_START, "{\"ActivityId\":\"{00000000-0000-0000-0000-000000000000}\"}",
     -UVM_E_PROTOCOL},
    {UVM__MSG_START, "{\"ActivityId\":\"ABCDEFab-0000-0000-0000-00000000000F\"}", 0},
    {UVM__MSG_START, "{\"ActivityId\":null}", 0},
    {UVM__MSG_START, "{\"ErrorMessage\":5}", -UVM_E_PROTOCOL},
    {UVM__MSG_START, "{\"ErrorRecords\":{}}", -UVM_E_PROTOCOL},
    {UVM__MSG_START, "{\"ErrorRecords\":[5]}", -UVM_E_PROTOCOL},
    {UVM__MSG_START, "{\"ErrorRecords\":[null,{\"Line\":4294967295}]}", 0},
    {UVM__MSG_START, "{\"ErrorRecords\":[{\"Line\":-1}]}", -UVM_E_PROTOCOL},
    {UVM__MSG_EXECUTE_PROCESS, "{\"ProcessId\":-1}", -UVM_E_PROTOCOL},
    {UVM__MSG_WAIT_FOR_PROCESS, "{\"ExitCode\":true}", -UVM_E_PROTOCOL},
    {UVM__MSG_WAIT_FOR_PROCESS, "{\"UvmExit\":{\"Signal\":65}}", -UVM_E_PROTOCOL},
    {UVM__MSG_WAIT_FOR_PROCESS, "{\"UvmExit\":{\"Signal\":-1}}", -UVM_E_PROTOCOL},
    {UVM__MSG_WAIT_FOR_PROCESS, "{\"UvmExit\":5}", -UVM_E_PROTOCOL},
    {UVM__MSG_GET_PROPERTIES, "{\"Properties\":\"\"}", -UVM_E_PROTOCOL},
    {UVM__MSG_GET_PROPERTIES, "{\"Properties\":\"{\"}", -UVM_E_PROTOCOL},
    {UVM__MSG_GET_PROPERTIES, "{\"Properties\":{}}", -UVM_E_PROTOCOL},
    {UVM__MSG_GET_PROPERTIES, "{\"Properties\":\"[1]\"}", 0},
    {UVM__MSG_GET_PROPERTIES, "{}", 0},
    {UVM__MSG_DUMP_STACKS, "{\"GuestStacks\":[]}", -UVM_E_PROTOCOL},
    {UVM__MSG_NEGOTIATE_PROTOCOL, "{\"Version\":4,\"Capabilities\":{}}", -UVM_E_PROTOCOL},
    {UVM__MSG_NEGOTIATE_PROTOCOL, "{\"Version\":4}", -UVM_E_PROTOCOL},
    {UVM__MSG_NEGOTIATE_PROTOCOL,
     "{\"Version\":4,\"Capabilities\":{\"GuestDefinedCapabilities\":null}}", 0},
    {UVM__MSG_NEGOTIATE_PROTOCOL,
     "{\"Version\":4,\"Capabilities\":{\"GuestDefinedCapabilities\":[]}}", -UVM_E_PROTOCOL},
    {UVM__MSG_NEGOTIATE_PROTOCOL, "{\"Result\":-1}", 0},
};

static void responses_that_the_reference_refuses_are_refused(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof responses / sizeof responses[0]; i++) {
        struct uvm__msg_result res;
        union uvm__msg_answer a;
        cJSON *tree;
        int rc = read_response(responses[i].msg, responses[i].body, &res, &a, &tree);
        if (rc != responses[i].rc) {
            fail_msg("row %zu: %s: %d", i, responses[i].body, rc);
        }
        cJSON_Delete(tree);
    }
    static const char *const bad[] = {
        "",
        "5",
        "{\"ActivityId\":\"\"}",
        "{\"ResultInfo\":\"\"}",
        "{\"ContainerId\":1}",
        "{\"Type\":1}",
        "{\"Result\":1.5}",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct uvm__msg_notification n;
        struct uvm__fail f;
        cJSON *tree;
        assert_int_equal(uvm__msg_notification_read(bad[i], strlen(bad[i]), &n, &tree, &f),
                         -UVM_E_PROTOCOL);
    }
}

static void exit_and_start_are_read(void **state) {
    (void)state;
    struct uvm__msg_result res;
    union uvm__msg_answer a;
    cJSON *tree;
    assert_int_equal(read_response(UVM__MSG_WAIT_FOR_PROCESS,
                                   "{\"ExitCode\":4294967295,\"UvmExit\":{\"Signal\":11,"
                                   "\"CoreDump\":true}}",
                                   &res, &a, &tree),
                     0);
    assert_int_equal(a.exit.code, UVM__EXIT_SIGNALED);
    assert_int_equal(a.exit.signal, 11);
    assert_true(a.exit.core);
    cJSON_Delete(tree);
    static const struct {
        const char *step;
        int error, status;
    } rows[] = {
        {"exec", ENOENT, 127}, {"exec", EACCES, 126}, {"chdir", ENOENT, 125},
        {"user", 0, 125},      {"stdio", EIO, 125},   {"later", ENOENT, 125},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char body[128];
        snprintf(body, sizeof body,
                 "{\"Result\":-2147467259,\"UvmStart\":{\"Step\":\"%s\",\"Errno\":%d}}",
                 rows[i].step, rows[i].error);
        assert_int_equal(read_response(UVM__MSG_EXECUTE_PROCESS, body, &res, &a, &tree), 0);
        assert_int_equal(res.start.error, rows[i].error);
        assert_int_equal(uvm__msg_start_status(&res.start), rows[i].status);
        cJSON_Delete(tree);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_of_the_reference_are_read),
        cmocka_unit_test(a_process_is_read),
        cmocka_unit_test(requests_are_read_by_the_references_rules),
        cmocka_unit_test(responses_of_the_reference_are_read),
        cmocka_unit_test(responses_that_the_reference_refuses_are_refused),
        cmocka_unit_test(exit_and_start_are_read),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
