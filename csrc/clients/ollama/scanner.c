#include "ollama/scanner.h"

#include <string.h>

enum { BUFFER = 64 * 1024 }; /* bufio.MaxScanTokenSize: the line's end must fit too */

struct scanner scanner_of(const char *text, size_t size) {
    return (struct scanner){.at = text, .end = text + size};
}

static void take(struct scanner *lines, size_t size, size_t ending) {
    lines->line = lines->at;
    lines->size = size > 0 && lines->at[size - 1] == '\r' ? size - 1 : size;
    lines->at += size + ending;
}

int scanner_complete(struct scanner *lines) {
    size_t left = (size_t)(lines->end - lines->at);
    if (left == 0 || lines->is_over) {
        return 0;
    }
    const char *newline = memchr(lines->at, '\n', left < BUFFER ? left : BUFFER);
    if (newline == NULL) {
        lines->is_over = left >= BUFFER;
        return 0;
    }
    take(lines, (size_t)(newline - lines->at), 1);
    return 1;
}

int scanner_next(struct scanner *lines) {
    if (scanner_complete(lines)) {
        return 1;
    }
    size_t left = (size_t)(lines->end - lines->at);
    if (left == 0 || lines->is_over) {
        return 0;
    }
    take(lines, left, 0);
    return 1;
}
