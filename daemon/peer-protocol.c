/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The FT link's frame codec (ftd-protocol(7)).
 *
 * Every connection of the link carries one channel, agreed by HELLO. The table below is the whole grammar: which frame types exist, on which
 * channels each may travel and how long its payload may be. A header is judged against it before a byte of payload is allocated or read, so
 * neither a broken nor a hostile peer can make this side reserve more than the type's limit. `flags` and `reserved` must be zero: a later
 * version that uses them has to say so in HELLO first.
 */
#include "daemon/peer-protocol.h"

#include "daemon/base/byte-reader.h"
#include "daemon/base/error.h"

#define CONTROL (1u << PEER_CHANNEL_CONTROL)
#define FAST (1u << PEER_CHANNEL_FAST)
#define BULK (1u << PEER_CHANNEL_BULK)
#define DISK (1u << PEER_CHANNEL_DISK)
#define ANY (CONTROL | FAST | BULK | DISK)
G_STATIC_ASSERT(PEER_CHANNEL_LAST == 4);

static const struct peer_type_rule {
	enum peer_type type;
	const char *name;
	unsigned channels;
	uint32_t max_length;
} rules[] = {
	{ PEER_HELLO, "HELLO", ANY, PEER_MAX_CONTROL },
	{ PEER_WELCOME, "WELCOME", ANY, PEER_MAX_CONTROL },
	{ PEER_JSON, "JSON", CONTROL, PEER_MAX_JSON },
	{ PEER_HEARTBEAT, "HEARTBEAT", FAST | DISK, PEER_MAX_CONTROL },
	{ PEER_ARM, "ARM", FAST, PEER_MAX_CONTROL },
	{ PEER_ARMED, "ARMED", FAST, PEER_MAX_CONTROL },
	{ PEER_ABDICATE, "ABDICATE", FAST, PEER_MAX_CONTROL },
	{ PEER_GOODBYE, "GOODBYE", ANY, PEER_MAX_CONTROL },
	{ PEER_READY, "READY", BULK, PEER_MAX_CONTROL },
	{ PEER_LIVE, "LIVE", FAST, PEER_MAX_CONTROL },
	{ PEER_COMMITTED, "COMMITTED", FAST, PEER_MAX_CONTROL },
	{ PEER_SVM_STOPPED, "SVM_STOPPED", FAST, PEER_MAX_CONTROL },
	{ PEER_SVM_LOADED, "SVM_LOADED", FAST, PEER_MAX_CONTROL },
	{ PEER_INBOUND, "INBOUND", FAST, PEER_MAX_CONTROL },
	{ PEER_OUTPUT, "OUTPUT", FAST, PEER_MAX_CONTROL },
	{ PEER_TWIN_LEFT, "TWIN_LEFT", FAST, PEER_MAX_CONTROL },
	{ PEER_DISK_CREDIT, "DISK_CREDIT", FAST, PEER_MAX_CONTROL },
	{ PEER_FAIL, "FAIL", ANY, PEER_MAX_CONTROL },
	{ PEER_UNSENT, "UNSENT", FAST, PEER_MAX_CONTROL },
	{ PEER_STRAY, "STRAY", FAST, PEER_MAX_CONTROL },
	{ PEER_MODE, "MODE", FAST, PEER_MAX_CONTROL },
	{ PEER_COPY_UNFIT, "COPY_UNFIT", FAST, PEER_MAX_CONTROL },
	{ PEER_SWITCHOVER, "SWITCHOVER", FAST, PEER_MAX_CONTROL },
	{ PEER_DISK_WANTED, "DISK_WANTED", FAST, PEER_MAX_CONTROL },
	{ PEER_STREAM, "STREAM", BULK, PEER_MAX_BULK },
	{ PEER_RETURN_PATH, "RETURN_PATH", BULK, PEER_MAX_BULK },
	{ PEER_CHECKPOINT_BEGIN, "CHECKPOINT_BEGIN", BULK, PEER_MAX_CONTROL },
	{ PEER_CHECKPOINT_DATA, "CHECKPOINT_DATA", BULK, PEER_MAX_BULK },
	{ PEER_CHECKPOINT_SEAL, "CHECKPOINT_SEAL", BULK, PEER_MAX_CONTROL },
	{ PEER_CHECKPOINT_PACKED, "CHECKPOINT_PACKED", BULK, PEER_MAX_PACKED },
	{ PEER_DISK_WRITE, "DISK_WRITE", DISK, PEER_MAX_DISK },
	{ PEER_DISK_ZERO, "DISK_ZERO", DISK, PEER_MAX_CONTROL },
	{ PEER_DISK_TRIM, "DISK_TRIM", DISK, PEER_MAX_CONTROL },
	{ PEER_DISK_MARK, "DISK_MARK", DISK, PEER_MAX_CONTROL },
	{ PEER_DISK_COMPARE, "DISK_COMPARE", DISK, PEER_MAX_COMPARE },
};

static const char *const channel_names[] = { "control", "fast", "bulk", "disk" };
G_STATIC_ASSERT(G_N_ELEMENTS(channel_names) == PEER_CHANNEL_LAST);

static const struct peer_type_rule *
find_rule(unsigned type)
{
	for (gsize i = 0; i < G_N_ELEMENTS(rules); i++)
		if (rules[i].type == type)
			return &rules[i];
	return NULL;
}

const char *
peer_type_name(unsigned type)
{
	const struct peer_type_rule *rule = find_rule(type);

	return rule ? rule->name : "unknown";
}

const char *
peer_channel_name(enum peer_channel channel)
{
	return (unsigned)channel < PEER_CHANNEL_LAST ? channel_names[channel] : "unknown";
}

bool
peer_type_allowed(unsigned type, enum peer_channel channel, uint32_t *max_length)
{
	const struct peer_type_rule *rule = find_rule(type);

	if (!rule || (unsigned)channel >= PEER_CHANNEL_LAST || !(rule->channels & 1u << channel))
		return false;
	if (max_length)
		*max_length = rule->max_length;
	return true;
}

void
peer_header_encode(uint8_t out[PEER_HEADER], enum peer_type type, uint32_t length, uint64_t generation)
{
	put_be32(out, PEER_MAGIC);
	put_be16(out + 4, (uint16_t)type);
	put_be16(out + 6, 0);
	put_be32(out + 8, length);
	put_be32(out + 12, 0);
	put_be64(out + 16, generation);
}

bool
peer_header_decode(const uint8_t in[PEER_HEADER], enum peer_channel channel, struct peer_frame *out, GError **error)
{
	struct byte_reader r = byte_reader_init(in, PEER_HEADER);
	uint32_t magic = byte_reader_be32(&r), max = 0;
	uint16_t type = byte_reader_be16(&r), flags = byte_reader_be16(&r);
	uint32_t length = byte_reader_be32(&r), reserved = byte_reader_be32(&r);
	uint64_t generation = byte_reader_be64(&r);

	if (magic != PEER_MAGIC) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_PROTOCOL, "the peer does not speak the FT link protocol (magic %08x)", magic);
		return false;
	}
	if (flags || reserved) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_PROTOCOL, "frame header of type %u has unknown flags (%x, %x)", type, flags, reserved);
		return false;
	}
	if (!peer_type_allowed(type, channel, &max)) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_PROTOCOL, "frame of type %u (%s) does not belong on the %s channel", type, peer_type_name(type),
			    peer_channel_name(channel));
		return false;
	}
	if (length > max) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_PROTOCOL, "%s frame of %u bytes, at most %u are allowed", peer_type_name(type), length, max);
		return false;
	}
	*out = (struct peer_frame){ .type = type, .channel = channel, .generation = generation, .length = length };
	return true;
}

void
peer_hello_encode(uint8_t out[PEER_HELLO_LENGTH], const struct peer_hello *h)
{
	put_be16(out, h->version);
	out[2] = (uint8_t)h->channel;
	memcpy(out + 3, h->pair, sizeof h->pair);
	memcpy(out + 3 + sizeof h->pair, h->token, sizeof h->token);
	G_STATIC_ASSERT(3 + sizeof h->pair + sizeof h->token == PEER_HELLO_LENGTH);
}

bool
peer_hello_other_version(const uint8_t *data, size_t length)
{
	struct byte_reader r = byte_reader_init(data, length);

	return byte_reader_be16(&r) != PEER_VERSION && !r.bad;
}

bool
peer_hello_decode(const uint8_t *data, size_t length, struct peer_hello *out, GError **error)
{
	struct byte_reader r = byte_reader_init(data, length);
	uint16_t version = byte_reader_be16(&r);
	uint8_t channel = byte_reader_u8(&r);
	const uint8_t *pair = byte_reader_bytes(&r, sizeof out->pair), *token = byte_reader_bytes(&r, sizeof out->token);

	/* The version is judged first: a later version may have a longer HELLO, and "other version" is what a person must read then. */
	if (peer_hello_other_version(data, length)) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_PROTOCOL, "the peer speaks version %u of the FT link protocol, this side %u: "
			    "install the same version of ftd on both hosts", version, PEER_VERSION);
		return false;
	}
	if (!byte_reader_done(&r)) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_PROTOCOL, "HELLO of %zu bytes instead of %d", length, PEER_HELLO_LENGTH);
		return false;
	}
	if (channel >= PEER_CHANNEL_LAST) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_PROTOCOL, "HELLO for unknown channel %u", channel);
		return false;
	}
	*out = (struct peer_hello){ .version = version, .channel = channel };
	memcpy(out->pair, pair, sizeof out->pair);
	memcpy(out->token, token, sizeof out->token);
	return true;
}
