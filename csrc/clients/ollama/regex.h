/* As much of Go's regexp as llama_server.go uses: literals, `.`, `\s`, `\d`, `[..]`, `*` and `+`, greedy or not (`+?`),
 * `(..)` as captures, `^`. No alternation, no nesting of repeats. */
#ifndef OLLAMA_REGEX_H
#define OLLAMA_REGEX_H

#include <stddef.h>

enum { REGEX_GROUPS = 5 };

struct regex_group {
    const char *start;
    size_t size;
};

/* FindStringSubmatch on one line: the leftmost match, of those at one place the one that repeats prefer. groups[0] is
 * the whole match. */
int regex_find(const char *pattern, const char *text, size_t size, struct regex_group groups[REGEX_GROUPS]);

#endif
