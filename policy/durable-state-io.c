/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Replacing a file so that a crash at any moment leaves the old content or the new: write beside it, fsync, rename, fsync the directory (rename(2):
 * "there will be no point at which another process attempting to access newpath will find it missing"). One guard owns the file, so the name beside it
 * is fixed and what a crash left there is removed by the next write.
 */
#include "policy/durable-state-io.h"

#include "policy/small-file-io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static bool
file_error(GError **error, int e, const char *what, const char *path)
{
	g_set_error(error, G_FILE_ERROR, (gint)g_file_error_from_errno(e), "cannot %s %s: %s", what, path, g_strerror(e));
	return false;
}

static int
write_file(const char *path, const char *text)
{
	int fd, e;

	if (unlink(path) < 0 && errno != ENOENT)
		return errno;
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return errno;
	e = small_file_write_all(fd, text, strlen(text));
	if (e == 0 && fsync(fd) < 0)
		e = errno;
	if (close(fd) < 0 && e == 0)
		e = errno;
	return e;
}

bool
durable_state_write(const char *path, const struct durable_state *s, GError **error)
{
	g_autofree char *beside = g_strconcat(path, ".new", NULL);
	g_autofree char *text = NULL;
	int e;

	if (!durable_state_valid(s, error)) {
		g_prefix_error(error, "not written to %s: ", path);
		return false;
	}
	text = durable_state_encode(s);
	e = write_file(beside, text);
	if (e)
		return file_error(error, e, "write", beside);
	if (rename(beside, path) < 0)
		return file_error(error, errno, "replace", path);
	e = small_file_sync_directory_of(path);
	return e ? file_error(error, e, "make durable the directory of", path) : true;
}

bool
durable_state_read(const char *path, struct durable_state *out, GError **error)
{
	g_autofree char *text = NULL;
	size_t length;
	int e = small_file_read(AT_FDCWD, path, DURABLE_STATE_MAX, &text, &length);

	if (e)
		return file_error(error, e, "read", path);
	if (durable_state_decode(text, length, out, error))
		return true;
	g_prefix_error(error, "%s is damaged or not ftd's: ", path);
	return false;
}
