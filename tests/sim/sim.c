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
	gint jobs, violations;
	gboolean verbose, list_breaks, list_stories;
	char *broken, *story;
} options = { .seeds = 300, .seed = 1 };

struct totals { uint64_t found, steps, released, loads, takeovers, solos; };

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

/* Plays every `jobs`th seed from `first`. */
static void
play_seeds(uint64_t first, unsigned jobs, struct totals *t)
{
	uint64_t enough = (uint64_t)options.violations;

	for (uint64_t s = first; s < (uint64_t)(options.seed + options.seeds); s += jobs) {
		g_autofree char *violation = play(s, options.verbose, t);
		if (!violation)
			continue;
		t->found++;
		printf("seed %" G_GUINT64_FORMAT ": %s\n", s, violation);
		fflush(stdout);
		if (t->found >= enough)
			break;
	}
}

static void
add(struct totals *sum, const struct totals *t)
{
	sum->found += t->found;
	sum->steps += t->steps;
	sum->released += t->released;
	sum->loads += t->loads;
	sum->takeovers += t->takeovers;
	sum->solos += t->solos;
}

/* A job that does not report was ended by a signal: that is a violation, too. */
static void
play_in_jobs(struct totals *sum)
{
	int ends[2], reports = 0;
	struct totals t;

	fflush(stdout);
	if (pipe(ends) < 0)
		g_error("pipe: %m");
	for (int i = 0; i < options.jobs; i++) {
		if (fork() != 0)
			continue;
		t = (struct totals){ 0 };
		play_seeds((uint64_t)(options.seed + i), (unsigned)options.jobs, &t);
		_exit(write(ends[1], &t, sizeof t) != sizeof t);
	}
	close(ends[1]);
	for (; read(ends[0], &t, sizeof t) == sizeof t; reports++)
		add(sum, &t);
	close(ends[0]);
	sum->found += (unsigned)(options.jobs - reports);
	while (wait(NULL) > 0)
		;
}

static int
finish(const struct totals *t)
{
	printf("%" G_GINT64_FORMAT " seeds from %" G_GINT64_FORMAT ": %" G_GUINT64_FORMAT " violations; %" G_GUINT64_FORMAT " steps, %" G_GUINT64_FORMAT
	       " frames on the LAN, %" G_GUINT64_FORMAT " loads, %" G_GUINT64_FORMAT " take-overs, %" G_GUINT64_FORMAT " survivors\n", options.seeds, options.seed,
	       t->found, t->steps, t->released, t->loads, t->takeovers, t->solos);
	if (broken && !t->found)
		printf("--break %s: not found\n", break_infos[broken].name);
	return broken ? !t->found : t->found != 0;
}

static void
parse_options(int argc, char **argv)
{
	const GOptionEntry entries[] = {
		{ "seeds", 0, 0, G_OPTION_ARG_INT64, &options.seeds, "how many seeds (300)", "N" },
		{ "seed", 0, 0, G_OPTION_ARG_INT64, &options.seed, "the first one; without --seeds, the only one", "S" },
		{ "jobs", 0, 0, G_OPTION_ARG_INT, &options.jobs, "processes (as many as there are processors; 1 with --break, --verbose or a single seed)", "N" },
		{ "violations", 0, 0, G_OPTION_ARG_INT, &options.violations, "go on until that many were found, in each process (20; 1 with --break)", "N" },
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
	if (!g_option_context_parse(context, &argc, &argv, &error) || argc > 1 || options.jobs < 0 || options.violations < 0) {
		fprintf(stderr, "sim: %s\n", error ? error->message : "see --help");
		exit(2);
	}
	g_option_context_free(context);
	if (one || options.story)
		options.seeds = 1;
	if (options.jobs == 0)
		options.jobs = options.broken || options.verbose || options.seeds == 1 ? 1 : (gint)g_get_num_processors();
	if (options.violations == 0)
		options.violations = options.broken ? 1 : 20;
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
		play_in_jobs(&t);
	else
		play_seeds((uint64_t)options.seed, 1, &t);
	return finish(&t);
}
