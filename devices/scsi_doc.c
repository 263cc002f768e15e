/* SPDX-License-Identifier: MIT
 * scsi_doc.c — the requests of a disk's life, as hcsshim's schema2 and guestresource have them.
 *
 * All are made when the disk or the mount is reserved: what takes something back later needs no memory.
 * To the host: Add and Remove of Scsi/<controller GUID>/Attachments/<lun>. To the guest: MappedVirtualDisk
 * Add and Remove, the second with everything that the first had, the first without a path where the guest
 * is only to see the disk; SCSIDevice Remove. Zeros are left out.
 */
#include "devices/scsi_int.h"
#include <inttypes.h>
#include <stdio.h>

static struct uvm__modify request_of(const struct uvm__scsi_disk *disk,
                                     enum uvm__modify_verb verb) {
    struct uvm__modify m = {.verb = verb, .kind = UVM__MODIFY_SCSI, .number = disk->lun};
    (void)snprintf(m.guid, sizeof m.guid, "%s", uvm__doc_scsi_controller_guids[disk->controller]);
    return m;
}

void uvm__scsi_resource(const struct uvm__scsi_disk *disk, char ret[UVM__MODIFY_PATH_BYTES]) {
    const struct uvm__modify m = request_of(disk, UVM__MODIFY_REMOVE);
    struct uvm__fail f;
    int rc = uvm__modify_path(&m, ret, &f);
    UVM_ASSERT(rc == 0);
}

static int host_request(struct uvm__scsi_disk *disk, bool add, char **ret) {
    struct uvm__modify m = request_of(disk, add ? UVM__MODIFY_ADD : UVM__MODIFY_REMOVE);
    struct uvm__fail f;
    size_t bytes;
    if (add) {
        m.has_settings = true;
        m.settings.scsi =
            (struct uvm__doc_scsi_attachment){.lun = disk->lun,
                                              .type = disk->physical ? "PassThru" : "VirtualDisk",
                                              .path = disk->path,
                                              .read_only = disk->read_only};
    }
    return uvm__modify_build(disk->devices->engine, &m, ret, &bytes, &f);
}

static bool put_number(cJSON *o, const char *key, uint64_t value) {
    return value == 0 || uvm__json_add_u64(o, key, value) != NULL;
}

static bool put_flag(cJSON *o, const char *key, bool value) {
    return !value || cJSON_AddTrueToObject(o, key) != NULL;
}

static bool put_text(cJSON *o, const char *key, const char *value) {
    return value == NULL || value[0] == 0 || cJSON_AddStringToObject(o, key, value) != NULL;
}

static int eject_request(struct uvm__scsi_disk *disk, char **ret) {
    cJSON *root = uvm__guest_request("SCSIDevice", false);
    cJSON *settings = cJSON_CreateObject();
    bool ok = root != NULL && settings != NULL &&
              put_number(settings, "Controller", disk->controller) &&
              put_number(settings, "Lun", disk->lun);
    return uvm__guest_request_text(disk->devices->engine, root, settings, ok, ret);
}

static bool put_options(cJSON *settings, const char *const *options) {
    if (options == NULL || options[0] == NULL) {
        return true;
    }
    cJSON *array = cJSON_AddArrayToObject(settings, "Options");
    for (size_t i = 0; array != NULL && options[i] != NULL; i++) {
        cJSON *s = cJSON_CreateString(options[i]);
        if (s == NULL || !cJSON_AddItemToArray(array, s)) {
            cJSON_Delete(s);
            return false;
        }
    }
    return array != NULL;
}

bool uvm__scsi_put_verity(cJSON *settings, const char *root) {
    cJSON *info = root == NULL ? NULL : cJSON_AddObjectToObject(settings, "VerityInfo");
    return root == NULL || (info != NULL && cJSON_AddTrueToObject(info, "SuperBlock") != NULL &&
                            cJSON_AddStringToObject(info, "RootDigest", root) != NULL);
}

static int mount_request(struct uvm__scsi_mount *m, bool add, char **ret) {
    const struct uvm__scsi_params *w = m->want;
    const struct uvm__scsi_disk *disk = m->disk;
    cJSON *root = uvm__guest_request("MappedVirtualDisk", add);
    cJSON *s = cJSON_CreateObject();
    bool ok = root != NULL && s != NULL && put_text(s, "MountPath", m->guest_path) &&
              put_number(s, "Lun", disk->lun) && put_number(s, "Controller", disk->controller) &&
              put_number(s, "Partition", w->partition) && put_flag(s, "ReadOnly", w->read_only) &&
              put_flag(s, "Encrypted", w->encrypted) && put_options(s, w->options) &&
              put_flag(s, "BlockDev", w->block_dev) &&
              put_flag(s, "EnsureFilesystem", w->ensure_filesystem) &&
              put_text(s, "Filesystem", w->filesystem) && uvm__scsi_put_verity(s, w->verity);
    return uvm__guest_request_text(disk->devices->engine, root, s, ok, ret);
}

int uvm__scsi_disk_requests(struct uvm__scsi_disk *disk) {
    int rc = host_request(disk, true, &disk->add);
    rc = rc < 0 ? rc : eject_request(disk, &disk->eject);
    return rc < 0 ? rc : host_request(disk, false, &disk->remove);
}

int uvm__scsi_mount_requests(struct uvm__scsi_mount *m) {
    int rc = mount_request(m, true, &m->mount);
    return rc < 0 ? rc : mount_request(m, false, &m->unmount);
}
