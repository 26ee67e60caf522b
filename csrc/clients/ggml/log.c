/* ggml's log: to the callback that the runner sets, else to stderr. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "ggml.h"

__attribute__((visibility("default"))) void ggml_log_set(ggml_log_callback callback);

static ggml_log_callback sink;

void ggml_log_set(ggml_log_callback callback) {
    sink = callback;
}

static void put(const char *text, size_t size) {
    if (write(STDERR_FILENO, text, size) < 0) {
        return; /* a runner's stderr may be closed; there is nobody left to tell */
    }
}

void ggml_log(enum ggml_log_level level, const char *format, ...) {
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (length < 0) {
        return;
    }
    if (sink != NULL) {
        sink(level, text);
    } else {
        put(text, (size_t)length < sizeof text ? (size_t)length : sizeof text - 1);
    }
}

void ggml_abort(const char *file, int line, const char *format, ...) {
    va_list arguments;
    fprintf(stderr, "%s:%d: ", file, line);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    fflush(stderr);
    abort();
}
