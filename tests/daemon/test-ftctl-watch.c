/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/ftctl-format.h"
#include "daemon/json-util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct json_object *
parse(const char *text)
{
	struct json_object *o = json_parse(text, strlen(text), NULL);

	assert_non_null(o);
	return o;
}

static const char now[] =
	"[{\"domain\":\"vm1\",\"uuid\":\"u\",\"generation\":1,\"state\":\"protected\",\"reason\":\"none\",\"role\":\"primary\",\"peer\":\"b\",\"mode\":\"colo\",\"epoch\":1234,"
	"\"epochs\":1233,\"pause_p50_ms\":3.21,\"pause_p99_ms\":12.4,\"commit_p50_ms\":6.04,\"bytes_sent\":30000000},"
	"{\"domain\":\"a-very-long-name-of-a-domain\",\"uuid\":\"v\",\"generation\":1,\"state\":\"protected\",\"role\":\"standby\",\"peer\":\"a-very-long-host.example.org\","
	"\"mode\":\"passive\",\"epoch\":18446744073,\"loads\":7,\"load_p50_ms\":22},"
	"{\"domain\":\"vm3\",\"uuid\":\"w\",\"generation\":2,\"state\":\"deciding\",\"reason\":\"peer-silent\",\"reason_text\":\"the peer was not heard\",\"role\":\"standby\",\"peer\":\"c\","
	"\"mode\":\"colo\"},"
	"{\"domain\":\"vm4\",\"uuid\":\"x\",\"generation\":2,\"state\":\"solo\",\"reason\":\"qemu-died\",\"role\":\"primary\",\"peer\":\"c\",\"ended_at\":5,\"epoch\":9}]";
static const char then[] =
	"[{\"domain\":\"vm1\",\"uuid\":\"u\",\"generation\":1,\"role\":\"primary\",\"epochs\":1229,\"bytes_sent\":6000000},"
	"{\"domain\":\"vm3\",\"uuid\":\"w\",\"generation\":1,\"role\":\"standby\",\"loads\":7}]";

/* The title has the local time; what is below is compared. */
static char *
screen(const char *domains, const char *before, unsigned columns, unsigned rows, const char *trouble)
{
	g_autoptr(json_object_ptr) d = parse(domains), b = before ? parse(before) : NULL;
	struct watch w = { .host = "a", .trouble = trouble, .domains = d, .before = b, .seconds = 2, .now_s = 1000, .columns = columns, .rows = rows };

	return format_watch(&w);
}

static void
test_screen(void **state)
{
	g_autofree char *text = screen(now, then, 80, 24, NULL);

	assert_true(g_str_has_prefix(text, "ftd on a   "));
	assert_non_null(strstr(text, "   3 pairs, 2 protected\n"));
	assert_string_equal(strchr(text, '\n') + 1,
			    "DOMAIN       STATE      PEER       MODE      EPOCH   /s  PAUSE ms LAG ms LINK/s\n"
			    "vm1          protected  -> b       colo       1234  2.0    3.2/12    6.0    12M\n"
			    "a-very-long~ protected  <- a-very~ passive 184467~    -         -     22      -\n"
			    "vm3          deciding   <- c       colo          -    -         -      -      -\n"
			    "  the peer was not heard\n"
			    "vm4          solo       -> c       -             -    -         -      -      -\n"
			    "  qemu-died\n");
}

static void
test_sizes(void **state)
{
	for (unsigned columns = 80; columns <= 120; columns++) {
		for (unsigned rows = 5; rows < 12; rows++) {
			g_autofree char *text = screen(now, then, columns, rows, "a reason that is longer than any terminal is wide: it goes on and on, until somebody cuts it off");
			g_auto(GStrv) lines = g_strsplit(text, "\n", -1);

			assert_true(g_strv_length(lines) - 1 <= rows);
			for (guint i = 0; lines[i]; i++)
				assert_true(g_utf8_strlen(lines[i], -1) <= (glong)columns);
			assert_true((strstr(text, "more\n") != NULL) == (rows < 9));
		}
	}
}

static void
test_nothing(void **state)
{
	g_autofree char *text = screen("[]", NULL, 80, 24, NULL);

	assert_non_null(strstr(text, "0 pairs, 0 protected\n"));
	assert_true(g_str_has_suffix(text, "no domain is protected here\n"));
}

static void
test_color(void **state)
{
	g_autoptr(json_object_ptr) d = parse(now);
	struct watch w = { .host = "a", .domains = d, .now_s = 1000, .columns = 80, .rows = 24, .color = true };
	g_autofree char *text = format_watch(&w);

	assert_non_null(strstr(text, " \033[32mprotected\033[0m "));
	assert_non_null(strstr(text, " \033[31mdeciding\033[0m "));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_screen),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_nothing),
		cmocka_unit_test(test_color),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
