/* Lists of strings, lexical paths and Go's ways of printing values. Out of memory ends the program. */
#ifndef OLLAMA_TEXT_H
#define OLLAMA_TEXT_H

#include <stddef.h>
#include <stdint.h>

struct strings {
    char **items;
    size_t count;
};

void strings_add(struct strings *list, const char *item);
__attribute__((format(printf, 2, 3))) void strings_addf(struct strings *list, const char *format, ...);
int strings_has(const struct strings *list, const char *item);
void strings_split(struct strings *list, const char *value,
                   char separator); /* "" gives one empty item, as strings.Split */
void strings_sort(struct strings *list);
void strings_free(struct strings *list);
char *strings_join(const struct strings *list, const char *separator); /* the caller frees it */
char *strings_go(const struct strings *list);                          /* "[a b]", as %v; the caller frees it */

__attribute__((format(printf, 1, 2))) char *text_format(const char *format, ...); /* the caller frees it */

/* filepath.Clean and filepath.Abs, lexical; the caller frees them. */
char *path_clean(const char *path);
char *path_absolute(const char *path);
char *path_directory(const char *path);
const char *path_base(const char *path);

/* format.HumanBytes2: "79.2 GiB". `out` has 32 bytes; so has that of duration, time.Duration's String: "31.2ms". */
const char *human_bytes(char *out, uint64_t bytes);
const char *human_duration(char *out, int64_t nanoseconds);

int64_t clock_now(void); /* CLOCK_MONOTONIC in ns */

#endif
