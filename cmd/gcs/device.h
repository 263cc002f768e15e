/* SPDX-License-Identifier: MIT
 * device.h — one ModifySettings request about a device, done by a process of its own.
 *
 * Mounting, formatting and waiting for a disk block, and the agent has a loop; so it starts
 * `gcs-device RESOURCE REQUEST SETTINGS` (worker.h), which is plain blocking C. Status 0: done.
 * GCS_DEVICE_FAILED: stderr has the words for the host, and what was begun was taken back.
 * GCS_DEVICE_BAD_SETTINGS: the same, and the settings were to blame.
 * It works in a guest of ours only (gcs.h, the marker).                                           */
#pragma once
#include <cjson/cJSON.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { GCS_DEVICE_DONE, GCS_DEVICE_FAILED, GCS_DEVICE_BAD_SETTINGS };

#define GCS_DEVICE_SETTINGS_BYTES 65536u /* as an argument of a program; more is refused */
#define GCS_DEVICE_WAIT_MS 10000u        /* for a disk that the host said is there */

/* Why a request failed: the words, and the status. */
struct gcs_words {
    int status;
    bool unreadable; /* it was the disk: it could not be read, which may pass */
    char text[1024];
};
/* Both return -1. */
int gcs_fail(struct gcs_words *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int gcs_bad(struct gcs_words *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Members of settings, as encoding/json reads them: absent and null leave zero. 0, or -1. */
int gcs_setting_u64(const cJSON *settings, const char *key, uint64_t max, uint64_t *ret,
                    struct gcs_words *w);
int gcs_setting_bool(const cJSON *settings, const char *key, bool *ret, struct gcs_words *w);
/* *ret is "" where it is absent, and lives as long as the tree. */
int gcs_setting_text(const cJSON *settings, const char *key, const char **ret, struct gcs_words *w);

/* The requests: 0, or -1 with the words. device_scsi.c: */
int gcs_scsi_mount(const cJSON *settings, struct gcs_words *w);
int gcs_scsi_unmount(const cJSON *settings, struct gcs_words *w);
int gcs_scsi_unplug(const cJSON *settings, struct gcs_words *w);
/* device_nic.c: */
int gcs_nic_add(const cJSON *settings, struct gcs_words *w);
int gcs_nic_remove(const cJSON *settings, struct gcs_words *w);
/* device_plan9.c: */
int gcs_plan9_mount(const cJSON *settings, struct gcs_words *w);
int gcs_plan9_unmount(const cJSON *settings, struct gcs_words *w);
/* device_vpmem.c: */
int gcs_vpmem_mount(const cJSON *settings, struct gcs_words *w);
int gcs_vpmem_unmount(const cJSON *settings, struct gcs_words *w);
/* device_vpci.c: */
int gcs_vpci_wait(const cJSON *settings, struct gcs_words *w);
/* device_vsmb.c: */
int gcs_vsmb_mount(const cJSON *settings, struct gcs_words *w);
int gcs_vsmb_unmount(const cJSON *settings, struct gcs_words *w);
/* device_layers.c: */
int gcs_layers_mount(const cJSON *settings, struct gcs_words *w);
int gcs_layers_unmount(const cJSON *settings, struct gcs_words *w);
