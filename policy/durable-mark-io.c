/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/durable-mark-io.h"

#include "policy/durable-writer-io.h"
#include "policy/small-file-io.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

struct durable_mark {
	struct durable_writer *remover;
};

static bool
failed(GError **error, int e, const char *what, const char *path)
{
	g_set_error(error, G_FILE_ERROR, (gint)g_file_error_from_errno(e), "cannot %s %s: %s", what, path, g_strerror(e));
	return false;
}

static bool
sync_directory_of(const char *path, GError **error)
{
	int e = small_file_sync_directory_of(path);

	return e == 0 || failed(error, e, "make durable the directory of", path);
}

static bool
make(const char *path, GError **error)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0)
		return failed(error, errno, "make", path);
	close(fd);
	if (sync_directory_of(path, error))
		return true;
	unlink(path);
	return false;
}

/* What a state would be written by (durable-writer-io.h); there is none. */
static bool
take_away(const char *path, const struct durable_state *s, GError **error)
{
	if (unlink(path) < 0 && errno != ENOENT)
		return failed(error, errno, "remove", path);
	return sync_directory_of(path, error);
}

struct durable_mark *
durable_mark_new(const char *path, GError **error)
{
	struct durable_mark *m;

	if (!make(path, error))
		return NULL;
	m = g_new0(struct durable_mark, 1);
	m->remover = durable_writer_new(path, take_away);
	return m;
}

void
durable_mark_clear(struct durable_mark *m)
{
	static const struct durable_state none;

	durable_writer_write(m->remover, &none, 0, NULL);
}

bool
durable_mark_cleared(struct durable_mark *m, GError **error)
{
	return durable_writer_done(m->remover, error);
}

void
durable_mark_free(struct durable_mark *m)
{
	if (!m)
		return;
	durable_writer_free(m->remover);
	g_free(m);
}
