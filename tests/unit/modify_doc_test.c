/* SPDX-License-Identifier: MIT
 * modify_doc_test.c — requests to change a system: out of the builder byte for byte, back through the
 * reader, a table of bad ones with the error that each must give, and every allocation failing once.
 */
#include "async/alloc.h"
#include "hcs/modify_doc.h"
#include "tests/unit/loop.h"

#include <stdio.h>
#include <string.h>

#define GUID "df6d0690-79e5-55b6-a5ec-c1e2f77f580a"
#define PATH "VirtualMachine/Devices/Scsi/" GUID "/Attachments/63"
static const char add_text[] =
    "{\"ResourcePath\":\"" PATH "\",\"RequestType\":\"Add\",\"Settings\":{"
    "\"Type\":\"VirtualDisk\",\"Path\":\"/a.vhd\",\"ReadOnly\":true}}";
static const char remove_text[] = "{\"ResourcePath\":\"" PATH "\",\"RequestType\":\"Remove\"}";

static struct uvm__modify scsi(enum uvm__modify_verb verb) {
    struct uvm__modify m = {.verb = verb, .kind = UVM__MODIFY_SCSI, .number = 63};
    memcpy(m.guid, GUID, sizeof GUID);
    m.has_settings = verb != UVM__MODIFY_REMOVE;
    m.settings.scsi = (struct uvm__doc_scsi_attachment){
        .type = "VirtualDisk", .path = "/a.vhd", .read_only = true};
    return m;
}

static void expect_build(struct loop_kit *k, const struct uvm__modify *m, const char *wanted) {
    char *text = NULL;
    size_t bytes = 0;
    struct uvm__fail f;
    assert_int_equal(uvm__modify_build(k->engine, m, &text, &bytes, &f), 0);
    assert_string_equal(text, wanted);
    assert_int_equal(bytes, strlen(wanted));
    uvm__free(k->engine, text);
}

static void built_and_read_back(void **state) {
    (void)state;
    struct loop_kit k;
    struct uvm__modify m = scsi(UVM__MODIFY_ADD), got;
    struct uvm__fail f;
    loop_open(&k);
    expect_build(&k, &m, add_text);
    assert_int_equal(uvm__modify_read(k.engine, add_text, sizeof add_text - 1, &got, &f), 0);
    assert_int_equal(got.verb, UVM__MODIFY_ADD);
    assert_int_equal(got.kind, UVM__MODIFY_SCSI);
    assert_string_equal(got.guid, GUID);
    assert_int_equal(got.number, 63);
    assert_int_equal(got.settings.scsi.lun, 63);
    assert_string_equal(got.settings.scsi.path, "/a.vhd");
    assert_true(got.has_settings && got.settings.scsi.read_only);
    uvm__modify_deinit(&got);
    uvm__modify_deinit(&got);

    m = scsi(UVM__MODIFY_REMOVE);
    expect_build(&k, &m, remove_text);
    assert_int_equal(uvm__modify_read(k.engine, remove_text, sizeof remove_text - 1, &got, &f), 0);
    assert_int_equal(got.verb, UVM__MODIFY_REMOVE);
    assert_false(got.has_settings);
    uvm__modify_deinit(&got);
    loop_close(&k);
}

#define SHARES "VirtualMachine/Devices/VirtualSmb/Shares"
static const char share_text[] =
    "{\"ResourcePath\":\"" SHARES "\",\"RequestType\":\"Add\",\"Settings\":{"
    "\"Name\":\"s1f\",\"Path\":\"/srv/\",\"AllowedFiles\":[\"/srv/a\",\"/srv/b\"],"
    "\"Options\":{\"ReadOnly\":true,\"RestrictFileAccess\":true}}}";
static const char unshare_text[] =
    "{\"ResourcePath\":\"" SHARES "\",\"RequestType\":\"Remove\",\"Settings\":{"
    "\"Name\":\"s1f\"}}";

#define NIC "VirtualMachine/Devices/NetworkAdapters/" GUID
static const char nic_text[] =
    "{\"ResourcePath\":\"" NIC "\",\"RequestType\":\"Add\",\"Settings\":{"
    "\"MacAddress\":\"02:00:00:00:00:01\",\"LinuxEndpoint\":{\"Type\":\"NetworkNamespace\","
    "\"Path\":\"/run/netns/a\",\"Interface\":\"eth1\",\"Mtu\":1400}}}";

static void a_network_adapter(void **state) {
    (void)state;
    struct loop_kit k;
    struct uvm__modify m = {.kind = UVM__MODIFY_NIC, .guid = GUID, .has_settings = true}, got;
    struct uvm__fail f;
    loop_open(&k);
    m.settings.nic = (struct uvm__doc_nic){.mac_address = "02:00:00:00:00:01",
                                           .linux_endpoint = {.present = true,
                                                              .type = "NetworkNamespace",
                                                              .path = "/run/netns/a",
                                                              .interface = "eth1",
                                                              .mtu = 1400}};
    expect_build(&k, &m, nic_text);
    assert_int_equal(uvm__modify_read(k.engine, nic_text, sizeof nic_text - 1, &got, &f), 0);
    assert_int_equal(got.kind, UVM__MODIFY_NIC);
    assert_string_equal(got.guid, GUID);
    assert_string_equal(got.settings.nic.linux_endpoint.interface, "eth1");
    assert_int_equal(got.settings.nic.linux_endpoint.mtu, 1400);
    uvm__modify_deinit(&got);
    loop_close(&k);
}

/* Where the path has no key, the settings name the resource, also of a removal, which has nothing else. */
static void a_share_is_named_by_its_settings(void **state) {
    (void)state;
    struct loop_kit k;
    const char *const files[] = {"/srv/a", "/srv/b"};
    struct uvm__modify m = {.kind = UVM__MODIFY_VSMB, .has_settings = true}, got;
    char path[UVM__MODIFY_PATH_BYTES];
    struct uvm__fail f;
    loop_open(&k);
    m.settings.vsmb = (struct uvm__doc_vsmb_share){
        .name = "s1f",
        .path = "/srv/",
        .allowed_files = files,
        .allowed_files_count = 2,
        .options = {.present = true, .read_only = true, .restrict_file_access = true}};
    expect_build(&k, &m, share_text);
    assert_int_equal(uvm__modify_path(&m, path, &f), 0);
    assert_string_equal(path, SHARES "/s1f");
    assert_int_equal(uvm__modify_read(k.engine, share_text, sizeof share_text - 1, &got, &f), 0);
    assert_int_equal(got.settings.vsmb.allowed_files_count, 2);
    assert_string_equal(got.settings.vsmb.allowed_files[1], "/srv/b");
    assert_true(got.settings.vsmb.options.read_only);
    uvm__modify_deinit(&got);

    m.verb = UVM__MODIFY_REMOVE;
    expect_build(&k, &m, unshare_text);
    assert_int_equal(uvm__modify_read(k.engine, unshare_text, sizeof unshare_text - 1, &got, &f),
                     0);
    assert_int_equal(uvm__modify_path(&got, path, &f), 0);
    assert_string_equal(path, SHARES "/s1f");
    uvm__modify_deinit(&got);
    m.settings.vsmb.name = "../etc";
    assert_int_equal(uvm__modify_path(&m, path, &f), -UVM_E_INVAL);
    loop_close(&k);
}

#define ASSIGNED "VirtualMachine/Devices/VirtualPci/6d0c7f4e-8c15-4a0b-9a8e-2f4ce9f0b7d1"
static const char assign_text[] =
    "{\"ResourcePath\":\"" ASSIGNED "\",\"RequestType\":\"Add\",\"Settings\":{\"Functions\":[{"
    "\"DeviceInstancePath\":\"0000:3b:00.0\",\"VirtualFunction\":2}],"
    "\"PropagateNumaAffinity\":true}}";

static void a_function_is_named_by_its_instance(void **state) {
    (void)state;
    struct loop_kit k;
    const struct uvm__doc_vpci_function function = {.device_instance_path = "0000:3b:00.0",
                                                    .virtual_function = 2};
    struct uvm__modify m = {.kind = UVM__MODIFY_VPCI, .has_settings = true}, got;
    char path[UVM__MODIFY_PATH_BYTES];
    struct uvm__fail f;
    loop_open(&k);
    (void)snprintf(m.guid, sizeof m.guid, "6D0C7F4E-8C15-4A0B-9A8E-2F4CE9F0B7D1");
    m.settings.vpci = (struct uvm__doc_vpci){
        .functions = &function, .functions_count = 1, .propagate_numa_affinity = true};
    expect_build(&k, &m, assign_text);
    assert_int_equal(uvm__modify_read(k.engine, assign_text, sizeof assign_text - 1, &got, &f), 0);
    assert_int_equal(got.kind, UVM__MODIFY_VPCI);
    assert_int_equal(got.settings.vpci.functions_count, 1);
    assert_string_equal(got.settings.vpci.functions[0].device_instance_path, "0000:3b:00.0");
    assert_int_equal(got.settings.vpci.functions[0].virtual_function, 2);
    assert_int_equal(uvm__modify_path(&got, path, &f), 0);
    assert_string_equal(path, ASSIGNED);
    uvm__modify_deinit(&got);
    m.settings.vpci.functions_count = 0;
    char *text = NULL;
    size_t bytes;
    assert_int_equal(uvm__modify_build(k.engine, &m, &text, &bytes, &f), -UVM_E_INVAL);
    assert_string_equal(f.msg, "Settings.Functions: 0 functions; a device has exactly one here");
    loop_close(&k);
}

static void paths_are_written_one_way(void **state) {
    (void)state;
    char path[UVM__MODIFY_PATH_BYTES];
    struct uvm__fail f;
    assert_int_equal(uvm__modify_scsi_path("DF6D0690-79E5-55B6-A5EC-C1E2F77F580A", 63, path, &f),
                     0);
    assert_string_equal(path, PATH);
    assert_int_equal(uvm__modify_scsi_path(GUID, 64, path, &f), -UVM_E_INVAL);
    assert_int_equal(uvm__modify_scsi_path("no guid", 1, path, &f), -UVM_E_INVAL);
}

#define PLAN9 "VirtualMachine/Devices/Plan9/Shares"
static void a_plan9_share_and_its_port(void **state) {
    (void)state;
    static const char add[] =
        "{\"ResourcePath\":\"" PLAN9 "\",\"RequestType\":\"Add\",\"Settings\":{"
        "\"Name\":\"7\",\"AccessName\":\"7\",\"Path\":\"/a\",\"Port\":564,"
        "\"Flags\":133,\"AllowedFiles\":[\"x\",\"y y\"]}}";
    static const char remove[] = "{\"ResourcePath\":\"" PLAN9 "\",\"RequestType\":\"Remove\","
                                 "\"Settings\":{\"Name\":\"7\",\"AccessName\":\"7\",\"Port\":564}}";
    struct loop_kit k;
    char path[UVM__MODIFY_PATH_BYTES];
    struct uvm__modify got;
    struct uvm__fail f;
    loop_open(&k);
    assert_int_equal(uvm__modify_read(k.engine, add, sizeof add - 1, &got, &f), 0);
    assert_int_equal(got.kind, UVM__MODIFY_PLAN9);
    assert_int_equal(got.settings.plan9.allowed_files_count, 2);
    assert_string_equal(got.settings.plan9.allowed_files[1], "y y");
    assert_int_equal(uvm__modify_path(&got, path, &f), 0);
    assert_string_equal(path, PLAN9 "/7");
    expect_build(&k, &got, add);
    uvm__modify_deinit(&got);
    assert_int_equal(uvm__modify_read(k.engine, remove, sizeof remove - 1, &got, &f), 0);
    assert_true(got.has_settings);
    assert_null(got.settings.plan9.path);
    assert_int_equal(uvm__modify_path(&got, path, &f), 0);
    assert_string_equal(path, PLAN9 "/7");
    expect_build(&k, &got, remove);
    uvm__modify_deinit(&got);
    loop_close(&k);
}

#define REQUEST(path, rest) "{\"ResourcePath\":\"" path "\"," rest "}"
#define PLAN9_SHARE(verb, rest)                                                                    \
    REQUEST(PLAN9,                                                                                 \
            "\"RequestType\":\"" verb "\",\"Settings\":{\"Name\":\"7\",\"AccessName\":\"7\","      \
            "\"Port\":564," rest "}")
#define ADD(settings) REQUEST(PATH, "\"RequestType\":\"Add\",\"Settings\":" settings)
#define SHARE(settings) REQUEST(SHARES, "\"RequestType\":\"Add\",\"Settings\":" settings)
#define ASSIGN(functions)                                                                          \
    REQUEST(ASSIGNED, "\"RequestType\":\"Add\",\"Settings\":{\"Functions\":" functions "}")
#define FILES(list)                                                                                \
    SHARE("{\"Name\":\"s1\",\"Path\":\"/a\",\"AllowedFiles\":" list                                \
          ",\"Options\":{\"RestrictFileAccess\":true}}")
static const struct {
    const char *text;
    int code;
    const char *says;
} bad[] = {
    {"[]", UVM_E_INVAL, "request: must be an object"},
    {"{", UVM_E_PROTOCOL, "request: "},
    {"{}", UVM_E_INVAL, "ResourcePath: missing or empty"},
    {"{\"ResourcePath\":7}", UVM_E_INVAL, "ResourcePath: must be a string"},
    {REQUEST("VirtualMachine/Devices/Licensing", "\"RequestType\":\"Add\""), UVM_E_UNSUPPORTED,
     "ResourcePath: nothing that can be changed here"},
    {REQUEST(PATH "/", "\"RequestType\":\"Remove\""), UVM_E_UNSUPPORTED, "ResourcePath: "},
    {REQUEST(ASSIGNED, "\"RequestType\":\"Add\""), UVM_E_INVAL, "Settings: missing"},
    {REQUEST("VirtualMachine/Devices/VirtualPci/edu", "\"RequestType\":\"Remove\""),
     UVM_E_UNSUPPORTED, "ResourcePath: "},
    {ASSIGN("[]"), UVM_E_INVAL, "Settings.Functions: 0 functions"},
    {ASSIGN("[{\"DeviceInstancePath\":\"a\"},{\"DeviceInstancePath\":\"b\"}]"), UVM_E_INVAL,
     "Settings.Functions: 2 functions"},
    {ASSIGN("[{\"VirtualFunction\":1}]"), UVM_E_INVAL,
     "Settings.Functions[0].DeviceInstancePath: missing"},
    {ASSIGN("[{\"DeviceInstancePath\":\"a\",\"VirtualFunction\":65536}]"), UVM_E_INVAL,
     "Settings.Functions[0].VirtualFunction: 65536 is out of range (0 to 65535)"},
    {REQUEST("VirtualMachine/Devices/Scsi/" GUID "/Attachments/", "\"RequestType\":\"Remove\""),
     UVM_E_UNSUPPORTED, "ResourcePath: "},
    {REQUEST("VirtualMachine/Devices/Scsi/" GUID "/Attachments/01", "\"RequestType\":\"Remove\""),
     UVM_E_UNSUPPORTED, "ResourcePath: "},
    {REQUEST("VirtualMachine/Devices/Scsi/" GUID "/Attachments/64", "\"RequestType\":\"Remove\""),
     UVM_E_INVAL, "ResourcePath: LUN 64 is out of range (0 to 63)"},
    {REQUEST("VirtualMachine/Devices/Scsi/" GUID "/Attachments/18446744073709551616",
             "\"RequestType\":\"Remove\""),
     UVM_E_UNSUPPORTED, "ResourcePath: "},
    {REQUEST("VirtualMachine/Devices/Scsi/df6d/Attachments/1", "\"RequestType\":\"Remove\""),
     UVM_E_UNSUPPORTED, "ResourcePath: "},
    {REQUEST(PATH, "\"x\":1"), UVM_E_INVAL, "x: unknown field"},
    {REQUEST(PATH, "\"GuestRequest\":{}"), UVM_E_UNSUPPORTED,
     "GuestRequest: the guest's part goes over the bridge"},
    {REQUEST(PATH, "\"RequestType\":\"add\""), UVM_E_INVAL,
     "RequestType: must be one of Add|Remove|Update"},
    {"{\"ResourcePath\":\"" PATH "\"}", UVM_E_INVAL, "RequestType: missing or empty"},
    {REQUEST(PATH, "\"RequestType\":\"Add\""), UVM_E_INVAL, "Settings: missing"},
    {REQUEST(PATH, "\"RequestType\":\"Update\""), UVM_E_INVAL, "Settings: missing"},
    {ADD("null"), UVM_E_INVAL, "Settings: must be an object, is null"},
    {ADD("{}"), UVM_E_INVAL, "Settings.Type: missing"},
    {ADD("{\"Type\":\"VirtualDisk\"}"), UVM_E_INVAL, "Settings.Path: missing"},
    {ADD("{\"Type\":\"Floppy\",\"Path\":\"/a\"}"), UVM_E_INVAL, "Settings.Type: must be one of "},
    {ADD("{\"Type\":\"VirtualDisk\",\"Path\":\"/a\",\"Lun\":1}"), UVM_E_INVAL,
     "Settings.Lun: unknown field"},
    {ADD("{\"Type\":\"VirtualDisk\",\"Path\":\"/a\",\"readOnly\":true}"), UVM_E_INVAL,
     "Settings.readOnly: unknown field; did you mean ReadOnly?"},
    {ADD("{\"Type\":\"VirtualDisk\",\"Path\":\"/a\",\"ExtensibleVirtualDiskType\":\"x\"}"),
     UVM_E_INVAL, "Settings.ExtensibleVirtualDiskType: goes with"},
    {ADD("{\"Type\":\"ExtensibleVirtualDisk\",\"Path\":\"/a\"}"), UVM_E_INVAL,
     "Settings.ExtensibleVirtualDiskType: goes with"},
    {REQUEST(PLAN9, "\"RequestType\":\"Remove\""), UVM_E_INVAL, "Settings: missing"},
    {REQUEST(PLAN9 "/7", "\"RequestType\":\"Remove\""), UVM_E_UNSUPPORTED, "ResourcePath: "},
    {PLAN9_SHARE("Remove", "\"Path\":\"/a\""), UVM_E_INVAL, "Settings.Path: unknown field"},
    {PLAN9_SHARE("Add", "\"Path\":\"a\""), UVM_E_INVAL, "Settings.Path: must be absolute"},
    {PLAN9_SHARE("Add", "\"Path\":\"/a\",\"ReadOnly\":true"), UVM_E_UNSUPPORTED,
     "Settings.ReadOnly: Flags says so"},
    {PLAN9_SHARE("Add", "\"Path\":\"/a\",\"Flags\":128"), UVM_E_INVAL,
     "Settings.AllowedFiles: goes with Flags 0x80"},
    {PLAN9_SHARE("Add", "\"Path\":\"/a\",\"AllowedFiles\":[\"x\"]"), UVM_E_INVAL,
     "Settings.AllowedFiles: goes with Flags 0x80"},
    {PLAN9_SHARE("Add", "\"Path\":\"/a\",\"Flags\":128,\"AllowedFiles\":[\"x\",\"a/b\"]"),
     UVM_E_INVAL, "Settings.AllowedFiles[1]: must be the bare name of a file"},
    {PLAN9_SHARE("Add", "\"Path\":\"/a\",\"Flags\":128,\"AllowedFiles\":[\"..\"]"), UVM_E_INVAL,
     "Settings.AllowedFiles[0]: must be the bare name of a file"},
    {PLAN9_SHARE("Add", "\"Path\":\"/a\",\"Flags\":128,\"AllowedFiles\":[\"x\\ny\"]"), UVM_E_INVAL,
     "Settings.AllowedFiles[0]: must be the bare name of a file"},
    {PLAN9_SHARE("Add", "\"Path\":\"/a\",\"Flags\":128,\"AllowedFiles\":[\"x\",\"x\"]"),
     UVM_E_INVAL, "Settings.AllowedFiles[1]: the same name twice"},
    {PLAN9_SHARE("Add", "\"Path\":\"/a\",\"Flags\":128,\"AllowedFiles\":[7]"), UVM_E_INVAL,
     "Settings.AllowedFiles[0]: must be a string that is not empty"},
    {REQUEST(PLAN9, "\"RequestType\":\"Add\",\"Settings\":{\"Name\":\"a/b\",\"AccessName\":\"7\","
                    "\"Path\":\"/a\",\"Port\":564}"),
     UVM_E_INVAL, "Settings.Name: must be 1 to 63"},
    {REQUEST(PLAN9, "\"RequestType\":\"Add\",\"Settings\":{\"Name\":\"7\",\"AccessName\":\"a,b\","
                    "\"Path\":\"/a\",\"Port\":564}"),
     UVM_E_INVAL, "Settings.AccessName: must be 1 to 63"},
    {REQUEST(SHARES, "\"RequestType\":\"Remove\""), UVM_E_INVAL, "Settings: missing"},
    {REQUEST(SHARES, "\"RequestType\":\"Remove\",\"Settings\":{}"), UVM_E_INVAL,
     "Settings.Name: missing"},
    {REQUEST(SHARES, "\"RequestType\":\"Remove\",\"Settings\":{\"Name\":\"a/b\"}"), UVM_E_INVAL,
     "Settings.Name: must be 1 to 63 letters"},
    {REQUEST(SHARES, "\"RequestType\":\"Remove\",\"Settings\":{\"Name\":\"..\"}"), UVM_E_INVAL,
     "Settings.Name: must be 1 to 63 letters"},
    {REQUEST(SHARES, "\"RequestType\":\"Remove\",\"Settings\":{\"Name\":\"a\",\"Path\":\"/\"}"),
     UVM_E_INVAL, "Settings.Path: unknown field"},
    {SHARE("{\"Name\":\"s1\"}"), UVM_E_INVAL, "Settings.Path: missing"},
    {SHARE("{\"Name\":\"s1\",\"Path\":\"a\"}"), UVM_E_INVAL, "Settings.Path: must be absolute"},
    {SHARE("{\"Name\":\"s1\",\"Path\":\"/a\",\"AllowedFiles\":[\"/a/b\"]}"), UVM_E_INVAL,
     "Settings.AllowedFiles: goes with Options.RestrictFileAccess"},
    {SHARE("{\"Name\":\"s1\",\"Path\":\"/a\",\"Options\":{\"RestrictFileAccess\":true}}"),
     UVM_E_INVAL, "Settings.AllowedFiles: goes with Options.RestrictFileAccess"},
    {FILES("\"/a/b\""), UVM_E_INVAL, "Settings.AllowedFiles: must be an array"},
    {FILES("[7]"), UVM_E_INVAL, "Settings.AllowedFiles[0]: must be a string"},
    {FILES("[\"\"]"), UVM_E_INVAL, "Settings.AllowedFiles[0]: must be a string"},
    {FILES("[\"/b/c\"]"), UVM_E_INVAL, "Settings.AllowedFiles[0]: no path of a file in"},
    {FILES("[\"/a/..\"]"), UVM_E_INVAL, "Settings.AllowedFiles[0]: no path of a file in"},
    {FILES("[\"/a/b/c\"]"), UVM_E_INVAL, "Settings.AllowedFiles[0]: no path of a file in"},
    {FILES("[\"/a/\"]"), UVM_E_INVAL, "Settings.AllowedFiles[0]: no path of a file in"},
    {FILES("[\"/a/b\",\"/a/b\"]"), UVM_E_INVAL, "Settings.AllowedFiles[1]: the same file twice"},
};

static void bad_ones_are_refused_by_name(void **state) {
    (void)state;
    struct loop_kit k;
    loop_open(&k);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct uvm__modify m;
        struct uvm__fail f = {0};
        int rc = uvm__modify_read(k.engine, bad[i].text, strlen(bad[i].text), &m, &f);
        if (rc != -bad[i].code || strncmp(f.msg, bad[i].says, strlen(bad[i].says)) != 0) {
            fail_msg("%s: %d, %s; not %s", bad[i].text, rc, f.msg, bad[i].says);
        }
    }
    char *text = NULL;
    size_t bytes;
    struct uvm__fail f = {0};
    struct uvm__modify m = scsi(UVM__MODIFY_ADD);
    m.settings.scsi.path = NULL;
    assert_int_equal(uvm__modify_build(k.engine, &m, &text, &bytes, &f), -UVM_E_INVAL);
    assert_string_equal(f.msg, "Settings.Path: missing or empty");
    m = scsi(UVM__MODIFY_UPDATE);
    m.has_settings = false;
    assert_int_equal(uvm__modify_build(k.engine, &m, &text, &bytes, &f), -UVM_E_INVAL);
    assert_null(text);
    loop_close(&k);
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    struct loop_kit k;
    int failed = 0;
    loop_open(&k);
    for (long n = 0, ok = 0; ok < 1; n++) {
        struct uvm__modify m = scsi(UVM__MODIFY_ADD), got;
        struct uvm__fail f;
        char *text = NULL;
        size_t bytes;
        k.fail_at = n;
        int built = uvm__modify_build(k.engine, &m, &text, &bytes, &f);
        int read = built < 0 ? built : uvm__modify_read(k.engine, text, bytes, &got, &f);
        ok = k.fail_at > 0; /* the failure was not reached any more */
        k.fail_at = -1;
        assert_true(read == 0 || read == -UVM_E_NOMEM);
        failed += read < 0;
        uvm__free(k.engine, text);
        if (read == 0) {
            uvm__modify_deinit(&got);
        }
    }
    assert_true(failed > 1);
    loop_close(&k);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(built_and_read_back),
        cmocka_unit_test(a_share_is_named_by_its_settings),
        cmocka_unit_test(a_function_is_named_by_its_instance),
        cmocka_unit_test(a_network_adapter),
        cmocka_unit_test(paths_are_written_one_way),
        cmocka_unit_test(a_plan9_share_and_its_port),
        cmocka_unit_test(bad_ones_are_refused_by_name),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
