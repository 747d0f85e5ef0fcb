/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What this host is and has: the answer to a peer's Inspect (peer-check.c has its members), and image files. All of it blocks. */
#pragma once

#include <glib.h>
#include <json-c/json.h>
#include <stdbool.h>
#include <sys/types.h>

struct json_object *host_inspect(const char *host_name, const char *libvirt_uri, struct json_object *request, GError **error);
char *host_cpu_id(void);	/* "AMD EPYC 7543 (1a2b3c4d)": two hosts with the same one show a guest the same CPU; NULL: not known */
bool host_has_hook(void);	/* LIBVIRT_HOOK, and it may be executed */

guint64 host_memory_available_kib(void);

/* The virtual size of an image; FTD_ERROR_PEER_STORAGE with qemu-img's text when it is none of that format. */
bool image_size(const char *path, const char *format, guint64 *size, GError **error);
bool image_create(const char *path, const char *format, guint64 size, GError **error);
/* To QEMU's user; where the file system does not let us, libvirt says whether QEMU can open it. */
void image_give(const char *path, uid_t uid, gid_t gid);
/* Owner and mode of `like`, so that the same QEMU may open both. */
void image_share_owner(const char *path, const char *like);
/* Makes (and removes) the empty file beside an image by which a peer recognises storage that both hosts share. */
bool probe_file_make(const char *image, const char *suffix, GError **error);
void probe_file_remove(const char *image, const char *suffix);
/* An absolute path without "." and "..": the only kind taken from a peer. */
bool path_is_plain(const char *path);
