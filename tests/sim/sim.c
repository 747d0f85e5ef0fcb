/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* sim: plays seeds until one finds a violation. See --help and world.c. */
#include "tests/sim/sim.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct {
	gint64 seeds, seed;
	gint jobs;
	gboolean verbose, list_breaks, list_stories;
	char *broken, *story;
} options = { .seeds = 300, .seed = 1, .jobs = 1 };

struct totals { uint64_t steps, released, loads, takeovers, solos; };

static sigjmp_buf aborted;

/* g_assert() in the product: it ends the guard. Here it ends the seed. */
static void
on_abort(int signal_number)
{
	siglongjmp(aborted, 1);
}

/* The violation, to be freed; NULL: there was none. */
static char *
play(uint64_t seed, bool verbose, struct totals *t)
{
	struct world *w = world_new(seed, verbose, stdout);
	char *violation = NULL;

	if (sigsetjmp(aborted, 1))
		return g_strdup("assert: an assertion of the product failed");	/* the world is left as it is */
	if (options.story) {
		if (!story_run(w, options.story)) {
			fprintf(stderr, "sim: there is no story %s\n", options.story);
			exit(2);
		}
	} else {
		faults_run(w);
	}
	if (w->violation[0])
		violation = g_strdup(w->violation);
	t->steps += w->steps;
	t->released += w->released;
	t->loads += w->loads;
	t->takeovers += w->takeovers;
	t->solos += w->solos;
	world_free(w);
	return violation;
}

/* Plays every `jobs`th seed from `first`; the number of violations (with a break: the first is enough). */
static unsigned
play_seeds(uint64_t first, unsigned jobs, struct totals *t)
{
	unsigned found = 0;

	for (uint64_t s = first; s < (uint64_t)(options.seed + options.seeds); s += jobs) {
		g_autofree char *violation = play(s, options.verbose, t);
		if (!violation)
			continue;
		found++;
		printf("seed %" G_GUINT64_FORMAT ": %s\n", s, violation);
		fflush(stdout);
		if (broken || found >= 20)
			break;
	}
	return found;
}

static unsigned
play_in_jobs(void)
{
	unsigned found = 0;

	fflush(stdout);
	for (int i = 0; i < options.jobs; i++) {
		pid_t pid = fork();
		if (pid == 0) {
			struct totals t = { 0 };
			_exit(play_seeds((uint64_t)(options.seed + i), (unsigned)options.jobs, &t) ? 1 : 0);
		}
	}
	for (int i = 0, status; i < options.jobs; i++)
		found += wait(&status) > 0 && !(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	return found;
}

static int
finish(unsigned found, const struct totals *t)
{
	if (options.jobs == 1)
		printf("%" G_GINT64_FORMAT " seeds from %" G_GINT64_FORMAT ": %u violations; %" G_GUINT64_FORMAT " steps, %" G_GUINT64_FORMAT " frames on the LAN, %"
		       G_GUINT64_FORMAT " loads, %" G_GUINT64_FORMAT " take-overs, %" G_GUINT64_FORMAT " survivors\n", options.seeds, options.seed, found, t->steps,
		       t->released, t->loads, t->takeovers, t->solos);
	if (broken && !found)
		printf("--break %s: not found\n", break_infos[broken].name);
	return broken ? !found : found != 0;
}

static void
parse_options(int argc, char **argv)
{
	const GOptionEntry entries[] = {
		{ "seeds", 0, 0, G_OPTION_ARG_INT64, &options.seeds, "how many seeds (300)", "N" },
		{ "seed", 0, 0, G_OPTION_ARG_INT64, &options.seed, "the first one; without --seeds, the only one", "S" },
		{ "jobs", 0, 0, G_OPTION_ARG_INT, &options.jobs, "processes (1)", "N" },
		{ "break", 0, 0, G_OPTION_ARG_STRING, &options.broken, "switch a rule off; fails when that is not found", "RULE" },
		{ "list-breaks", 0, 0, G_OPTION_ARG_NONE, &options.list_breaks, "the rules that can be switched off", NULL },
		{ "list-stories", 0, 0, G_OPTION_ARG_NONE, &options.list_stories, "the stories that can be played", NULL },
		{ "story", 0, 0, G_OPTION_ARG_STRING, &options.story, "play a fixed story instead of seeds", "NAME" },
		{ "verbose", 0, 0, G_OPTION_ARG_NONE, &options.verbose, "print what happens", NULL },
		{ NULL }
	};
	g_autoptr(GError) error = NULL;
	GOptionContext *context = g_option_context_new("- two guards, an arbiter, a link and a guest, until something is wrong");
	bool one = false;

	for (int i = 1; i < argc; i++)
		one = one || g_str_has_prefix(argv[i], "--seed=") || strcmp(argv[i], "--seed") == 0;
	for (int i = 1; i < argc; i++)
		one = one && !g_str_has_prefix(argv[i], "--seeds");
	g_option_context_add_main_entries(context, entries, NULL);
	if (!g_option_context_parse(context, &argc, &argv, &error) || argc > 1 || options.jobs < 1) {
		fprintf(stderr, "sim: %s\n", error ? error->message : "see --help");
		exit(2);
	}
	g_option_context_free(context);
	if (one || options.story)
		options.seeds = 1;
}

int
main(int argc, char **argv)
{
	struct totals t = { 0 };
	int b;

	parse_options(argc, argv);
	for (b = BREAK_NONE + 1; options.list_breaks && b < BREAK_LAST; b++)
		printf("%-18s %s\n", break_infos[b].name, break_infos[b].text);
	for (unsigned i = 0; options.list_stories && story_name(i); i++)
		puts(story_name(i));
	if (options.list_breaks || options.list_stories)
		return 0;
	if (options.broken) {
		b = break_find(options.broken);
		if (b < 0) {
			fprintf(stderr, "sim: there is no rule %s; see --list-breaks\n", options.broken);
			return 2;
		}
		broken = (enum sim_break)b;
	}
	signal(SIGABRT, on_abort);
	if (options.story) {
		g_autofree char *violation = play(1, true, &t);
		return violation != NULL;
	}
	if (options.jobs > 1)
		return finish(play_in_jobs(), &t);
	return finish(play_seeds((uint64_t)options.seed, 1, &t), &t);
}
