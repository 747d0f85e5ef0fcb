/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/lab/lan-judge.h"

#include <string.h>

enum { FIN = 1, SYN = 2, RST = 4, ACK = 16, A = 0, B = 1 };

#define MS 1000000ull

static uint64_t now;

static void
tcp(struct lan_judge *j, unsigned port, uint8_t flags, uint32_t seq, uint32_t ack, const char *text)
{
	uint8_t f[200] = { [12] = 8, [14] = 0x45, [23] = 6, [26] = 10, [30] = 11, [35] = 7, [37] = 9, [46] = 0x50, [47] = flags };
	size_t n = strlen(text);

	f[17] = (uint8_t)(40 + n);
	f[19] = (uint8_t)g_random_int();	/* the IP id does not count */
	for (int i = 0; i < 4; i++) {
		f[38 + i] = (uint8_t)(seq >> (24 - 8 * i));
		f[42 + i] = (uint8_t)(ack >> (24 - 8 * i));
	}
	memcpy(f + 54, text, n);
	lan_judge_frame(j, port, now, f, MAX(54 + n, 60));
}

static void
udp(struct lan_judge *j, unsigned port, uint8_t id, uint8_t content)
{
	uint8_t f[60] = { [12] = 8, [14] = 0x45, [17] = 29, [19] = id, [23] = 17, [42] = content };

	lan_judge_frame(j, port, now, f, sizeof f);
}

static struct lan_judge *
fresh(void)
{
	static struct lan_judge j;

	now = 1000 * MS;
	lan_judge_init(&j);
	return &j;
}

static void
expect(struct lan_judge *j, bool two_active, unsigned handovers)
{
	assert_int_equal(j->two_active, two_active);
	assert_int_equal(j->handovers, handovers);
	lan_judge_clear(j);
}

static void
test_failover(void **state)
{
	struct lan_judge *j = fresh();

	tcp(j, A, SYN | ACK, 99, 1, "");
	tcp(j, A, ACK, 100, 1, "one");
	tcp(j, A, ACK, 103, 5, "two");
	tcp(j, B, ACK, 103, 5, "two");		/* sent again at the take-over */
	tcp(j, B, ACK, 106, 9, "three");
	tcp(j, A, ACK, 103, 5, "two");		/* late, and nothing new */
	assert_int_equal(j->ports[A].late, 1);
	expect(j, false, 1);
}

static void
test_other_bytes(void **state)
{
	struct lan_judge *j = fresh();

	tcp(j, A, ACK, 100, 1, "one");
	tcp(j, B, ACK, 101, 1, "nE");
	assert_non_null(strstr(j->why, "sequence number 102"));
	expect(j, true, 0);
}

/* A host that was succeeded comes back: with payload, with an acknowledgement, with the end of a connection, with a datagram. */
static void
test_resurrection(void **state)
{
	for (int what = 0; what < 5; what++) {
		struct lan_judge *j = fresh();

		tcp(j, A, ACK, 100, 1, "one");
		tcp(j, B, ACK, 103, 1, "two");
		assert_false(j->two_active);
		if (what == 0)
			tcp(j, A, ACK, 106, 1, "three");
		else if (what == 1)
			tcp(j, A, ACK, 103, 2, "");
		else if (what == 2)
			tcp(j, A, ACK | FIN, 106, 1, "");
		else if (what == 3)
			tcp(j, A, RST, 106, 1, "");
		else
			udp(j, A, 1, 1);
		expect(j, true, 1);
	}
}

static void
test_failover_and_back(void **state)
{
	struct lan_judge *j = fresh();

	tcp(j, A, ACK, 100, 1, "one");
	tcp(j, B, ACK, 103, 1, "two");
	now += 2000 * MS;		/* of A's silence: protection was made anew */
	tcp(j, B, ACK, 106, 1, "three");
	tcp(j, A, ACK, 111, 1, "four");
	tcp(j, A, ACK, 115, 1, "five");
	tcp(j, B, ACK, 106, 1, "three");	/* late */
	expect(j, false, 2);
}

static void
test_a_sleeper_wakes_up(void **state)
{
	for (int active = 0; active < 2; active++) {
		struct lan_judge *j = fresh();

		tcp(j, A, ACK, 100, 1, "one");
		tcp(j, B, ACK, 103, 1, "two");
		now += 60000 * MS;
		tcp(j, B, ACK, 106, 1, "three");
		tcp(j, A, ACK, 111, 1, "four");
		now += 1900 * MS;
		tcp(j, active ? A : B, ACK, 115, 1, "five");
		tcp(j, active ? B : A, ACK, 119, 1, "six");
		expect(j, true, 2);
	}
}

static void
test_datagrams(void **state)
{
	struct lan_judge *j = fresh();

	udp(j, A, 1, 'x');
	udp(j, B, 2, 'x');	/* the same but for its IP id */
	assert_int_equal(j->handovers, 0);
	udp(j, B, 3, 'y');
	expect(j, false, 1);
}

static void
test_sequence_numbers_wrap(void **state)
{
	struct lan_judge *j = fresh();

	tcp(j, A, ACK, 0xfffffffe, 0xffffffff, "wrap");
	tcp(j, A, ACK, 2, 3, "ped");
	tcp(j, B, ACK, 0xfffffffe, 0xffffffff, "wrapped");
	assert_int_equal(j->handovers, 0);
	tcp(j, B, ACK, 0, 3, "aX");
	expect(j, true, 0);
}

static void
test_ports_used_again(void **state)
{
	struct lan_judge *j = fresh();

	tcp(j, A, SYN | ACK, 99, 1, "");
	tcp(j, A, ACK, 100, 1, "one");
	tcp(j, A, SYN | ACK, 49, 1, "");
	tcp(j, A, ACK, 50, 1, "other");
	tcp(j, A, ACK, 100, 1, "two");
	expect(j, false, 0);
}

static void
test_mark(void **state)
{
	struct lan_judge *j = fresh();

	tcp(j, A, ACK, 100, 1, "one");
	lan_judge_mark(j);
	assert_int_equal(j->ports[A].frames, 0);
	tcp(j, A, ACK, 100, 1, "one");
	assert_int_equal(j->ports[A].frames, 1);
	tcp(j, B, ACK, 100, 1, "one");
	expect(j, false, 0);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_failover),
		cmocka_unit_test(test_other_bytes),
		cmocka_unit_test(test_resurrection),
		cmocka_unit_test(test_failover_and_back),
		cmocka_unit_test(test_a_sleeper_wakes_up),
		cmocka_unit_test(test_datagrams),
		cmocka_unit_test(test_sequence_numbers_wrap),
		cmocka_unit_test(test_ports_used_again),
		cmocka_unit_test(test_mark),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
