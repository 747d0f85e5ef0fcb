/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The server of the metrics: who may ask it, what it answers, and that every reason why it cannot listen is said. */
#include "daemon/base/error.h"
#include "daemon/json-util.h"
#include "daemon/metrics-io.h"

#include <errno.h>
#include <gio/gio.h>
#include <gio/gunixsocketaddress.h>
#include <glib/gstdio.h>
#include <grp.h>
#include <seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static struct event_log *events;	/* as in ftd, for the life of the process */

struct fixture {
	struct ftd_config *config;
	struct host host;
	char *path;
};

static struct json_object *
nothing(struct host *host)
{
	return json_put_value(json_object_new_object(), "domains", json_object_new_array());
}

static int
set_up(void **state)
{
	struct fixture *f = g_new0(struct fixture, 1);

	f->config = ftd_config_new();
	g_free(f->config->run_dir);
	f->config->run_dir = g_dir_make_tmp("ftd-metrics-XXXXXX", NULL);
	f->path = g_build_filename(f->config->run_dir, "metrics.sock", NULL);
	f->host = (struct host){ .config = f->config, .name = "here", .events = events };
	*state = f;
	return f->config->run_dir ? 0 : -1;
}

static int
tear_down(void **state)
{
	struct fixture *f = *state;
	int left = g_rmdir(f->config->run_dir);

	ftd_config_free(f->config);
	g_free(f->path);
	g_free(f);
	return left;
}

static struct metrics_server *
serve(struct fixture *f)
{
	g_autoptr(GError) error = NULL;
	struct metrics_server *s = metrics_server_new(&f->host, nothing, &error);

	assert_null(error);
	assert_non_null(s);
	return s;
}

/* -- who may ask */

static void
test_mode(void **state)
{
	struct fixture *f = *state;
	struct group *own = getgrgid(getegid());
	struct metrics_server *s;
	struct stat st;

	assert_non_null(own);
	g_free(f->config->group);
	f->config->group = g_strdup(own->gr_name);
	s = serve(f);
	assert_int_equal(lstat(f->path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0660);
	assert_int_equal(st.st_gid, getegid());
	metrics_server_free(s);
	assert_int_equal(lstat(f->path, &st), -1);
}

static void
test_no_group(void **state)
{
	struct fixture *f = *state;
	struct metrics_server *s;
	struct stat st;

	g_free(f->config->group);
	f->config->group = g_strdup("ftd-there-is-no-such-group");
	s = serve(f);
	assert_int_equal(lstat(f->path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	metrics_server_free(s);
}

/* -- what it answers */

static void
on_line(GObject *source, GAsyncResult *result, gpointer line)
{
	*(char **)line = g_data_input_stream_read_line_finish(G_DATA_INPUT_STREAM(source), result, NULL, NULL);
}

static void
test_answer(void **state)
{
	struct fixture *f = *state;
	struct metrics_server *s = serve(f);
	g_autoptr(GSocketClient) client = g_socket_client_new();
	g_autoptr(GSocketAddress) address = g_unix_socket_address_new(f->path);
	g_autoptr(GSocketConnection) connection = g_socket_client_connect(client, G_SOCKET_CONNECTABLE(address), NULL, NULL);
	g_autoptr(GDataInputStream) in = NULL;
	g_autofree char *line = NULL;
	static const char request[] = "GET /metrics HTTP/1.0\r\n\r\n";

	assert_non_null(connection);
	in = g_data_input_stream_new(g_io_stream_get_input_stream(G_IO_STREAM(connection)));
	assert_true(g_output_stream_write_all(g_io_stream_get_output_stream(G_IO_STREAM(connection)), request, sizeof request - 1, NULL, NULL, NULL));
	g_data_input_stream_read_line_async(in, G_PRIORITY_DEFAULT, NULL, on_line, &line);
	while (!line)
		g_main_context_iteration(NULL, TRUE);
	assert_true(g_str_has_prefix(line, "HTTP/1."));
	assert_non_null(strstr(line, " 200 "));
	metrics_server_free(s);
}

/* -- why it cannot listen */

static bool
is_refused(struct fixture *f, const char *where, const char *why)
{
	g_autoptr(GError) error = NULL;
	struct metrics_server *s = metrics_server_new(&f->host, nothing, &error);
	bool said = !s && error && g_str_has_prefix(error->message, "cannot listen on ") && strstr(error->message, where) && strstr(error->message, why);

	if (!said)
		print_message("'%s' does not name '%s' and '%s'\n", error ? error->message : "no error", where, why);
	metrics_server_free(s);
	return said;
}

static void
test_no_directory(void **state)
{
	struct fixture *f = *state;
	g_autofree char *there = f->config->run_dir;

	f->config->run_dir = g_build_filename(there, "gone", NULL);
	assert_true(is_refused(f, "/gone/metrics.sock: ", g_strerror(ENOENT)));
	g_free(f->config->run_dir);
	f->config->run_dir = g_steal_pointer(&there);
}

static void
test_port_taken(void **state)
{
	struct fixture *f = *state;
	g_autoptr(GSocketListener) other = g_socket_listener_new();
	g_autoptr(GSocketAddress) any = g_inet_socket_address_new_from_string("127.0.0.1", 0), taken = NULL;

	assert_true(g_socket_listener_add_address(other, any, G_SOCKET_TYPE_STREAM, G_SOCKET_PROTOCOL_TCP, NULL, &taken, NULL));
	f->config->metrics_listen = g_strdup_printf("127.0.0.1:%u", g_inet_socket_address_get_port(G_INET_SOCKET_ADDRESS(taken)));
	assert_true(is_refused(f, f->config->metrics_listen, "(metrics-listen): "));
	assert_int_equal(access(f->path, F_OK), -1);
}

struct refusal {
	const char *call, *instead;	/* instead: how the C library makes it where the first does not exist (aarch64) */
	const char *text;
	int code;
};

/* In a process of its own, for which the kernel refuses the call from here on. */
static bool
refuse(const struct refusal *r)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	int call = seccomp_syscall_resolve_name(r->call);

	if (call < 0)
		call = seccomp_syscall_resolve_name(r->instead);
	return filter && seccomp_rule_add(filter, SCMP_ACT_ERRNO(r->code), call, 0) == 0 && seccomp_load(filter) == 0;
}

static bool
is_told(struct fixture *f, const struct refusal *r)
{
	g_autofree char *why = g_strconcat(r->text, g_strerror(r->code), NULL);
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(refuse(r) && is_refused(f, "metrics.sock: ", why) ? 0 : 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status == 0;
}

static void
test_calls(void **state)
{
	static const struct refusal refusals[] = {
		{ "socket", NULL, "", EMFILE }, { "fchmod", NULL, "its mode: ", EPERM }, { "bind", NULL, "", EROFS }, { "listen", NULL, "", EADDRINUSE },
		{ "lchown", "fchownat", "its group: ", EPERM }, { "chmod", "fchmodat", "its group: ", EPERM },
	};
	struct fixture *f = *state;
	guint wrong = 0;

	g_free(f->config->group);
	f->config->group = g_strdup(getgrgid(getegid())->gr_name);
	for (guint i = 0; i < G_N_ELEMENTS(refusals); i++) {
		if (is_told(f, &refusals[i]))
			continue;
		print_message("when %s is refused\n", refusals[i].call);
		wrong++;
	}
	assert_int_equal(wrong, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_mode, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_no_group, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_answer, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_no_directory, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_port_taken, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_calls, set_up, tear_down),
	};

	events = event_log_new();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
