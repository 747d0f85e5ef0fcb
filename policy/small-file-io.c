/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/small-file-io.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <unistd.h>

static int
check_file(int fd, size_t max)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return errno;
	if (!S_ISREG(st.st_mode))
		return EINVAL;
	return (guint64)st.st_size > max ? EFBIG : 0;
}

/* Reads to the end; the file may grow meanwhile, the buffer does not. */
static int
read_all(int fd, char *buffer, size_t size, size_t *length)
{
	*length = 0;
	while (*length < size) {
		ssize_t n = read(fd, buffer + *length, size - *length);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno;
		if (n == 0)
			return 0;
		*length += (size_t)n;
	}
	return EFBIG;
}

int
small_file_read(int directory, const char *name, size_t max, char **text, size_t *length)
{
	/* O_NONBLOCK: a FIFO put there must not hang us; it has no effect on regular files. */
	int fd = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	g_autofree char *buffer = NULL;
	int e;

	if (fd < 0)
		return errno;
	e = check_file(fd, max);
	if (e == 0) {
		buffer = g_malloc(max + 1);
		e = read_all(fd, buffer, max + 1, length);
	}
	close(fd);
	if (e)
		return e;
	buffer[*length] = '\0';
	*text = g_steal_pointer(&buffer);
	return 0;
}

int
small_file_write_all(int fd, const char *text, size_t length)
{
	while (length > 0) {
		ssize_t n = write(fd, text, length);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno;
		text += n;
		length -= (size_t)n;
	}
	return 0;
}

int
small_file_sync_directory(int directory)
{
	return fsync(directory) < 0 && errno != EINVAL && errno != ENOTSUP ? errno : 0;
}

int
small_file_sync_directory_of(const char *path)
{
	g_autofree char *directory = g_path_get_dirname(path);
	int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int e;

	if (fd < 0)
		return errno;
	e = small_file_sync_directory(fd);
	close(fd);
	return e;
}

int
small_file_remove(const char *path)
{
	if (unlink(path) < 0)
		return errno == ENOENT ? 0 : errno;
	return small_file_sync_directory_of(path);
}
