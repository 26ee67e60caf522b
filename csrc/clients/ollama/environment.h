/* The environment of a server's children. */
#ifndef OLLAMA_ENVIRONMENT_H
#define OLLAMA_ENVIRONMENT_H

#include "ollama/text.h"

/* What is inherited, less the names that `changes` ("NAME=value") set; of the rest only PATH and HOME where `rebuilt`.
 * The changes come last. */
void environment_of_child(const struct strings *changes, int rebuilt, struct strings *items);

/* filteredEnv: the names that begin with one of `prefixes`, as a DEBUG line. LD_PRELOAD is never shown, whatever the
 * child has. */
void environment_log(const char *source, const struct strings *items, const char *const *prefixes, size_t count);

/* "map[A:1 B:2]", as Go prints a map; the caller frees it. */
char *environment_map(const struct strings *items);

#endif
