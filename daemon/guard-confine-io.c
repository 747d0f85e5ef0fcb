/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which files and ports this guard still needs: its sockets and state, the arbiter's directory, the certificates for a new connection to etcd. */
#include "daemon/base/error.h"
#include "daemon/guard-io.h"
#include "daemon/isolation.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define DNS_PORT 53	/* the resolver's second try */

/* The certificates may be links to where they are renewed; what is renewed has a new name there, so the whole directory is let in. */
static void
add_certificates(GPtrArray *paths, const char *pki)
{
	static const char *const files[] = {
		"CA/cacert.pem", "CA/cacrl.pem", "ftd/servercert.pem", "ftd/private/serverkey.pem", "ftd/clientcert.pem", "ftd/private/clientkey.pem",
	};

	g_ptr_array_add(paths, g_build_filename(pki, "CA", NULL));
	g_ptr_array_add(paths, g_build_filename(pki, "ftd", NULL));
	for (guint i = 0; i < G_N_ELEMENTS(files); i++) {
		g_autofree char *path = g_build_filename(pki, files[i], NULL);
		char *target = realpath(path, NULL);

		if (target)
			g_ptr_array_add(paths, g_path_get_dirname(target));
		free(target);
	}
}

/* 0: not known. */
static guint64
mount_of(const char *path)
{
	struct statx st;

	return statx(AT_FDCWD, path, 0, STATX_MNT_ID, &st) == 0 && (st.stx_mask & STATX_MNT_ID) ? st.stx_mnt_id : 0;
}

/*
 * A file system that is mounted anew at the same place is another one to Landlock, and a guard that lost its arbiter by that would keep its guest waiting for ever. So
 * where the arbiter is on a file system of its own, what is allowed is below the directory that it is mounted in; never the root directory.
 */
static char *
arbiter_place(const char *directory)
{
	g_autofree char *place = g_strdup(directory);
	guint64 mount = mount_of(directory), of_root = mount_of("/");

	if (!mount || mount == of_root)
		return g_steal_pointer(&place);
	while (mount_of(place) == mount && strcmp(place, "/") != 0) {
		char *parent = g_path_get_dirname(place);

		g_free(place);
		place = parent;
	}
	return strcmp(place, "/") == 0 ? g_strdup(directory) : g_steal_pointer(&place);
}

bool
guard_confine_files(const struct guard_io *io, int *level, GError **error)
{
	const struct guard_config *c = io->config;
	const char *directory = arbiter_directory(io->arbiter);
	const guint16 ports[] = { (guint16)c->peer_port, DNS_PORT, 0 };
	g_autoptr(GPtrArray) changed = g_ptr_array_new_with_free_func(g_free), read = g_ptr_array_new_with_free_func(g_free);
	struct isolation_paths paths = { .listens = c->role == FAILOVER_STANDBY };

	g_ptr_array_add(changed, g_strdup(c->run_dir));
	g_ptr_array_add(changed, g_path_get_dirname(c->state_file));
	/* An operator's word may be the first one on this host; what is not there now would be out of reach for ever. A share is there, or must not be made. */
	if (arbiter_is_manual(io->arbiter) && g_mkdir_with_parents(directory, 0700) < 0) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_CONFIG, "%s: %s", directory, g_strerror(errno));
		return false;
	}
	if (directory)
		g_ptr_array_add(changed, arbiter_place(directory));
	add_certificates(read, c->pki);
	g_ptr_array_add(changed, NULL);
	g_ptr_array_add(read, NULL);
	paths.changed = (const char *const *)changed->pdata;
	paths.read = (const char *const *)read->pdata;
	/* etcd's ports are whatever its members say. */
	paths.connect_ports = c->role == FAILOVER_STANDBY && directory ? ports + 1 : directory ? ports : NULL;
	return isolate_files(&paths, level, error);
}
