/* SPDX-License-Identifier: MIT
 * nic_int.h — network adapters, for the files of this room.
 */
#pragma once
#include "devices/nic.h"
#include "hcs/compute_service.h"
#include <cjson/cJSON.h>

extern const char *const uvm__nic_type_names[UVM__NIC_TYPE_MAX];

/* nic_guest.c: the Settings of the guest's Network request, to add or to remove. `config`: what the host knows; NULL
 * to remove. NULL: no memory. */
cJSON *uvm__nic_guest_settings(const struct uvm__nic_params *p, const char *guid, const char *mac,
                               const struct uvm__hcs_nic_config *config);
