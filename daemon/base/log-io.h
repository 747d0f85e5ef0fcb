/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One line per event, each with a topic ("link", "failover"): to the journal with fields FTD_TOPIC and FTD_DOMAIN when standard error goes there (or
 * nowhere), else to standard error as "HH:MM:SS.mmm ftd-guard[domain]: topic: text". Only programs and shells log; cores return reasons.
 */
#pragma once

#include <glib.h>

/* Once, before threads. domain: NULL for a process that serves all. Debug lines come with FTD_DEBUG in the environment. */
void log_init(const char *program, const char *domain);

/* A line about `domain` (NULL: that of log_init) at syslog priority 3 .. 7. */
void log_line(int priority, const char *topic, const char *domain, const char *format, ...) G_GNUC_PRINTF(4, 5);
/* The same with the journal's MESSAGE_ID (NULL: none). */
void log_event(int priority, const char *message_id, const char *topic, const char *domain, const char *text);

#define log_error(topic, ...) log_line(3, topic, NULL, __VA_ARGS__)
#define log_warn(topic, ...) log_line(4, topic, NULL, __VA_ARGS__)
#define log_info(topic, ...) log_line(6, topic, NULL, __VA_ARGS__)
#define log_debug(topic, ...) log_line(7, topic, NULL, __VA_ARGS__)
