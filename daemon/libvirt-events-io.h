/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What happens to domains, as libvirt tells it, also after a restart of libvirtd. To be started before the main loop and the first connection. */
#pragma once

#include <stdbool.h>

enum domain_news {
	DOMAIN_ENDED,		/* shut down or destroyed (not: its QEMU crashed) */
	DOMAIN_STOPPED,		/* the guest's CPUs were stopped at `detail` (microseconds of the wall clock): by somebody, or by a checkpoint */
	DOMAIN_STARTED,		/* the guest's CPUs were started at `detail` (likewise): by somebody, or by a checkpoint */
	DOMAIN_OFF,		/* the guest has switched itself off or panicked; whether it ends or is reset is libvirt's business */
	DOMAIN_ON,		/* it was started, but not by the end of a checkpoint in which it had switched itself off */
	DOMAIN_RESUMED,		/* it runs again; told after every checkpoint's stop, too */
	DOMAIN_PANICKED,	/* the guest said so (pvpanic) */
	DOMAIN_DISK_ERROR,	/* a disk reported an error to the guest, or stopped it: `detail` names the disk */
};

struct domain_watcher {
	bool (*cares)(const char *uuid, void *user_data);	/* about its being suspended and resumed */
	void (*news)(const char *uuid, enum domain_news news, const char *detail, void *user_data);
};

/* Both run on the main thread. The watcher is kept. */
void libvirt_events_start(const char *uri, const struct domain_watcher *watcher, void *user_data);
