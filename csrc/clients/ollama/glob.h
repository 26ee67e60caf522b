/* filepath.Glob: with `*` alone, sorted within each directory, names that begin with a dot included, by raw system
 * calls. */
#ifndef OLLAMA_GLOB_H
#define OLLAMA_GLOB_H

#include "ollama/text.h"

void glob_paths(const char *pattern, struct strings *matches);

#endif
