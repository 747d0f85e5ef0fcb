/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/proxy/cmocka-setup.h"

#include "proxy/askers.h"
#include "tests/proxy/frame-builder.h"

#define MS 1000000ull
#define PSH PACKET_TCP_PSH

static void
inbound(struct askers *a, uint64_t now, unsigned nic, GBytes *frame)
{
	askers_inbound(a, now, nic, frame);
	g_bytes_unref(frame);
}

static void
outbound(struct askers *a, unsigned nic, GBytes *frame)
{
	askers_outbound(a, nic, frame);
	g_bytes_unref(frame);
}

/* From the client's port to the guest's 80, and back. */
#define FROM(CLIENT_PORT, ...) TCP(.port = CLIENT_PORT, .client = 80, .ip = { .source = CLIENT, .destination = GUEST }, __VA_ARGS__)
#define TO(CLIENT_PORT, ...) TCP(.client = CLIENT_PORT, __VA_ARGS__)
#define ask(A, NOW, PORT) inbound(A, NOW, 0, FROM(PORT, .flags = ACK | PSH, .text = "GET"))
#define answer(A, PORT) outbound(A, 0, TO(PORT, .flags = ACK | PSH, .text = "OK"))
#define connect(A, PORT) outbound(A, 0, TO(PORT, .flags = SYN | ACK))

static void
who_is_answered_no_longer_asks(void **state)
{
	struct askers *a = askers_new("seed");

	assert_int_equal(askers_count(a, 0), 0);
	connect(a, 4000);
	connect(a, 4001);
	assert_int_equal(askers_count(a, 0), 0);
	ask(a, 0, 4000);
	ask(a, 0, 4001);
	ask(a, 1, 4001);
	assert_int_equal(askers_count(a, 1), 2);
	answer(a, 4000);
	assert_int_equal(askers_count(a, 1), 1);
	answer(a, 4000);
	outbound(a, 1, TO(4001, .flags = ACK | PSH, .text = "on another NIC"));
	assert_int_equal(askers_count(a, 1), 1);
	answer(a, 4001);
	assert_int_equal(askers_count(a, 1), 0);
	ask(a, 2, 4000);
	assert_int_equal(askers_count(a, 2), 1);
	askers_free(a);
}

/* What asks nothing, and what does not end what the guest has to say. */
static void
acknowledgements_are_neither(void **state)
{
	struct askers *a = askers_new("seed");
	GBytes *icmp = icmp_frame(8, 1, 1, "ping", 0), *none = g_bytes_new_static("", 0);

	connect(a, 4000);
	inbound(a, 0, 0, FROM(4000, .flags = ACK));
	inbound(a, 0, 0, FROM(4000, .flags = ACK | FIN));
	askers_inbound(a, 0, 0, icmp);
	askers_inbound(a, 0, 0, none);
	assert_int_equal(askers_count(a, 0), 0);
	ask(a, 0, 4000);
	outbound(a, 0, TO(4000, .flags = ACK));
	outbound(a, 0, TO(4000, .flags = ACK, .text = "the first part"));
	askers_outbound(a, 0, icmp);
	askers_outbound(a, 0, none);
	assert_int_equal(askers_count(a, 0), 1);
	outbound(a, 0, TO(4000, .flags = ACK | PSH, .text = "the last"));
	assert_int_equal(askers_count(a, 0), 0);
	g_bytes_unref(icmp);
	g_bytes_unref(none);
	askers_free(a);
}

static void
a_connection_that_ended_asks_no_more(void **state)
{
	static const uint8_t ends[] = { FIN | ACK, RST, FIN | ACK | PSH };
	struct askers *a = askers_new("seed");

	for (unsigned i = 0; i < sizeof ends; i++) {
		connect(a, 4000);
		ask(a, 0, 4000);
		outbound(a, 0, TO(4000, .flags = ends[i], .text = i == 2 ? "the last" : ""));
		assert_int_equal(askers_count(a, 0), 0);
		ask(a, 0, 4000);
		assert_int_equal(askers_count(a, 0), 0);
	}
	askers_free(a);
}

/* Logs, broadcasts, scans: whatever the guest has never said anything to. */
static void
strangers_do_not_count(void **state)
{
	struct ip_options from = { .source = CLIENT, .destination = GUEST };
	struct askers *a = askers_new("seed");
	GBytes *query = udp_frame_full(&from, 5000, "query", 0, 0);

	connect(a, 4000);
	ask(a, 0, 4001);
	inbound(a, 0, 0, FROM(4001, .flags = SYN));
	askers_inbound(a, 0, 0, query);
	assert_int_equal(askers_count(a, 0), 0);
	/* udp_frame() sends to port 5000, so a client at 5000 asks a guest there. */
	outbound(a, 0, udp_frame(5000, "answer"));
	askers_inbound(a, 0, 0, query);
	assert_int_equal(askers_count(a, 0), 1);
	outbound(a, 0, udp_frame(53, "of another port"));
	assert_int_equal(askers_count(a, 0), 1);
	outbound(a, 0, udp_frame(5000, "answer"));
	assert_int_equal(askers_count(a, 0), 0);
	g_bytes_unref(query);
	askers_free(a);
}

static void
nobody_is_waited_for_long(void **state)
{
	struct askers *a = askers_new("seed");

	connect(a, 4000);
	connect(a, 4001);
	ask(a, 0, 4000);
	ask(a, 10 * MS, 4001);
	ask(a, 20 * MS, 4000);	/* more of the same */
	assert_int_equal(askers_count(a, ASKERS_PATIENCE_NS - 1), 2);
	assert_int_equal(askers_count(a, ASKERS_PATIENCE_NS), 1);
	ask(a, ASKERS_PATIENCE_NS, 4000);
	assert_int_equal(askers_count(a, 10 * MS + ASKERS_PATIENCE_NS), 0);
	answer(a, 4000);
	ask(a, 10 * MS + ASKERS_PATIENCE_NS, 4000);
	assert_int_equal(askers_count(a, 10 * MS + ASKERS_PATIENCE_NS), 1);
	askers_free(a);
}

/* First who does not ask, then whoever asks for longest. */
static void
the_oldest_makes_room(void **state)
{
	struct askers *a = askers_new("seed");

	for (unsigned i = 1; i <= ASKERS_MAX; i++)
		connect(a, (uint16_t)i);
	for (unsigned i = 2; i <= ASKERS_MAX; i++)
		ask(a, i, (uint16_t)i);
	assert_int_equal(askers_count(a, 0), ASKERS_MAX - 1);
	connect(a, 5000);
	assert_int_equal(askers_count(a, 0), ASKERS_MAX - 1);
	ask(a, 5000, 1);
	assert_int_equal(askers_count(a, 0), ASKERS_MAX - 1);
	ask(a, 5000, 5000);
	assert_int_equal(askers_count(a, 0), ASKERS_MAX);
	connect(a, 5001);
	assert_int_equal(askers_count(a, 0), ASKERS_MAX - 1);
	answer(a, 3);
	assert_int_equal(askers_count(a, 0), ASKERS_MAX - 2);
	askers_free(a);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_is_answered_no_longer_asks),
		cmocka_unit_test(acknowledgements_are_neither),
		cmocka_unit_test(a_connection_that_ended_asks_no_more),
		cmocka_unit_test(strangers_do_not_count),
		cmocka_unit_test(nobody_is_waited_for_long),
		cmocka_unit_test(the_oldest_makes_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
