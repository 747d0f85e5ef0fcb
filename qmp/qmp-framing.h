/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Bytes from a monitor socket, in any split, to whole JSON objects. Pure. */
#pragma once

#include <glib.h>
#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>

#define QMP_FRAMING_MAX_MESSAGE (16 * 1024 * 1024)	/* bytes of one message; a long query-named-block-nodes is well below 1 MiB */
#define QMP_FRAMING_MAX_DEPTH 64			/* nesting; QEMU's own parser stops at 1024, its replies at about a dozen */
#define QMP_FRAMING_MAX_QUEUE 4096			/* whole messages that nobody has taken yet */

struct qmp_framing;
typedef struct qmp_framing qmp_framing;
struct qmp_framing *qmp_framing_new(size_t max_message);	/* 0: QMP_FRAMING_MAX_MESSAGE */
void qmp_framing_free(struct qmp_framing *f);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(qmp_framing, qmp_framing_free)

/* False: this is not QMP (FTD_ERROR_PROTOCOL) or too much of it (FTD_ERROR_LIMIT); the framing is broken from then on. Messages completed before stay. */
bool qmp_framing_input(struct qmp_framing *f, const void *data, size_t length, GError **error);
/* The next whole object, NULL when there is none. The caller owns it. */
struct json_object *qmp_framing_next(struct qmp_framing *f);

/* A whole message that came as one text (libvirt's API), under the same limits. NULL + error. */
struct json_object *qmp_framing_parse(const char *text, size_t length, GError **error);
