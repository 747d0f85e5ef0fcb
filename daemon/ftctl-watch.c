/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The live screen of `ftctl status --watch`, on the terminal's alternate screen. However it ends, the terminal is as it was: a signal restores it and then does
 * what it does to any program, also while ftd is being waited for. A change of size draws it anew.
 */
#include "daemon/ftctl-format.h"
#include "daemon/ftctl.h"
#include "daemon/json-util.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#define PERIOD_US G_USEC_PER_SEC
#define TIMEOUT_S 10

static const char enter_text[] = "\033[?1049h\033[?25l\033[?7l", leave_text[] = "\033[?7h\033[?25h\033[?1049l";	/* no wrapping: a narrow terminal cuts */
static struct termios before_us;
static bool has_keys;

static void
say(const char *text, size_t length)
{
	if (write(STDOUT_FILENO, text, length) < 0)
		return;		/* the terminal is gone; so will we be */
}

static void
enter(void)
{
	struct termios ours;

	has_keys = tcgetattr(STDIN_FILENO, &before_us) == 0;
	if (has_keys) {
		ours = before_us;
		ours.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
		tcsetattr(STDIN_FILENO, TCSANOW, &ours);
	}
	say(enter_text, sizeof enter_text - 1);
}

static void
leave(void)
{
	say(leave_text, sizeof leave_text - 1);
	if (has_keys)
		tcsetattr(STDIN_FILENO, TCSANOW, &before_us);
}

/* Async-signal-safe: write, tcsetattr, signal, raise. After SIGTSTP it goes on here with SIGCONT. */
static void
on_signal(int number)
{
	int code = errno;
	sigset_t this;

	leave();
	signal(number, SIG_DFL);
	sigemptyset(&this);
	sigaddset(&this, number);
	raise(number);
	sigprocmask(SIG_UNBLOCK, &this, NULL);
	signal(number, on_signal);
	enter();
	errno = code;
}

static void
on_size(int number)
{
	/* poll() ends, and that is all it takes */
}

static void
catch_signals(void)
{
	static const int ends[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP };
	struct sigaction size = { .sa_handler = on_size };

	for (guint i = 0; i < G_N_ELEMENTS(ends); i++)
		signal(ends[i], on_signal);
	sigaction(SIGWINCH, &size, NULL);
}

static void
draw(struct watch *w)
{
	struct winsize size = { 0 };
	g_autofree char *text = NULL;
	GString *out = g_string_new("\033[H");

	ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
	w->columns = MAX(size.ws_col, 80);
	w->rows = size.ws_row ? size.ws_row : 24;
	text = format_watch(w);
	for (const char *c = text; *c; c++) {
		if (*c == '\n')
			g_string_append(out, "\033[K");		/* what an earlier look left there */
		if (*c != '\n' || c[1])
			g_string_append_c(out, *c);
	}
	g_string_append(out, "\n\033[J\033[2mq: end\033[0m");
	say(out->str, out->len);
	g_string_free(out, TRUE);
}

/* Until the next look is due. False: `q`. */
static bool
pass_time(struct watch *w, gint64 until)
{
	struct pollfd keys = { .fd = has_keys ? STDIN_FILENO : -1, .events = POLLIN };
	gint64 left;
	char key;

	while ((left = until - g_get_monotonic_time()) > 0) {
		int n = poll(&keys, 1, (int)(left / 1000) + 1);

		if (n < 0 && errno == EINTR) {
			draw(w);
		} else if (n > 0) {
			if (read(STDIN_FILENO, &key, 1) != 1)
				keys.fd = -1;
			else if (key == 'q' || key == 'Q')
				return false;
		}
	}
	return true;
}

/* What ftd says now takes the place of what it said before; on failure that stays, with what is wrong. */
static void
look(struct ftctl *f, const char *domain, struct watch *w, struct json_object **last, char **trouble, gint64 *at)
{
	g_autoptr(json_object_ptr) parameters = json_put_str(json_object_new_object(), "domain", domain);
	g_autoptr(GError) error = NULL;
	struct json_object *reply = ftctl_try(f, "Status", parameters, f->timeout_s >= 0 ? f->timeout_s : TIMEOUT_S, &error);
	gint64 now = g_get_monotonic_time();

	g_clear_pointer(trouble, g_free);
	if (!reply) {
		*trouble = g_strdup(error->message);
	} else {
		json_object_put(w->before);
		w->before = w->domains;
		w->domains = json_object_get(json_get(reply, "domains"));
		w->seconds = (double)(now - *at) / G_USEC_PER_SEC;
		*at = now;
		json_object_put(*last);
		*last = reply;
		w->host = json_get_str(reply, "host");
	}
	w->trouble = *trouble;
	w->now_s = g_get_real_time() / G_USEC_PER_SEC;
}

int
ftctl_watch(struct ftctl *f, const char *domain)
{
	const char *no_color = g_getenv("NO_COLOR");
	struct watch w = { .host = "?", .color = !no_color || !*no_color };
	struct json_object *last = NULL;
	g_autofree char *trouble = NULL;
	gint64 at = g_get_monotonic_time();

	enter();
	catch_signals();
	do {
		look(f, domain, &w, &last, &trouble, &at);
		draw(&w);
	} while (pass_time(&w, g_get_monotonic_time() + PERIOD_US));
	leave();
	json_object_put(w.before);
	json_object_put(w.domains);
	json_object_put(last);
	return 0;
}
