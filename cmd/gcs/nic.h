/* SPDX-License-Identifier: MIT
 * nic.h — the parts of the Network resource, for gcs-device: DHCP, and what is remembered for the resolver.
 *
 * Blocking. A configured adapter has a record in GCS_NICS, named by its id: what has to be undone is in it, for
 * the request that removes an adapter says no more than its id.                                     */
#pragma once
#include "async/rtnl.h"
#include "cmd/gcs/device.h"

#define GCS_NICS "/run/uvm/nics"
#define GCS_NIC_ID_BYTES 37u        /* of an adapter's GUID in text, with its end */
#define GCS_NIC_INTERFACE_BYTES 16u /* of an interface's name, with its end */
#define GCS_NIC_ADDRESSES_MAX 16u   /* addresses of one adapter in a request */
#define GCS_NIC_ROUTES_MAX 48u      /* routes of one adapter in a request */
#define GCS_NIC_LIST_BYTES 2048u    /* of DNS servers, and of search domains: comma-separated */
#define GCS_NIC_SEARCH_MAX 6u       /* domains that a resolver tries, of all adapters */
#define GCS_NIC_WAIT_MS 5000u /* for the interface of an adapter that the host said is there */
#define GCS_DHCP_MS 12000u    /* for a lease */

struct gcs_nic {
    char id[GCS_NIC_ID_BYTES]; /* lower-case */
    char interface[GCS_NIC_INTERFACE_BYTES];
    char servers[GCS_NIC_LIST_BYTES], search[GCS_NIC_LIST_BYTES];
    unsigned overhead;
    long dhcp_pid; /* of the client that renews; 0: none */
    size_t addresses_count, routes_count;
    struct uvm__rtnl_address addresses[GCS_NIC_ADDRESSES_MAX];
    struct uvm__rtnl_route routes[GCS_NIC_ROUTES_MAX];
};

/* nic_dhcp.c: asks for a lease on the interface, which is up; fills in addresses, routes and what is empty of the
 * lists. The client goes on and renews. Bounded by GCS_DHCP_MS; a failure leaves no client. */
int gcs_dhcp(struct gcs_nic *n, struct gcs_words *w);
/* Ends the client, which gives the lease back. */
void gcs_dhcp_end(const struct gcs_nic *n);

/* nic_record.c: a new record; an adapter that has one is refused. */
int gcs_nic_claim(const struct gcs_nic *n, struct gcs_words *w);
/* Fills the record in, and makes the resolver's file from all of them. */
int gcs_nic_remember(const struct gcs_nic *n, struct gcs_words *w);
/* What is remembered, by the id. False: nothing. */
bool gcs_nic_recall(struct gcs_nic *n);
/* Likewise with it gone. */
void gcs_nic_forget(const struct gcs_nic *n);
