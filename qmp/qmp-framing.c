/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * QMP is a row of JSON objects with nothing but white space between them (QEMU docs/interop/qmp-spec.rst; QEMU ends each with "\r\n").
 * The tokener finds where an object ends, so line ends carry no meaning here.
 *
 * Limits are checked before the tokener sees a byte, because its memory grows with what it is fed and GLib ends the process when memory is out.
 * Everything that is not white space or '{' between messages, every byte outside ASCII ("sends its output encoded in ASCII", qmp-spec.rst) and every NUL
 * is garbage: a monitor that talks garbage is closed, there is no way to find the next message in it.
 */
#include "qmp/qmp-framing.h"

#include "daemon/base/error.h"
#include "qmp/qmp-json.h"

#include <string.h>

struct qmp_framing {
	struct json_tokener *tokener;
	GQueue messages;	/* struct json_object * */
	size_t max_message;
	size_t length;		/* of the message under construction, 0 between messages */
	bool broken;
};

struct qmp_framing *
qmp_framing_new(size_t max_message)
{
	struct qmp_framing *f = g_new0(struct qmp_framing, 1);

	f->tokener = json_tokener_new_ex(QMP_FRAMING_MAX_DEPTH);
	g_assert(f->tokener);
	json_tokener_set_flags(f->tokener, JSON_TOKENER_STRICT | JSON_TOKENER_ALLOW_TRAILING_CHARS);
	f->max_message = max_message ? max_message : QMP_FRAMING_MAX_MESSAGE;
	g_queue_init(&f->messages);
	return f;
}

static void
put_object(gpointer object)
{
	json_object_put(object);
}

void
qmp_framing_free(struct qmp_framing *f)
{
	if (!f)
		return;
	g_queue_clear_full(&f->messages, put_object);
	json_tokener_free(f->tokener);
	g_free(f);
}

static bool
fail(struct qmp_framing *f, GError **error, enum ftd_error_code code, const char *what)
{
	f->broken = true;
	g_set_error(error, FTD_ERROR, (int)code, "monitor: %s", what);
	return false;
}

static bool
is_space(uint8_t c)
{
	return c == ' ' || c == '\r' || c == '\n' || c == '\t';
}

static size_t
skip_space(const uint8_t *data, size_t length)
{
	size_t n = 0;

	while (n < length && is_space(data[n]))
		n++;
	return n;
}

static bool
is_ascii(const uint8_t *data, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if (data[i] == 0 || data[i] >= 0x80)
			return false;
	return true;
}

/* Feeds the tokener at most what fits under max_message. *used is how much of the input belongs to this message. */
static bool
feed(struct qmp_framing *f, const uint8_t *data, size_t length, size_t *used, GError **error)
{
	size_t n = MIN(length, f->max_message - f->length);
	struct json_object *object = json_tokener_parse_ex(f->tokener, (const char *)data, (int)n);
	enum json_tokener_error result = json_tokener_get_error(f->tokener);

	*used = result == json_tokener_success ? json_tokener_get_parse_end(f->tokener) : n;
	f->length += *used;
	if (result == json_tokener_success) {
		g_queue_push_tail(&f->messages, object);
		json_tokener_reset(f->tokener);
		f->length = 0;
		return true;
	}
	if (result == json_tokener_error_depth)
		return fail(f, error, FTD_ERROR_LIMIT, "a message is nested deeper than " G_STRINGIFY(QMP_FRAMING_MAX_DEPTH) " levels");
	if (result != json_tokener_continue)
		return fail(f, error, FTD_ERROR_PROTOCOL, json_tokener_error_desc(result));
	if (f->length == f->max_message)
		return fail(f, error, FTD_ERROR_LIMIT, "a message is longer than the limit");
	return true;
}

bool
qmp_framing_input(struct qmp_framing *f, const void *data, size_t length, GError **error)
{
	const uint8_t *p = data, *end = p + length;

	if (f->broken)
		return fail(f, error, FTD_ERROR_PROTOCOL, "bytes after an error");
	if (!is_ascii(p, length))
		return fail(f, error, FTD_ERROR_PROTOCOL, "a byte that is not ASCII");
	while (p < end) {
		size_t used;

		if (f->length == 0)
			p += skip_space(p, (size_t)(end - p));
		if (p == end)
			return true;
		if (f->length == 0 && *p != '{')
			return fail(f, error, FTD_ERROR_PROTOCOL, "something other than a JSON object");
		if (f->length == 0 && g_queue_get_length(&f->messages) >= QMP_FRAMING_MAX_QUEUE)
			return fail(f, error, FTD_ERROR_LIMIT, "too many messages at once");
		if (!feed(f, p, MIN((size_t)(end - p), (size_t)G_MAXINT), &used, error))
			return false;
		p += used;
	}
	return true;
}

struct json_object *
qmp_framing_next(struct qmp_framing *f)
{
	return g_queue_pop_head(&f->messages);
}

/* libvirt has decoded and encoded the message again, so it may hold UTF-8: let nothing else through. */
struct json_object *
qmp_framing_parse(const char *text, size_t length, GError **error)
{
	struct json_tokener *tokener;
	struct json_object *object;

	if (length >= QMP_FRAMING_MAX_MESSAGE) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_LIMIT, "monitor: a message is longer than the limit");
		return NULL;
	}
	if (!g_utf8_validate(text, (gssize)length, NULL)) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_PROTOCOL, "monitor: a message is not UTF-8");
		return NULL;
	}
	tokener = json_tokener_new_ex(QMP_FRAMING_MAX_DEPTH);
	g_assert(tokener);
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
	object = json_tokener_parse_ex(tokener, text, (int)length);
	if (!json_object_is_type(object, json_type_object)) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_PROTOCOL, "monitor: %s",
			    object ? "something other than a JSON object" : json_tokener_error_desc(json_tokener_get_error(tokener)));
		g_clear_pointer(&object, json_object_put);
	}
	json_tokener_free(tokener);
	return object;
}
