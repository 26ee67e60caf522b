/* slog.TextHandler's text: time, level, source, msg, then key=value, quoted where Go's needsQuoting says so. */
#include "ollama/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ollama/text.h"

static int threshold = LOG_INFO;

void log_start(void) {
    static const char *const yes[] = {"1", "t", "T", "true", "TRUE", "True"};
    const char *value = getenv("OLLAMA_DEBUG");
    threshold = LOG_INFO;
    if (value == NULL) {
        return;
    }
    for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++) {
        if (strcmp(value, yes[i]) == 0) {
            threshold = LOG_DEBUG;
            return;
        }
    }
    char *end = NULL;
    long level = strtol(value, &end, 10);
    if (end != value && *end == '\0' && level > -100 && level < 100) {
        threshold = (int)level * -4;
    }
}

int log_threshold(void) {
    return threshold;
}

/* The length of the UTF-8 sequence at `text`, 0 if there is none. */
static size_t sequence(const unsigned char *text) {
    size_t length = text[0] < 0x80   ? 1
                    : text[0] < 0xc2 ? 0
                    : text[0] < 0xe0 ? 2
                    : text[0] < 0xf0 ? 3
                    : text[0] < 0xf5 ? 4
                                     : 0;
    for (size_t i = 1; i < length; i++) {
        if ((text[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return length;
}

static int needs_quoting(const char *value) {
    const unsigned char *at = (const unsigned char *)value;
    if (*at == '\0') {
        return 1;
    }
    while (*at != '\0') {
        size_t length = sequence(at);
        if (length == 0 || *at <= ' ' || *at == '=' || *at == '"' || *at == 0x7f) {
            return 1;
        }
        at += length;
    }
    return 0;
}

static void write_value(FILE *out, const char *value) {
    static const char plain[] = "\a\b\f\n\r\t\v\"\\";
    static const char letters[] = "abfnrtv\"\\";
    if (!needs_quoting(value)) {
        fputs(value, out);
        return;
    }
    fputc('"', out);
    for (const unsigned char *at = (const unsigned char *)value; *at != '\0';) {
        const char *found = strchr(plain, *at);
        size_t length = sequence(at);
        if (found != NULL) {
            fprintf(out, "\\%c", letters[found - plain]);
            at++;
        } else if (length == 0 || *at < ' ' || *at == 0x7f) {
            fprintf(out, "\\x%02x", *at);
            at++;
        } else {
            fwrite(at, 1, length, out);
            at += length;
        }
    }
    fputc('"', out);
}

static const char *level_name(enum log_level level) {
    switch (level) {
    case LOG_TRACE:
        return "TRACE";
    case LOG_DEBUG:
        return "DEBUG";
    case LOG_WARN:
        return "WARN";
    case LOG_ERROR:
        return "ERROR";
    case LOG_INFO:
    default:
        return "INFO";
    }
}

static void write_all(const char *text, size_t size) {
    while (size > 0) {
        ssize_t written = write(STDERR_FILENO, text, size);
        if (written <= 0) {
            return;
        }
        text += written;
        size -= (size_t)written;
    }
}

struct line {
    FILE *out;
    char *text;
    size_t size;
};

static int line_begin(struct line *line, enum log_level level, const char *source, const char *message) {
    struct timespec now;
    struct tm parts;
    if ((int)level < threshold) {
        return 0;
    }
    line->text = NULL;
    line->size = 0;
    line->out = open_memstream(&line->text, &line->size);
    if (line->out == NULL) {
        return 0;
    }
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &parts);
    fprintf(line->out, "time=%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ level=%s source=%s msg=", parts.tm_year + 1900,
            parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec, now.tv_nsec / 1000000,
            level_name(level), source);
    write_value(line->out, message);
    return 1;
}

static void line_pair(struct line *line, const char *key, const char *value) {
    fputc(' ', line->out);
    write_value(line->out, key);
    fputc('=', line->out);
    write_value(line->out, value);
}

static void line_end(struct line *line) {
    fputc('\n', line->out);
    if (fclose(line->out) == 0) {
        write_all(line->text, line->size);
    }
    free(line->text);
}

void log_line(enum log_level level, const char *source, const char *message, ...) {
    struct line line;
    va_list pairs;
    if (!line_begin(&line, level, source, message)) {
        return;
    }
    va_start(pairs, message);
    for (const char *key = va_arg(pairs, const char *); key != NULL; key = va_arg(pairs, const char *)) {
        line_pair(&line, key, va_arg(pairs, const char *));
    }
    va_end(pairs);
    line_end(&line);
}

void log_items(enum log_level level, const char *source, const char *message, const struct strings *items) {
    struct line line;
    if (!line_begin(&line, level, source, message)) {
        return;
    }
    for (size_t i = 0; i < items->count; i++) {
        char *key = text_format("%s", items->items[i]);
        char *equals = strchr(key, '=');
        if (equals != NULL) {
            *equals = '\0';
            line_pair(&line, key, equals + 1);
        }
        free(key);
    }
    line_end(&line);
}

void log_bare(int verbose, const char *format, ...) {
    char *text = NULL;
    va_list arguments;
    if (!verbose) {
        return;
    }
    va_start(arguments, format);
    int length = vasprintf(&text, format, arguments);
    va_end(arguments);
    if (length >= 0) {
        write_all(text, (size_t)length);
        free(text);
    }
}
