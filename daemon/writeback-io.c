/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/writeback-io.h"

#include "daemon/job-io.h"
#include "daemon/pairs-io.h"
#include "daemon/standby-io.h"

#include <fcntl.h>
#include <unistd.h>

#define EVERY_S 1

/* sync_file_range(2): begins to write what is dirty, and flushes nothing. A disk that is busy holds up this job, and with it the turns of all others. */
static void
write_out(const char *image)
{
	int fd = open(image, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

	if (fd < 0)
		return;
	sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
	close(fd);
}

static struct json_object *
look(struct job *job, gpointer data, GError **error)
{
	struct host *h = data;
	g_autoptr(GPtrArray) list = pairs_list(h->pairs);

	for (guint i = 0; i < list->len; i++) {
		const struct pair_info *info = g_ptr_array_index(list, i);
		g_autoptr(GPtrArray) images = NULL;

		if (info->record->role != FAILOVER_STANDBY || (info->phase != PAIR_ACTIVE && info->phase != PAIR_FORMING))
			continue;
		images = standby_images(info->record);
		for (guint n = 0; n < images->len; n++)
			write_out(g_ptr_array_index(images, n));
	}
	return json_object_new_object();
}

void
writeback_start(struct host *h)
{
	job_every(EVERY_S, look, h);
}
