/* SPDX-License-Identifier: MIT
 * bridge_message_test.c — bodies that are written: byte for byte as the reference's (bridge_vectors.h),
 * with its escapes, and cut where they would not fit a frame.
 */
#include "async/alloc.h"
#include "async/engine.h"
#include "bridge_vectors.h"
#include "cm.h"
#include "hvsock/hvsock.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
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

static void assert_frame(struct uvm__buf *b, uint32_t word, uint64_t id, const struct vector *v) {
    assert_int_equal(uvm__frame_end(b, word, id, UVM__FRAME_BYTES_MAX), 0);
    assert_string_equal((const char *)b->data + UVM__FRAME_HEADER_BYTES, v->body);
    assert_memory_equal(b->data, v->header, UVM__FRAME_HEADER_BYTES);
}

static void assert_request(enum uvm__message msg, const union uvm__msg_request *req,
                           const struct vector *v) {
    struct uvm__buf b;
    uvm__buf_init(&b, engine, UVM__FRAME_BYTES_MAX);
    assert_int_equal(uvm__frame_begin(&b), 0);
    assert_int_equal(uvm__msg_request_write(&b, msg, req), 0);
    assert_frame(&b, uvm__messages[msg].word, v->header[8], v);
    uvm__buf_deinit(&b);
}

static void assert_response(enum uvm__message msg, const union uvm__msg_answer *answer,
                            const struct vector *v) {
    struct uvm__buf b;
    uvm__buf_init(&b, engine, UVM__FRAME_BYTES_MAX);
    assert_int_equal(uvm__frame_begin(&b), 0);
    assert_int_equal(uvm__msg_response_write(&b, msg, Z, answer, 1, UVM__FRAME_BYTES_MAX), 0);
    assert_frame(&b, uvm__message_response_word(uvm__messages[msg].word), v->header[8], v);
    uvm__buf_deinit(&b);
}

/* ---- writing ------------------------------------------------------------------------------ */

static void requests_are_written_as_the_reference_does(void **state) {
    (void)state;
    const struct uvm__msg_base c1 = {"c1", NULL};
    const struct uvm__msg_base uvm = {Z, NULL};
    assert_request(UVM__MSG_NEGOTIATE_PROTOCOL,
                   &(union uvm__msg_request){.negotiate = {{"", NULL}, 4, 4, 0}},
                   &negotiate_request);
    assert_request(UVM__MSG_MODIFY_SETTINGS,
                   &(union uvm__msg_request){
                       .modify = {uvm,
                                  "{\"RequestType\":\"Add\",\"ResourceType\":\"MappedVirtualDisk\","
                                  "\"Settings\":{\"MountPath\":\"/run/mounts/scsi/m0\",\"Lun\":1,"
                                  "\"ReadOnly\":true,\"Options\":[\"ro\"]}}",
                                  NULL}},
                   &modify_request);
    assert_request(UVM__MSG_CREATE, &(union uvm__msg_request){.create = {c1, CONFIG_INNER}},
                   &create_request);
    assert_request(UVM__MSG_EXECUTE_PROCESS,
                   &(union uvm__msg_request){
                       .execute = {c1, "{\"CreateStdOutPipe\":true,\"CreateStdErrPipe\":true}", 0,
                                   UVM__PORT_STDIO_FIRST, UVM__PORT_STDIO_FIRST + 1}},
                   &init_request);
    assert_request(UVM__MSG_WAIT_FOR_PROCESS,
                   &(union uvm__msg_request){.wait = {c1, 213, UVM__WAIT_INFINITE}}, &wait_request);
    assert_request(UVM__MSG_SIGNAL_PROCESS,
                   &(union uvm__msg_request){.signal = {c1, 213, 15, false}}, &signal_request);
    assert_request(UVM__MSG_SIGNAL_PROCESS,
                   &(union uvm__msg_request){.signal = {c1, 213, 0, false}}, &kill_request);
    assert_request(UVM__MSG_START, &(union uvm__msg_request){.base = c1}, &start_request);
    assert_request(UVM__MSG_RESIZE_CONSOLE, &(union uvm__msg_request){.resize = {c1, 213, 40, 120}},
                   &resize_request);
    assert_request(
        UVM__MSG_GET_PROPERTIES,
        &(union uvm__msg_request){.properties = {c1, "{\"PropertyTypes\":[\"ProcessList\"]}"}},
        &properties_request);
}

static void a_process_is_written_as_the_reference_does(void **state) {
    (void)state;
    static const char *const args[] = {"sh", "-c", "ls > /run/x && echo \"ok\"", NULL};
    static const char *const env[] = {"PATH=/old", "HOME=/root", "PATH=/usr/bin:/bin", NULL};
    struct uvm__msg_process p = {.args = args, .env = env, .cwd = "/", .out = true};
    struct uvm__buf inner;
    uvm__buf_init(&inner, engine, 4096);
    assert_int_equal(uvm__msg_process_write(&inner, &p, 0), 0);
    assert_request(
        UVM__MSG_EXECUTE_PROCESS,
        &(union uvm__msg_request){
            .execute = {{Z, NULL}, (const char *)inner.data, 0, UVM__PORT_STDIO_FIRST + 2, 0}},
        &execute_request);
    uvm__buf_deinit(&inner);
}

static void responses_are_written_as_the_reference_does(void **state) {
    (void)state;
    const struct uvm__msg_capabilities caps = {4, true, true, true, true, true, false, false, 0};
    assert_response(UVM__MSG_NEGOTIATE_PROTOCOL, &(union uvm__msg_answer){.capabilities = caps},
                    &negotiate_response);
    assert_response(UVM__MSG_MODIFY_SETTINGS, &(union uvm__msg_answer){0}, &plain_response);
    assert_response(UVM__MSG_CREATE, &(union uvm__msg_answer){0}, &create_response);
    assert_response(UVM__MSG_EXECUTE_PROCESS, &(union uvm__msg_answer){.pid = 213},
                    &execute_response);
    assert_response(UVM__MSG_WAIT_FOR_PROCESS, &(union uvm__msg_answer){.exit = {137, 0, false}},
                    &wait_response);
    assert_response(
        UVM__MSG_GET_PROPERTIES,
        &(union uvm__msg_answer){.properties = "{\"ProcessList\":[{\"ProcessId\":213}]}"},
        &properties_response);

    struct uvm__buf b;
    uvm__buf_init(&b, engine, UVM__FRAME_BYTES_MAX);
    char text[UVM__HR_TEXT_BYTES];
    uvm__hresult_text(UVM__HR_NOT_FOUND, text);
    struct uvm__msg_error err = {.result = UVM__HR_NOT_FOUND, .message = text};
    assert_int_equal(uvm__frame_begin(&b), 0);
    assert_int_equal(uvm__msg_error_write(&b, Z, &err, 1, UVM__FRAME_BYTES_MAX), 0);
    assert_frame(&b, 0x20100701, 7, &error_response);
    uvm__buf_reset(&b);
    struct uvm__msg_notification n = {{"c1", ""}, "ForcedExit"};
    assert_int_equal(uvm__frame_begin(&b), 0);
    assert_int_equal(uvm__msg_notification_write(&b, &n), 0);
    assert_frame(&b, UVM__NOTIFICATION_WORD, 0, &notification);
    uvm__buf_deinit(&b);
}

static void control_extension_is_written(void **state) {
    (void)state;
    struct uvm__buf b;
    uvm__buf_init(&b, engine, UVM__FRAME_BYTES_MAX);
    union uvm__msg_request neg = {.negotiate = {{"", NULL}, 4, 4, 1}};
    assert_int_equal(uvm__msg_request_write(&b, UVM__MSG_NEGOTIATE_PROTOCOL, &neg), 0);
    assert_string_equal((char *)b.data,
                        "{\"ContainerId\":\"\"," A ",\"MinimumVersion\":4,\"MaximumVersion\":4,"
                        "\"UvmExtensions\":{\"ProcessControl\":1}}\n");
    uvm__buf_reset(&b);
    union uvm__msg_request sig = {.signal = {{Z, NULL}, 9, 15, true}};
    assert_int_equal(uvm__msg_request_write(&b, UVM__MSG_SIGNAL_PROCESS, &sig), 0);
    assert_string_equal((char *)b.data, "{\"ContainerId\":\"" Z "\"," A ",\"ProcessId\":9,"
                                        "\"Options\":{\"Signal\":15,\"UvmGroup\":true}}\n");
    uvm__buf_reset(&b);
    union uvm__msg_answer gone = {.exit = {UVM__EXIT_SIGNALED, 9, false}};
    assert_int_equal(
        uvm__msg_response_write(&b, UVM__MSG_WAIT_FOR_PROCESS, "", &gone, 1, UVM__FRAME_BYTES_MAX),
        0);
    assert_string_equal((char *)b.data, "{\"Result\":0,\"ExitCode\":4294967295,"
                                        "\"UvmExit\":{\"Signal\":9,\"CoreDump\":false}}");
    uvm__buf_reset(&b);
    assert_int_equal(
        uvm__msg_response_write(&b, UVM__MSG_WAIT_FOR_PROCESS, "", &gone, 0, UVM__FRAME_BYTES_MAX),
        0);
    assert_string_equal((char *)b.data, "{\"Result\":0,\"ExitCode\":4294967295}");
    uvm__buf_reset(&b);
    struct uvm__msg_error err = {.result = UVM__HR_FAIL,
                                 .message = "no",
                                 .file = "process.go",
                                 .function = "newExternalProcess",
                                 .line = 239,
                                 .start = {UVM__START_EXEC, ENOENT}};
    assert_int_equal(uvm__msg_error_write(&b, Z, &err, 1, UVM__FRAME_BYTES_MAX), 0);
    assert_string_equal(
        (char *)b.data,
        "{\"Result\":-2147467259," A ",\"ErrorMessage\":\"no\",\"ErrorRecords\":[{\"Result\":"
        "-2147467259,\"Message\":\"no\",\"ModuleName\":\"gcs\",\"FileName\":\"process.go\","
        "\"Line\":239,\"FunctionName\":\"newExternalProcess\"}],"
        "\"UvmStart\":{\"Step\":\"exec\",\"Errno\":2}}");
    uvm__buf_reset(&b);
    assert_int_equal(uvm__msg_error_write(&b, Z, &err, 0, UVM__FRAME_BYTES_MAX), 0);
    assert_null(strstr((char *)b.data, "UvmStart"));
    uvm__buf_reset(&b);
    static const char *const args[] = {"a", NULL};
    struct uvm__msg_process p = {
        .args = args, .user = "u:g", .terminal = true, .height = 24, .width = 80};
    assert_int_equal(uvm__msg_process_write(&b, &p, 1), 0);
    assert_string_equal((char *)b.data, "{\"CommandArgs\":[\"a\"],\"User\":\"u:g\","
                                        "\"EmulateConsole\":true,\"ConsoleSize\":[24,80]}");
    uvm__buf_reset(&b);
    assert_int_equal(uvm__msg_process_write(&b, &p, 0), 0);
    assert_string_equal((char *)b.data, "{\"CommandArgs\":[\"a\"],\"EmulateConsole\":true}");
    uvm__buf_deinit(&b);
}

static void strings_are_escaped_as_the_reference_does(void **state) {
    (void)state;
    static const struct {
        const char *text, *outer, *html;
    } rows[] = {
        {"a\"b\\c/d", "a\\\"b\\\\c/d", "a\\\"b\\\\c/d"},
        {"\b\f\n\r\t\x01\x1f\x7f", "\\b\\f\\n\\r\\t\\u0001\\u001f\x7f",
         "\\b\\f\\n\\r\\t\\u0001\\u001f\x7f"},
        {"<a>&b", "<a>&b", "\\u003ca\\u003e\\u0026b"},
        {"\xe2\x80\xa8\xe2\x80\xa9\xe2\x80\xaa", "\\u2028\\u2029\xe2\x80\xaa",
         "\\u2028\\u2029\xe2\x80\xaa"},
        {"\xc3\xa4\xf0\x9f\x98\x80", "\xc3\xa4\xf0\x9f\x98\x80", "\xc3\xa4\xf0\x9f\x98\x80"},
        {"\xff\xc0\xaf\xed\xa0\x80z", "\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\\ufffdz",
         "\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\\ufffdz"},
        {"\xe2\x80", "\\ufffd\\ufffd", "\\ufffd\\ufffd"},
        {"\xf4\x90\x80\x80", "\\ufffd\\ufffd\\ufffd\\ufffd", "\\ufffd\\ufffd\\ufffd\\ufffd"},
        {"\xe0\x9f\xbf", "\\ufffd\\ufffd\\ufffd", "\\ufffd\\ufffd\\ufffd"},
    };
    struct uvm__buf b;
    uvm__buf_init(&b, engine, 4096);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char want[256];
        union uvm__msg_request req = {.base = {rows[i].text, NULL}};
        assert_int_equal(uvm__msg_request_write(&b, UVM__MSG_START, &req), 0);
        snprintf(want, sizeof want, "{\"ContainerId\":\"%s\"," A "}\n", rows[i].outer);
        assert_string_equal((char *)b.data, want);
        uvm__buf_reset(&b);
        union uvm__msg_answer answer = {.properties = rows[i].text};
        assert_int_equal(uvm__msg_response_write(&b, UVM__MSG_GET_PROPERTIES, "", &answer, 0, 4096),
                         0);
        snprintf(want, sizeof want, "{\"Result\":0,\"Properties\":\"%s\"}", rows[i].html);
        assert_string_equal((char *)b.data, want);
        uvm__buf_reset(&b);
    }
    uvm__buf_deinit(&b);
}

/* ---- limits ------------------------------------------------------------------------------- */

static char *filled(char c, size_t bytes) {
    char *text = malloc(bytes + 1);
    assert_non_null(text);
    memset(text, c, bytes);
    text[bytes] = 0;
    return text;
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

static void answers_never_exceed_a_frame(void **state) {
    (void)state;
    size_t body_max = UVM__FRAME_BYTES_MAX - UVM__FRAME_HEADER_BYTES;
    for (int c = 0; c < 3; c++) {
        char *text = filled("x<\xff"[c], 100000);
        struct uvm__buf b;
        uvm__buf_init(&b, engine, body_max);
        struct uvm__msg_error err = {.result = UVM__HR_FAIL, .message = text, .stack = text};
        assert_int_equal(uvm__msg_error_write(&b, Z, &err, 1, UVM__FRAME_BYTES_MAX), 0);
        assert_true(b.len <= body_max && b.len > body_max - 32);
        assert_non_null(strstr((char *)b.data, Z));
        assert_null(strstr((char *)b.data, "StackTrace"));
        struct uvm__msg_result res;
        union uvm__msg_answer a;
        cJSON *tree;
        assert_int_equal(read_response(UVM__MSG_EXECUTE_PROCESS, (char *)b.data, &res, &a, &tree),
                         0);
        assert_int_equal(res.result, UVM__HR_FAIL);
        cJSON_Delete(tree);
        /* An activity of that size gives way, too. */
        uvm__buf_reset(&b);
        assert_int_equal(uvm__msg_error_write(&b, text, &err, 1, UVM__FRAME_BYTES_MAX), 0);
        assert_true(b.len <= body_max);
        assert_null(strstr((char *)b.data, "ActivityId"));
        uvm__buf_reset(&b);
        union uvm__msg_answer props = {.properties = text};
        assert_int_equal(uvm__msg_response_write(&b, UVM__MSG_GET_PROPERTIES, Z, &props, 0,
                                                 UVM__FRAME_BYTES_MAX),
                         -UVM_E_LIMIT);
        assert_int_equal(b.len, 0);
        uvm__buf_deinit(&b);
        free(text);
    }
}

static void stacks_are_cut_on_a_line_end(void **state) {
    (void)state;
    char *text = filled('s', 100000);
    for (size_t i = 99; i < 100000; i += 100) {
        text[i] = '\n';
    }
    struct uvm__buf b;
    uvm__buf_init(&b, engine, UVM__FRAME_BYTES_MAX);
    union uvm__msg_answer answer = {.stacks = text};
    assert_int_equal(
        uvm__msg_response_write(&b, UVM__MSG_DUMP_STACKS, Z, &answer, 0, UVM__FRAME_BYTES_MAX), 0);
    assert_true(b.len <= UVM__FRAME_BYTES_MAX - UVM__FRAME_HEADER_BYTES);
    assert_true(b.len > UVM__GUEST_STACKS_BYTES_MAX - 200);
    assert_string_equal((char *)b.data + b.len - 5, "s\\n\"}");
    uvm__buf_deinit(&b);
    free(text);
}

static void names_of_words(void **state) {
    (void)state;
    static const struct {
        uint32_t word;
        const char *text;
    } rows[] = {
        {0x10100501, "ComputeSystemExecuteProcessV1"},
        {0x10100d01, "ComputeSystemDeleteContainerStateV1"},
        {0x20100501, "ComputeSystemResponseExecuteProcessV1"},
        {0x20100c01, "ComputeSystemResponseDumpStacksV1"},
        {0x20100d01, "537922817"},
        {0x30100101, "ComputeSystemNotificationV1"},
        {0x10101001, "269488129"},
        {0x10300101, "271581441"},
        {0, "None"},
        {0xffffffff, "4294967295"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[64];
        uvm__message_word_text(rows[i].word, text, sizeof text);
        assert_string_equal(text, rows[i].text);
    }
    assert_int_equal(uvm__message_response_word(0x10300101), 0x20300101);
    assert_int_equal(uvm__message_response_word(0x20100501), 0x20100501);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_are_written_as_the_reference_does),
        cmocka_unit_test(a_process_is_written_as_the_reference_does),
        cmocka_unit_test(responses_are_written_as_the_reference_does),
        cmocka_unit_test(control_extension_is_written),
        cmocka_unit_test(strings_are_escaped_as_the_reference_does),
        cmocka_unit_test(answers_never_exceed_a_frame),
        cmocka_unit_test(stacks_are_cut_on_a_line_end),
        cmocka_unit_test(names_of_words),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
