/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/base/log-io.h"

#define SD_JOURNAL_SUPPRESS_LOCATION	/* the topic says where; macro locations would all be this file */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <systemd/sd-journal.h>
#include <unistd.h>

/* The one piece of process-wide state: written by log_init() before there are threads, read only after it. */
static struct {
	char *program, *domain;
	gboolean journal, debug;
} state;

/* $JOURNAL_STREAM is "device:inode" of the stream systemd connected (systemd.exec(5)); it must be compared, a child may have redirected. */
static gboolean
stderr_is_journal(void)
{
	const char *stream = g_getenv("JOURNAL_STREAM");
	g_autofree char *ours = NULL;
	struct stat st;

	if (fstat(STDERR_FILENO, &st) < 0)
		return TRUE;
	if (S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3))	/* /dev/null: a daemon without a terminal */
		return TRUE;
	ours = g_strdup_printf("%" G_GUINT64_FORMAT ":%" G_GUINT64_FORMAT, (guint64)st.st_dev, (guint64)st.st_ino);
	return g_strcmp0(stream, ours) == 0;
}

void
log_init(const char *program, const char *domain)
{
	g_free(state.program);
	g_free(state.domain);
	state.program = g_strdup(program);
	state.domain = g_strdup(domain);
	state.journal = stderr_is_journal();
	state.debug = g_getenv("FTD_DEBUG") != NULL;
}

/* domain, message_id: NULL leaves the field out. */
static void
to_journal(int priority, const char *message_id, const char *topic, const char *domain, const char *text)
{
	g_autofree char *message = g_strdup_printf("MESSAGE=%s: %s", topic, text);
	g_autofree char *level = g_strdup_printf("PRIORITY=%d", priority);
	g_autofree char *name = g_strdup_printf("SYSLOG_IDENTIFIER=%s", state.program);
	g_autofree char *topic_field = g_strdup_printf("FTD_TOPIC=%s", topic);
	g_autofree char *domain_field = domain ? g_strdup_printf("FTD_DOMAIN=%s", domain) : NULL;
	g_autofree char *id_field = message_id ? g_strdup_printf("MESSAGE_ID=%s", message_id) : NULL;
	char *const fields[] = { message, level, name, topic_field, domain_field, id_field };
	struct iovec iov[G_N_ELEMENTS(fields)];
	int n = 0;

	for (gsize i = 0; i < G_N_ELEMENTS(fields); i++)
		if (fields[i])
			iov[n++] = (struct iovec){ .iov_base = fields[i], .iov_len = strlen(fields[i]) };
	sd_journal_sendv(iov, n);
}

static void
to_stderr(const char *topic, const char *domain, const char *text)
{
	g_autoptr(GDateTime) now = g_date_time_new_now_local();
	g_autofree char *time = g_date_time_format(now, "%H:%M:%S");
	const char *open = domain ? "[" : "", *close = domain ? "]" : "";
	/* One write() per line: lines of several processes on one terminal or file stay whole. */
	g_autofree char *line = g_strdup_printf("%s.%03d %s%s%s%s: %s: %s\n", time, g_date_time_get_microsecond(now) / 1000, state.program ? state.program : "ftd",
						open, domain ? domain : "", close, topic, text);

	if (write(STDERR_FILENO, line, strlen(line)) < 0)
		return;	/* nowhere left to say so */
}

void
log_event(int priority, const char *message_id, const char *topic, const char *domain, const char *text)
{
	if (priority >= 7 && !state.debug)
		return;
	domain = domain ? domain : state.domain;
	if (state.journal)
		to_journal(priority, message_id, topic, domain, text);
	else
		to_stderr(topic, domain, text);
}

void
log_line(int priority, const char *topic, const char *domain, const char *format, ...)
{
	g_autofree char *text = NULL;
	va_list args;

	va_start(args, format);
	text = g_strdup_vprintf(format, args);
	va_end(args);
	log_event(priority, NULL, topic, domain, text);
}
