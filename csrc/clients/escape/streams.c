/* Functions that open a path and answer a stream. */
#include <stdio.h>

#include "escape/probe.h"

static void check_stream(FILE *stream) {
    char text[ESCAPE_BYTES];
    if (see(stream != NULL, "%m")) {
        check_text(text, (ssize_t)fread(text, 1, sizeof(text), stream));
    }
}

static void opening(const char *function) {
    check_stream(((FILE * (*)(const char *, const char *)) find(function))(at.vendor, "r"));
}

static void with_flags(const char *function) {
    check_stream(((FILE * (*)(const char *, const char *)) find(function))(at.vendor, "rme"));
}

static void reopening(const char *function) {
    FILE *stream = fopen("/dev/zero", "r");
    check_stream(((FILE * (*)(const char *, const char *, FILE *)) find(function))(at.vendor, "r", stream));
}

const struct probe streams[] = {
    {"fopen", opening, "fopen"},
    {"fopen64", opening, "fopen64"},
    {"_IO_fopen", opening, "_IO_fopen"},
    {"fopen, mapped and closed by exec", with_flags, "fopen"},
    {"freopen", reopening, "freopen"},
    {"freopen64", reopening, "freopen64"},
    {"setmntent", opening, "setmntent"},
    {"__setmntent", opening, "__setmntent"},
    NO_PROBE,
};
