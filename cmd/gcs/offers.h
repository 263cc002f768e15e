/* SPDX-License-Identifier: MIT
 * offers.h — the guest's end of the offer channel (docs/PROTOCOL-vmbus.md): a process beside /init.  */
#pragma once

/* Where a poke is heard; see uvm__offers_poke(). */
#define UVM__OFFERS_POKE "/run/gcs-offers"

/* Dials the channel; if the host has one, starts the process that shows what is offered (view.h). Called by
 * /init, whose child it becomes. A host that refuses offers nothing.                              */
void uvm__offers_start(void);

/* Tells that process that what the boot needed is done: drivers may be loaded now, which it would else put off for
 * UVM__OFFERS_PATIENCE_MS. Does not block; without such a process nothing happens.                 */
void uvm__offers_poke(void);

#define UVM__OFFERS_PATIENCE_MS 1000 /* for an agent that does not poke */
