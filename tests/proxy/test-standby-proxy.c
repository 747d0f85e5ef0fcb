/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/proxy/cmocka-setup.h"

#include "proxy/standby-proxy.h"
#include "proxy/packet.h"
#include "proxy/wire-frame.h"
#include "tests/proxy/frame-builder.h"

#include <string.h>

static const struct standby_proxy_limits roomy = { 1 << 20, 1 << 20 };

static GBytes *
text(const char *s)
{
	return g_bytes_new(s, strlen(s));
}

static void
in(struct standby_proxy *p, uint64_t epoch, const char *s)
{
	g_autoptr(GBytes) b = text(s);

	standby_proxy_inbound(p, epoch, 0, b);
}

static void
out(struct standby_proxy *p, const char *s)
{
	g_autoptr(GBytes) b = text(s);

	standby_proxy_output(p, 1, b);
}

/* The actions so far as text: "inject a; peer 1@1 x; lan y". */
static void
expect(struct standby_proxy *p, const char *want)
{
	g_autoptr(GString) s = g_string_new(NULL);
	struct standby_proxy_action a;

	while (standby_proxy_next(p, &a)) {
		gsize n;
		const char *data = g_bytes_get_data(a.frame, &n);

		if (s->len)
			g_string_append(s, "; ");
		if (a.type == STANDBY_PROXY_INJECT)
			g_string_append(s, "inject ");
		else if (a.type == STANDBY_PROXY_TO_LAN)
			g_string_append(s, "lan ");
		else
			g_string_append_printf(s, "peer %d@%d ", (int)a.id, (int)a.epoch);
		g_string_append_len(s, data, (gssize)n);
		assert_int_equal(a.nic, a.type == STANDBY_PROXY_INJECT ? 0 : 1);
		standby_proxy_action_clear(&a);
	}
	assert_string_equal(s->str, want);
}

static void
test_inbound_in_its_epoch(void **state)
{
	g_autoptr(standby_proxy) p = standby_proxy_new(&roomy);

	in(p, 1, "a");
	in(p, 2, "b");
	in(p, 1, "c");
	expect(p, "inject a; inject c");
	standby_proxy_stopped(p);
	in(p, 1, "d");		/* in the state that is being loaded */
	in(p, 2, "e");
	in(p, 3, "f");
	expect(p, "");
	standby_proxy_loaded(p, 1);
	expect(p, "inject b; inject e");
	in(p, 1, "g");		/* late: in the state */
	in(p, 2, "h");
	expect(p, "inject h");
	standby_proxy_stopped(p);
	standby_proxy_loaded(p, 2);
	expect(p, "inject f");
	assert_int_equal(standby_proxy_dropped(p), 0);
}

/* Checkpoints that were merged: a load may skip epochs. */
static void
test_load_skips_epochs(void **state)
{
	g_autoptr(standby_proxy) p = standby_proxy_new(&roomy);

	standby_proxy_stopped(p);
	in(p, 2, "a");
	in(p, 3, "b");
	in(p, 4, "c");
	in(p, 5, "d");
	standby_proxy_loaded(p, 3);
	expect(p, "inject c");
	standby_proxy_loaded(p, 4);
	expect(p, "inject d");
}

static void
test_output_is_kept_until_its_twin_left(void **state)
{
	g_autoptr(standby_proxy) p = standby_proxy_new(&roomy);

	out(p, "x");
	out(p, "y");
	out(p, "z");
	expect(p, "peer 1@1 x; peer 2@1 y; peer 3@1 z");
	standby_proxy_twin_left(p, (uint64_t[]){ 2, 77, 2 }, 3);	/* unknown and repeated ids do no harm */
	standby_proxy_take_over(p);
	standby_proxy_speak(p);
	expect(p, "lan x; lan z");
	out(p, "w");
	expect(p, "lan w");
	standby_proxy_twin_left(p, (uint64_t[]){ 1 }, 1);
	expect(p, "");
}

static void
test_load_forgets_output(void **state)
{
	g_autoptr(standby_proxy) p = standby_proxy_new(&roomy);

	out(p, "x");
	standby_proxy_stopped(p);
	standby_proxy_loaded(p, 1);
	out(p, "y");
	expect(p, "peer 1@1 x; peer 2@2 y");
	standby_proxy_take_over(p);
	standby_proxy_speak(p);
	expect(p, "lan y");
}

/* The SVM runs a moment before LOADED says so. */
static void
test_output_before_loaded_is_of_the_new_epoch(void **state)
{
	g_autoptr(standby_proxy) p = standby_proxy_new(&roomy);

	out(p, "x");
	standby_proxy_stopped(p);
	out(p, "y");
	expect(p, "peer 1@1 x");
	standby_proxy_loaded(p, 7);
	expect(p, "peer 2@8 y");
	standby_proxy_take_over(p);
	standby_proxy_speak(p);
	expect(p, "lan y");
}

static void
test_take_over_while_stopped(void **state)
{
	g_autoptr(standby_proxy) p = standby_proxy_new(&roomy);

	out(p, "x");
	in(p, 3, "later");
	standby_proxy_stopped(p);
	in(p, 1, "a");
	in(p, 2, "b");
	expect(p, "peer 1@1 x");
	standby_proxy_take_over(p);
	expect(p, "inject later; inject a; inject b");
	in(p, 1, "c");			/* it hears the LAN itself now */
	standby_proxy_loaded(p, 9);	/* too late */
	standby_proxy_speak(p);
	out(p, "y");
	expect(p, "lan x; lan y");
}

/* It stands: what it receives waits for the load that has it in its state, or for the take-over, and nobody compares what it says between load and stop. */
static void
test_passive(void **state)
{
	g_autoptr(standby_proxy) p = standby_proxy_new(&roomy);

	standby_proxy_set_passive(p, true);
	in(p, 1, "until the load as before");
	out(p, "x");
	expect(p, "inject until the load as before; peer 1@1 x");
	in(p, 2, "a");
	standby_proxy_stopped(p);
	standby_proxy_loaded(p, 1);
	in(p, 2, "b");
	in(p, 3, "c");
	out(p, "y");
	expect(p, "");
	standby_proxy_committed(p, 2);	/* a and b are in the state that will be loaded */
	standby_proxy_set_passive(p, false);
	in(p, 3, "d");
	expect(p, "");
	standby_proxy_stopped(p);
	standby_proxy_loaded(p, 2);
	expect(p, "inject c; inject d");
	out(p, "z");
	expect(p, "peer 3@3 z");
}

static void
test_take_over_in_passive_mode(void **state)
{
	g_autoptr(standby_proxy) p = standby_proxy_new(&roomy);

	standby_proxy_set_passive(p, true);
	standby_proxy_stopped(p);
	standby_proxy_loaded(p, 4);
	in(p, 5, "a");
	out(p, "y");
	standby_proxy_take_over(p);
	expect(p, "inject a");
	standby_proxy_speak(p);
	expect(p, "lan y");
}

static GBytes *
ethernet(uint8_t first)
{
	uint8_t wire[WIRE_FRAME_HEADER + 14] = { [3] = 14, [WIRE_FRAME_HEADER] = first };

	return g_bytes_new(wire, sizeof wire);
}

static unsigned
injected(struct standby_proxy *p)
{
	struct standby_proxy_action a;
	unsigned n = 0;

	while (standby_proxy_next(p, &a)) {
		n += a.type == STANDBY_PROXY_INJECT;
		standby_proxy_action_clear(&a);
	}
	return n;
}

/* Between the two it hears, and nobody hears it. What the primary, which may live, tells to have left meanwhile need not go. */
static void
test_it_hears_before_it_speaks(void **state)
{
	const struct standby_proxy_limits tight = { .max_inbound_bytes = 3, .max_output_bytes = 3 };
	g_autoptr(standby_proxy) p = standby_proxy_new(&tight);
	g_autoptr(GBytes) stray = ethernet(0x52), late = text("l");

	out(p, "a");
	out(p, "b");
	expect(p, "peer 1@1 a; peer 2@1 b");
	standby_proxy_take_over(p);
	standby_proxy_stray(p, 0, stray);
	assert_int_equal(injected(p), 1);
	out(p, "c");
	standby_proxy_unsent(p, 0, 1, late);
	standby_proxy_twin_left(p, (uint64_t[]){ 1 }, 1);
	expect(p, "");
	out(p, "dd");
	assert_int_equal(standby_proxy_dropped(p), 1);
	standby_proxy_speak(p);
	expect(p, "lan l; lan c; lan dd");
	out(p, "e");
	expect(p, "lan e");
}

/* No load brings it into the state, and before the take-over the SVM must not have it: a load would lose it. */
static void
test_strays_wait_for_the_take_over(void **state)
{
	g_autoptr(standby_proxy) p = standby_proxy_new(&roomy);
	g_autoptr(GBytes) stray = text("stray");

	in(p, 2, "later");
	standby_proxy_stray(p, 0, stray);
	in(p, 1, "now");
	expect(p, "inject now");
	standby_proxy_stopped(p);
	standby_proxy_loaded(p, 7);
	expect(p, "");
	standby_proxy_take_over(p);
	expect(p, "inject stray");
}

/* Group addresses reach this host's own LAN, and some of what they carry is what the guest has just said here. */
static void
test_strays_after_the_take_over(void **state)
{
	g_autoptr(standby_proxy) p = standby_proxy_new(&roomy);
	g_autoptr(GBytes) unicast = ethernet(0x52), group = ethernet(0x33), broadcast = ethernet(0xff);

	standby_proxy_stray(p, 0, broadcast);
	standby_proxy_take_over(p);
	assert_int_equal(injected(p), 1);	/* from before: nobody else has heard it */
	standby_proxy_stray(p, 0, unicast);
	assert_int_equal(injected(p), 1);
	standby_proxy_stray(p, 0, group);
	standby_proxy_stray(p, 0, broadcast);
	assert_int_equal(injected(p), 0);
}

static void
unsent(struct standby_proxy *p, uint64_t epoch, const char *s)
{
	g_autoptr(GBytes) b = text(s);

	standby_proxy_unsent(p, epoch, 1, b);
}

/* What the loaded state has sent goes first; what a state sent that nobody will ever load does not go at all. */
static void
test_what_the_primary_could_not_send(void **state)
{
	g_autoptr(standby_proxy) p = standby_proxy_new(&roomy);

	standby_proxy_loaded(p, 4);
	out(p, "mine");
	expect(p, "peer 1@5 mine");
	unsent(p, 0, "free");
	unsent(p, 4, "loaded");
	unsent(p, 5, "never was");
	expect(p, "");
	standby_proxy_take_over(p);
	standby_proxy_speak(p);
	expect(p, "lan free; lan loaded; lan mine");
	unsent(p, 4, "late");
	unsent(p, 5, "never was");
	expect(p, "lan late");
}

/* Whether the epoch counts is known only at the take-over: a last load may come. */
static void
test_unsent_before_the_last_load(void **state)
{
	g_autoptr(standby_proxy) p = standby_proxy_new(&roomy);

	standby_proxy_stopped(p);
	unsent(p, 1, "a");
	standby_proxy_loaded(p, 1);
	standby_proxy_take_over(p);
	standby_proxy_speak(p);
	expect(p, "lan a");
}

static void
test_unsent_limit(void **state)
{
	const struct standby_proxy_limits tight = { .max_inbound_bytes = 1, .max_output_bytes = 3 };
	g_autoptr(standby_proxy) p = standby_proxy_new(&tight);

	unsent(p, 0, "ab");
	unsent(p, 0, "cd");
	assert_int_equal(standby_proxy_dropped(p), 1);
	standby_proxy_take_over(p);
	standby_proxy_speak(p);
	expect(p, "lan ab");
}

static void
test_limits(void **state)
{
	const struct standby_proxy_limits tight = { .max_inbound_bytes = 3, .max_output_bytes = 2 };
	g_autoptr(standby_proxy) p = standby_proxy_new(&tight);

	in(p, 2, "a");
	in(p, 2, "bb");
	assert_int_equal(standby_proxy_dropped(p), 0);
	in(p, 2, "c");
	assert_int_equal(standby_proxy_dropped(p), 1);
	in(p, 2, "four");
	assert_int_equal(standby_proxy_dropped(p), 4);
	in(p, 2, "d");
	standby_proxy_loaded(p, 1);
	expect(p, "inject d");
	out(p, "x");
	out(p, "y");
	out(p, "z");
	assert_int_equal(standby_proxy_dropped(p), 5);
	standby_proxy_twin_left(p, (uint64_t[]){ 1, 2 }, 2);
	out(p, "w");
	assert_int_equal(standby_proxy_dropped(p), 5);
	expect(p, "peer 1@2 x; peer 2@2 y; peer 3@2 z; peer 4@2 w");
	standby_proxy_take_over(p);
	standby_proxy_speak(p);
	expect(p, "lan z; lan w");
}

/* What is injected next, and the number that it acknowledges. */
static void
injects_ack(struct standby_proxy *p, uint32_t number)
{
	struct standby_proxy_action a;
	struct packet q;

	assert_true(standby_proxy_next(p, &a));
	assert_int_equal(a.type, STANDBY_PROXY_INJECT);
	packet_parse(&q, a.frame);
	assert_int_equal(q.ack, number);
	standby_proxy_action_clear(&a);
}

/* What the SVM has not answered since the load is settled right before the client's acknowledgement. */
static void
test_handshake_over_a_load(void **state)
{
	g_autoptr(standby_proxy) p = standby_proxy_new(&roomy);
	g_autoptr(GBytes) syn = TCP(.flags = SYN, .seq = 1), ack = TCP(.flags = ACK, .seq = 2, .ack = 100);
	struct standby_proxy_action a;

	standby_proxy_inbound(p, 1, 0, syn);
	injects_ack(p, 0);
	standby_proxy_stopped(p);
	standby_proxy_inbound(p, 2, 0, ack);
	assert_false(standby_proxy_next(p, &a));
	standby_proxy_loaded(p, 1);
	injects_ack(p, 1);
	injects_ack(p, 100);
	standby_proxy_stopped(p);
	standby_proxy_loaded(p, 2);
	assert_false(standby_proxy_next(p, &a));
}

/* The load was of a state in which the SYN had not been answered: filter-rewriter goes by the SVM's answer, and ours would spoil it. */
static void
test_handshake_answered_after_a_load(void **state)
{
	g_autoptr(standby_proxy) p = standby_proxy_new(&roomy);
	g_autoptr(GBytes) syn = TCP(.flags = SYN, .seq = 1), ack = TCP(.flags = ACK, .seq = 2, .ack = 100);
	g_autoptr(GBytes) answer = TCP(.flags = SYN | ACK, .seq = 99, .ack = 2, .port = 4000, .client = 80, .ip = { .source = CLIENT, .destination = GUEST });
	struct standby_proxy_action a;

	standby_proxy_inbound(p, 1, 0, syn);
	injects_ack(p, 0);
	standby_proxy_stopped(p);
	standby_proxy_output(p, 0, answer);	/* it runs again, and we shall hear of it */
	standby_proxy_loaded(p, 1);
	assert_true(standby_proxy_next(p, &a));
	assert_int_equal(a.type, STANDBY_PROXY_TO_PEER);
	standby_proxy_action_clear(&a);
	standby_proxy_inbound(p, 2, 0, ack);
	injects_ack(p, 100);
	assert_false(standby_proxy_next(p, &a));
}

static void
test_push(void **state)
{
	g_autoptr(standby_proxy) p = standby_proxy_new(&roomy);
	g_autoptr(GBytes) data = TCP(.flags = ACK, .ack = 100, .text = "GET");
	struct standby_proxy_action a;

	standby_proxy_inbound(p, 1, 0, data);
	injects_ack(p, 100);
	standby_proxy_take_over(p);
	standby_proxy_push(p, 1);
	assert_false(standby_proxy_next(p, &a));
	standby_proxy_push(p, 0);
	injects_ack(p, 0);
	assert_false(standby_proxy_next(p, &a));
}

/* After the take-over the LAN's frames do not come by us: what a load has split is settled with it, behind what waited. */
static void
test_handshake_at_the_take_over(void **state)
{
	g_autoptr(standby_proxy) p = standby_proxy_new(&roomy);
	g_autoptr(GBytes) syn = TCP(.flags = SYN, .seq = 1), other = TCP(.flags = SYN, .client = 4001), ack = TCP(.flags = ACK, .ack = 100, .client = 4001);
	struct standby_proxy_action a;

	standby_proxy_inbound(p, 1, 0, syn);
	injects_ack(p, 0);
	standby_proxy_inbound(p, 1, 0, other);
	injects_ack(p, 0);
	standby_proxy_stopped(p);
	standby_proxy_loaded(p, 1);
	standby_proxy_stopped(p);
	standby_proxy_inbound(p, 2, 0, ack);
	assert_false(standby_proxy_next(p, &a));
	standby_proxy_take_over(p);
	injects_ack(p, 1);
	injects_ack(p, 100);
	injects_ack(p, 1);
	assert_false(standby_proxy_next(p, &a));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_inbound_in_its_epoch),
		cmocka_unit_test(test_load_skips_epochs),
		cmocka_unit_test(test_output_is_kept_until_its_twin_left),
		cmocka_unit_test(test_load_forgets_output),
		cmocka_unit_test(test_output_before_loaded_is_of_the_new_epoch),
		cmocka_unit_test(test_take_over_while_stopped),
		cmocka_unit_test(test_passive),
		cmocka_unit_test(test_take_over_in_passive_mode),
		cmocka_unit_test(test_it_hears_before_it_speaks),
		cmocka_unit_test(test_strays_wait_for_the_take_over),
		cmocka_unit_test(test_strays_after_the_take_over),
		cmocka_unit_test(test_what_the_primary_could_not_send),
		cmocka_unit_test(test_unsent_before_the_last_load),
		cmocka_unit_test(test_unsent_limit),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_handshake_over_a_load),
		cmocka_unit_test(test_handshake_answered_after_a_load),
		cmocka_unit_test(test_handshake_at_the_take_over),
		cmocka_unit_test(test_push),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
