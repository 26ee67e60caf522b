/* bufio.Scanner by lines, with its limit: a line that does not fit in 64 KiB ends the reading. */
#ifndef OLLAMA_SCANNER_H
#define OLLAMA_SCANNER_H

#include <stddef.h>

struct scanner {
    const char *at;
    const char *end;
    const char *line; /* without its end, which may be "\r\n" */
    size_t size;
    int is_over; /* a line was too long */
};

struct scanner scanner_of(const char *text, size_t size);

/* The next line that has an end. 0: there is none yet, or one is too long. */
int scanner_complete(struct scanner *lines);

/* The next line of a text that does not grow any more; the last one needs no end. */
int scanner_next(struct scanner *lines);

#endif
