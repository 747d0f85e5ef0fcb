/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The register as a directory that both hosts can write:
 *
 *   <directory>/<pair>/00000000000000000007.json	generation 7, whole or not there at all
 *   <directory>/<pair>/.claim-*			a claim being written, or left over by a crash: no record, swept when old
 *   <directory>/.probe-<nonce>				"is it the same directory over there?"
 *
 * A claim: create .claim-*, write, fsync, link() it to its generation's name, fsync the directory, unlink .claim-*. link() is the compare-and-swap: it
 * fails with EEXIST when the name is there (link(2): "If newpath exists, it will not be overwritten"), on the server, also over NFS. A crash between any
 * two of these steps leaves no record or a whole and synced one. rename() would replace, and O_EXCL on the final name could leave half a record.
 *
 * What is not trusted: the error of link() (over NFS a repeated request may report failure though the first one worked, link(2) BUGS), so the record
 * that stands is read and its nonce decides; and a record at a generation that does not decode, which is an error to be looked at by a person, never
 * "nobody has it". Generations have no gaps, so a stale directory listing (NFS caches them) can only lead to link() and its EEXIST.
 *
 * All calls on one claim use descriptors of the same directory, so that a mount that comes or goes meanwhile cannot mix two directories.
 */
#include "daemon/base/error.h"
#include "policy/arbiter-backend.h"
#include "policy/small-file-io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define CLAIM_PREFIX ".claim-"
#define STALE_SECONDS 600	/* far beyond any deadline; a claim that is swept under its owner fails, it does not win */
#define GENERATION_DIGITS 20

typedef DIR directory;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(directory, closedir)

/* -- small helpers -------------------------------------------------------------------------------------------------------------- */

G_GNUC_PRINTF(2, 3)
static void
silent(GError **error, const char *format, ...)
{
	va_list args;
	g_autofree char *text = NULL;

	va_start(args, format);
	text = g_strdup_vprintf(format, args);
	va_end(args);
	g_set_error_literal(error, FTD_ERROR, FTD_ERROR_ARBITER_SILENT, text);
}

static void
silent_errno(GError **error, const struct arbiter *a, const char *what, int e)
{
	silent(error, "arbiter %s: cannot %s: %s", a->spec, what, g_strerror(e));
}

static void
close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}
#define autoclose __attribute__((cleanup(close_fd)))

struct generation_name {
	char text[GENERATION_DIGITS + sizeof ".json"];
};

static struct generation_name
name_of(uint64_t generation)
{
	struct generation_name n;

	g_snprintf(n.text, sizeof n.text, "%0*" PRIu64 ".json", GENERATION_DIGITS, generation);
	return n;
}

/* The generation in a file name, 0 for any other name. */
static uint64_t
generation_of(const char *name)
{
	uint64_t g = 0;

	if (strspn(name, "0123456789") == GENERATION_DIGITS && strcmp(name + GENERATION_DIGITS, ".json") == 0)
		g = g_ascii_strtoull(name, NULL, 10);
	return g <= ARBITER_GENERATION_MAX ? g : 0;
}

static int
open_directory(int at, const char *path)
{
	return openat(at, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int
open_base(const struct arbiter *a, GError **error)
{
	int fd = open_directory(AT_FDCWD, a->location);

	if (fd < 0 && errno == ENOENT)
		silent(error, "arbiter %s: the directory does not exist on this host; mount the share or create it (it must be the same directory on both "
		       "hosts), or correct arbiter= in ftd.conf", a->spec);
	else if (fd < 0)
		silent_errno(error, a, "open the directory", errno);
	return fd;
}

/* The names in a directory, NULL-terminated; NULL: errno. */
static GPtrArray *
list_names(int fd)
{
	int copy = open_directory(fd, ".");	/* its own read position: fdopendir() takes the descriptor over */
	g_autoptr(directory) d = copy < 0 ? NULL : fdopendir(copy);
	g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
	struct dirent *e;

	if (!d) {
		if (copy >= 0)
			close(copy);
		return NULL;
	}
	errno = 0;
	while ((e = readdir(d)))
		g_ptr_array_add(names, g_strdup(e->d_name));
	return errno ? NULL : g_steal_pointer(&names);
}

/* -- reading -------------------------------------------------------------------------------------------------------------------- */

/* 1: *out is the record of that generation; 0: there is none; -1: error. */
static int
read_record(struct arbiter *a, int fd, const char *pair, uint64_t generation, struct arbiter_record *out, GError **error)
{
	struct generation_name name = name_of(generation);
	g_autofree char *text = NULL;
	g_autoptr(GError) cause = NULL;
	struct arbiter_record r;
	size_t length;
	int e = small_file_read(fd, name.text, ARBITER_RECORD_MAX, &text, &length);

	if (e == ENOENT)
		return 0;
	if (e) {
		silent(error, "arbiter %s: cannot read %s/%s: %s", a->spec, pair, name.text, g_strerror(e));
		return -1;
	}
	if (!arbiter_record_decode(text, length, &r, &cause)) {
		silent(error, "arbiter %s: %s/%s is damaged or not ftd's (%s); nobody may go on alone until it is repaired or removed by hand", a->spec,
		       pair, name.text, cause->message);
		return -1;
	}
	if (r.generation != generation || strcmp(r.pair, pair) != 0) {
		silent(error, "arbiter %s: %s/%s is the record of generation %" PRIu64 " of %s", a->spec, pair, name.text, r.generation, r.pair);
		return -1;
	}
	*out = r;
	return 1;
}

static bool
newest_generation(const struct arbiter *a, int fd, uint64_t *newest, GError **error)
{
	g_autoptr(GPtrArray) names = list_names(fd);

	if (!names) {
		silent_errno(error, a, "list the pair's directory", errno);
		return false;
	}
	*newest = 0;
	for (guint i = 0; i < names->len; i++)
		*newest = MAX(*newest, generation_of(names->pdata[i]));
	return true;
}

/* The record that the listing showed. */
static bool
read_newest(struct arbiter *a, int fd, const char *pair, uint64_t generation, struct arbiter_record *out, GError **error)
{
	int found = read_record(a, fd, pair, generation, out, error);

	if (found == 0)
		silent(error, "arbiter %s: generation %" PRIu64 " of pair %s vanished while it was read", a->spec, generation, pair);
	return found > 0;
}

int
arbiter_file_read(struct arbiter *a, const char *pair, struct arbiter_record *out, GError **error)
{
	autoclose int base = open_base(a, error);
	autoclose int fd = -1;
	uint64_t newest;

	if (base < 0)
		return -1;
	fd = open_directory(base, pair);
	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fd < 0) {
		silent_errno(error, a, "open the pair's directory", errno);
		return -1;
	}
	if (!newest_generation(a, fd, &newest, error))
		return -1;
	if (newest == 0)
		return 0;
	return read_newest(a, fd, pair, newest, out, error) ? 1 : -1;
}

/* -- claiming ------------------------------------------------------------------------------------------------------------------- */

/* Makes the pair's directory; synced also when it is there already, for whoever made it may have crashed before. */
static bool
make_pair(struct arbiter *a, int base, const char *pair, GError **error)
{
	int e = mkdirat(base, pair, 0755) < 0 && errno != EEXIST ? errno : 0;

	if (!e) {
		arbiter_step(a, "mkdir");
		e = small_file_sync_directory(base);
	}
	if (e)
		silent_errno(error, a, "make the pair's directory", e);
	else
		arbiter_step(a, "sync-base");
	return e == 0;
}

/* Opens the pair's directory; only a pair's first generation makes it, or any when gaps are allowed. */
static int
open_pair(struct arbiter *a, int base, const struct arbiter_record *claim, bool gaps, GError **error)
{
	int fd;

	if ((claim->generation == 1 || gaps) && !make_pair(a, base, claim->pair, error))
		return -1;
	fd = open_directory(base, claim->pair);
	if (fd < 0)
		silent(error, "arbiter %s: cannot open the directory of pair %s: %s; is it the directory that the pair was formed with?", a->spec, claim->pair,
		       g_strerror(errno));
	return fd;
}

/* A whole, synced, closed file beside the records (NFS reports the last write errors on close); *written_at is the file server's time. */
static bool
write_claim(struct arbiter *a, int fd, const char *name, const struct arbiter_record *claim, time_t *written_at, GError **error)
{
	g_autofree char *text = arbiter_record_encode(claim);
	int file = openat(fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	int e = file < 0 ? errno : 0;
	struct stat st = { 0 };

	if (!e) {
		arbiter_step(a, "create");
		e = small_file_write_all(file, text, strlen(text));
	}
	if (!e) {
		arbiter_step(a, "write");
		e = fsync(file) < 0 || fstat(file, &st) < 0 ? errno : 0;
	}
	if (file >= 0 && close(file) < 0 && !e)
		e = errno;
	if (e) {
		silent_errno(error, a, "write a claim", e);
		return false;
	}
	arbiter_step(a, "sync");
	*written_at = st.st_mtime;
	return true;
}

/* What claims left by crashes; `now` is the file server's own clock. Best effort. */
static void
sweep(int fd, time_t now)
{
	g_autoptr(GPtrArray) names = list_names(fd);
	struct stat st;

	for (guint i = 0; names && i < names->len; i++) {
		const char *name = names->pdata[i];
		if (g_str_has_prefix(name, CLAIM_PREFIX) && fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_mtime < now - STALE_SECONDS)
			unlinkat(fd, name, 0);
	}
}

/* The record that stands decides. A grant is given out only when it would survive the server's crash. */
static enum arbiter_verdict
judge(struct arbiter *a, int fd, const struct arbiter_record *claim, const struct arbiter_record *standing, struct arbiter_record *holder, GError **error)
{
	int e;

	if (arbiter_judge(claim, standing) == ARBITER_DENIED) {
		*holder = *standing;
		return ARBITER_DENIED;
	}
	e = small_file_sync_directory(fd);
	if (e) {
		silent_errno(error, a, "make the claim durable", e);
		return ARBITER_SILENT;
	}
	arbiter_step(a, "sync-directory");
	*holder = standing ? *standing : *claim;
	return ARBITER_GRANTED;
}

/* link() did not say yes: perhaps it worked all the same, perhaps somebody was first. */
static enum arbiter_verdict
after_failed_link(struct arbiter *a, int fd, int e, const struct arbiter_record *claim, struct arbiter_record *holder, GError **error)
{
	struct arbiter_record standing;
	int found = read_record(a, fd, claim->pair, claim->generation, &standing, error);

	if (found > 0)
		return judge(a, fd, claim, &standing, holder, error);
	if (found == 0)
		silent_errno(error, a, e == EPERM || e == EOPNOTSUPP ? "link() a claim (a file system without hard links cannot be an arbiter)" : "link() a claim", e);
	return ARBITER_SILENT;
}

/* Not GLib's random numbers: a forked process repeats its parent's. */
static char *
claim_name(const struct arbiter *a, const struct arbiter_record *claim, GError **error)
{
	uint64_t unique[2];

	if (getrandom(unique, sizeof unique, 0) != sizeof unique) {
		silent_errno(error, a, "make a file name", errno);
		return NULL;
	}
	return g_strdup_printf(CLAIM_PREFIX "%" PRIu64 "-%s-%016" PRIx64 "%016" PRIx64, claim->generation, claim->nonce, unique[0], unique[1]);
}

static enum arbiter_verdict
write_generation(struct arbiter *a, int fd, const struct arbiter_record *claim, struct arbiter_record *holder, GError **error)
{
	g_autofree char *name = claim_name(a, claim, error);
	struct generation_name final = name_of(claim->generation);
	enum arbiter_verdict verdict = ARBITER_SILENT;
	time_t written_at;

	if (!name)
		return verdict;
	if (!write_claim(a, fd, name, claim, &written_at, error)) {
		unlinkat(fd, name, 0);
		return verdict;
	}
	if (linkat(fd, name, fd, final.text, 0) == 0) {
		arbiter_step(a, "link");
		verdict = judge(a, fd, claim, NULL, holder, error);
	} else {
		verdict = after_failed_link(a, fd, errno, claim, holder, error);
	}
	unlinkat(fd, name, 0);
	arbiter_step(a, "unlink");
	sweep(fd, written_at);
	return verdict;
}

/* The claim's generation, and perhaps later ones, are taken: ours only if both that one and the newest are. */
static enum arbiter_verdict
judge_taken(struct arbiter *a, int fd, const struct arbiter_record *claim, uint64_t newest, struct arbiter_record *holder, GError **error)
{
	struct arbiter_record last, standing;

	if (!read_newest(a, fd, claim->pair, newest, &last, error))
		return ARBITER_SILENT;
	if (strcmp(last.nonce, claim->nonce) != 0 || strcmp(last.active, claim->active) != 0) {
		*holder = last;
		return ARBITER_DENIED;
	}
	if (!read_newest(a, fd, claim->pair, claim->generation, &standing, error))
		return ARBITER_SILENT;
	return judge(a, fd, claim, &standing, holder, error);
}

enum arbiter_verdict
arbiter_file_claim(struct arbiter *a, const struct arbiter_record *claim, bool gaps, struct arbiter_record *holder, GError **error)
{
	autoclose int base = open_base(a, error);
	autoclose int fd = base < 0 ? -1 : open_pair(a, base, claim, gaps, error);
	struct arbiter_record last;
	uint64_t newest;

	if (fd < 0 || !newest_generation(a, fd, &newest, error))
		return ARBITER_SILENT;
	if (newest >= claim->generation)
		return judge_taken(a, fd, claim, newest, holder, error);
	if (newest + 1 == claim->generation || gaps)	/* on top of a record that is one */
		return newest == 0 || read_newest(a, fd, claim->pair, newest, &last, error) ? write_generation(a, fd, claim, holder, error) : ARBITER_SILENT;
	silent(error, "arbiter %s: knows pair %s up to generation %" PRIu64 " only, %" PRIu64 " was claimed; is it the directory that the pair was formed with?",
	       a->spec, claim->pair, newest, claim->generation);
	return ARBITER_SILENT;
}

static enum arbiter_verdict
file_claim(struct arbiter *a, const struct arbiter_record *claim, struct arbiter_record *holder, GError **error)
{
	return arbiter_file_claim(a, claim, false, holder, error);
}

/* -- forgetting ----------------------------------------------------------------------------------------------------------------- */

static gint
by_name(gconstpointer a, gconstpointer b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Lowest generation first: until the last file goes, the newest stands and no old claim can be granted. */
static bool
remove_records(struct arbiter *a, int fd, GError **error)
{
	g_autoptr(GPtrArray) names = list_names(fd);

	if (!names) {
		silent_errno(error, a, "list the pair's directory", errno);
		return false;
	}
	g_ptr_array_sort(names, by_name);
	for (guint i = 0; i < names->len; i++) {
		const char *name = names->pdata[i];
		if (!generation_of(name) && !g_str_has_prefix(name, CLAIM_PREFIX))
			continue;
		if (unlinkat(fd, name, 0) < 0 && errno != ENOENT) {
			silent_errno(error, a, "remove a record", errno);
			return false;
		}
		arbiter_step(a, "remove");
	}
	return true;
}

bool
arbiter_file_forget(struct arbiter *a, const char *pair, GError **error)
{
	autoclose int base = open_base(a, error);
	autoclose int fd = -1;

	if (base < 0)
		return false;
	fd = open_directory(base, pair);
	if (fd < 0 && errno == ENOENT)
		return true;
	if (fd < 0) {
		silent_errno(error, a, "open the pair's directory", errno);
		return false;
	}
	if (!remove_records(a, fd, error))
		return false;
	if (unlinkat(base, pair, AT_REMOVEDIR) < 0 && errno != ENOENT) {
		silent_errno(error, a, "remove the pair's directory", errno);
		return false;
	}
	return true;
}

/* -- the probe ------------------------------------------------------------------------------------------------------------------- */

struct probe_name {
	char text[64];
};

static struct probe_name
probe_name_of(const char *nonce)
{
	struct probe_name n;

	g_snprintf(n.text, sizeof n.text, ".probe-%s", nonce);
	return n;
}

static bool
file_probe_write(struct arbiter *a, const char *nonce, GError **error)
{
	autoclose int base = open_base(a, error);
	autoclose int file = -1;
	int e;

	if (base < 0)
		return false;
	file = openat(base, probe_name_of(nonce).text, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
	e = file < 0 ? errno : small_file_write_all(file, nonce, strlen(nonce));
	if (!e && fsync(file) < 0)
		e = errno;
	if (!e)
		e = small_file_sync_directory(base);
	if (e)
		silent_errno(error, a, "write to the directory", e);
	return e == 0;
}

static bool
file_probe_read(struct arbiter *a, const char *nonce, GError **error)
{
	autoclose int base = open_base(a, error);
	g_autofree char *text = NULL;
	size_t length;
	int e;

	if (base < 0)
		return false;
	e = small_file_read(base, probe_name_of(nonce).text, 64, &text, &length);
	if (e && e != ENOENT) {
		silent_errno(error, a, "read from the directory", e);
		return false;
	}
	if (e == 0 && strcmp(text, nonce) == 0)
		return true;
	g_set_error(error, FTD_ERROR, FTD_ERROR_ARBITER_NOT_SHARED,
		    "arbiter %s: what the other host wrote there is not here; both hosts must mount the same share at this directory", a->spec);
	return false;
}

static void
file_probe_remove(struct arbiter *a, const char *nonce)
{
	autoclose int base = open_directory(AT_FDCWD, a->location);

	if (base >= 0)
		unlinkat(base, probe_name_of(nonce).text, 0);
}

static bool
file_open(struct arbiter *a, const char *pki, GError **error)
{
	if (g_path_is_absolute(a->location))
		return true;
	g_set_error(error, FTD_ERROR, FTD_ERROR_CONFIG, "arbiter %s: the directory must be given from the root, as in file:/srv/ftd", a->spec);
	return false;
}

const struct arbiter_backend arbiter_file_backend = {
	.kind = "file",
	.has_directory = true,
	.open = file_open,
	.claim = file_claim,
	.read = arbiter_file_read,
	.forget = arbiter_file_forget,
	.probe_write = file_probe_write,
	.probe_read = file_probe_read,
	.probe_remove = file_probe_remove,
};
