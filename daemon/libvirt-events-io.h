/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Domains that end on purpose, as libvirt tells it, also after a restart of libvirtd. Before the main loop and the first connection. */
#pragma once

/* `ended` runs on the main thread, for a domain that was shut down or destroyed (not one whose QEMU crashed). */
void libvirt_events_start(const char *uri, void (*ended)(const char *uuid, void *user_data), void *user_data);
