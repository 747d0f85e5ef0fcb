/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A fuzzer without libFuzzer: what its corpus has, file by file. usage: replay-NAME DIR */
#include <glib.h>
#include <stdint.h>
#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
main(int argc, char **argv)
{
	g_autoptr(GDir) dir = argc == 2 ? g_dir_open(argv[1], 0, NULL) : NULL;
	const char *name;
	unsigned n = 0;

	if (!dir) {
		fprintf(stderr, "%s: no corpus\n", argc == 2 ? argv[1] : "usage: replay-NAME DIR");
		return 1;
	}
	while ((name = g_dir_read_name(dir))) {
		g_autofree char *path = g_build_filename(argv[1], name, NULL), *data = NULL;
		g_autoptr(GError) error = NULL;
		gsize size;

		if (!g_file_get_contents(path, &data, &size, &error)) {
			fprintf(stderr, "%s\n", error->message);
			return 1;
		}
		printf("%s\n", path);
		fflush(stdout);
		/* A copy of just the size: a sanitizer sees a read beyond it. */
		g_autofree uint8_t *exact = g_memdup2(data, size);
		LLVMFuzzerTestOneInput(exact, size);
		n++;
	}
	printf("%u inputs\n", n);
	return n == 0;
}
