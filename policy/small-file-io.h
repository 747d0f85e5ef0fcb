/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whole small files relative to a directory, durably. All return 0 or an errno; the caller knows what the file means and words the error. */
#pragma once

#include <stddef.h>

/* *text (g_free) is NUL-terminated. ELOOP: a symbolic link, EINVAL: not a regular file, EFBIG: longer than max. */
int small_file_read(int directory, const char *name, size_t max, char **text, size_t *length);
int small_file_write_all(int fd, const char *text, size_t length);
/* fsync of a directory; a file system that has no such thing (EINVAL) orders its metadata itself. */
int small_file_sync_directory(int directory);
int small_file_sync_directory_of(const char *path);
int small_file_remove(const char *path);	/* durably; 0 too when there is none */
