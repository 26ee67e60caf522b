/* Lists of strings, lexical paths, and numbers printed as Go prints them. */
#include "ollama/text.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void *checked(void *memory) {
    if (memory == NULL) {
        abort();
    }
    return memory;
}

void strings_add(struct strings *list, const char *item) {
    list->items = checked(realloc(list->items, (list->count + 1) * sizeof *list->items));
    list->items[list->count++] = checked(strdup(item));
}

static char *format_list(const char *format, va_list arguments) {
    char *text = NULL;
    if (vasprintf(&text, format, arguments) < 0) {
        abort();
    }
    return text;
}

char *text_format(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    char *text = format_list(format, arguments);
    va_end(arguments);
    return text;
}

void strings_addf(struct strings *list, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    char *text = format_list(format, arguments);
    va_end(arguments);
    strings_add(list, text);
    free(text);
}

int strings_has(const struct strings *list, const char *item) {
    for (size_t i = 0; i < list->count; i++) {
        if (strcmp(list->items[i], item) == 0) {
            return 1;
        }
    }
    return 0;
}

void strings_split(struct strings *list, const char *value, char separator) {
    for (;;) {
        const char *end = strchr(value, separator);
        size_t length = end == NULL ? strlen(value) : (size_t)(end - value);
        strings_addf(list, "%.*s", (int)length, value);
        if (end == NULL) {
            return;
        }
        value = end + 1;
    }
}

static int compare(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void strings_sort(struct strings *list) {
    if (list->count > 1) {
        qsort(list->items, list->count, sizeof *list->items, compare);
    }
}

void strings_free(struct strings *list) {
    for (size_t i = 0; i < list->count; i++) {
        free(list->items[i]);
    }
    free(list->items);
    list->items = NULL;
    list->count = 0;
}

char *strings_join(const struct strings *list, const char *separator) {
    size_t size = 1;
    for (size_t i = 0; i < list->count; i++) {
        size += strlen(list->items[i]) + strlen(separator);
    }
    char *text = checked(malloc(size));
    char *end = text;
    *end = '\0';
    for (size_t i = 0; i < list->count; i++) {
        end = stpcpy(end, i == 0 ? "" : separator);
        end = stpcpy(end, list->items[i]);
    }
    return text;
}

char *strings_go(const struct strings *list) {
    char *inner = strings_join(list, " ");
    char *text = text_format("[%s]", inner);
    free(inner);
    return text;
}

char *path_clean(const char *path) {
    struct strings parts = {0};
    struct strings kept = {0};
    int rooted = path[0] == '/';
    strings_split(&parts, path, '/');
    for (size_t i = 0; i < parts.count; i++) {
        const char *part = parts.items[i];
        if (part[0] == '\0' || strcmp(part, ".") == 0) {
            continue;
        }
        if (strcmp(part, "..") == 0 && (rooted || (kept.count > 0 && strcmp(kept.items[kept.count - 1], "..") != 0))) {
            if (kept.count > 0) {
                free(kept.items[--kept.count]);
            }
            continue;
        }
        strings_add(&kept, part);
    }
    char *inner = strings_join(&kept, "/");
    char *clean = text_format("%s%s", rooted ? "/" : "", kept.count == 0 && !rooted ? "." : inner);
    free(inner);
    strings_free(&parts);
    strings_free(&kept);
    return clean;
}

char *path_absolute(const char *path) {
    char directory[PATH_MAX];
    if (path[0] == '/') {
        return path_clean(path);
    }
    if (getcwd(directory, sizeof directory) == NULL) {
        return path_clean(path);
    }
    char *joined = text_format("%s/%s", directory, path);
    char *clean = path_clean(joined);
    free(joined);
    return clean;
}

const char *path_base(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

char *path_directory(const char *path) {
    const char *slash = strrchr(path, '/');
    if (slash == NULL) {
        return text_format(".");
    }
    return slash == path ? text_format("/") : text_format("%.*s", (int)(slash - path), path);
}

const char *human_bytes(char *out, uint64_t bytes) {
    static const char *const units[] = {"KiB", "MiB", "GiB"};
    for (int i = 2; i >= 0; i--) {
        double unit = (double)(UINT64_C(1) << (10 * (i + 1)));
        if ((double)bytes >= unit) {
            snprintf(out, 32, "%.1f %s", (double)bytes / unit, units[i]);
            return out;
        }
    }
    snprintf(out, 32, "%llu B", (unsigned long long)bytes);
    return out;
}

/* `value` units of 10^-digits, without the zeros at its end. */
static void fraction(char *out, size_t size, int64_t value, int digits, const char *unit) {
    int64_t whole = value;
    int64_t scale = 1;
    for (int i = 0; i < digits; i++) {
        scale *= 10;
    }
    whole /= scale;
    int64_t rest = value % scale;
    while (digits > 0 && rest % 10 == 0) {
        rest /= 10;
        digits--;
    }
    if (digits == 0) {
        snprintf(out, size, "%lld%s", (long long)whole, unit);
    } else {
        snprintf(out, size, "%lld.%0*lld%s", (long long)whole, digits, (long long)rest, unit);
    }
}

const char *human_duration(char *out, int64_t nanoseconds) {
    const int64_t second = 1000000000;
    if (nanoseconds < 1000) {
        fraction(out, 32, nanoseconds, 0, nanoseconds == 0 ? "s" : "ns");
    } else if (nanoseconds < 1000000) {
        fraction(out, 32, nanoseconds, 3, "µs");
    } else if (nanoseconds < second) {
        fraction(out, 32, nanoseconds, 6, "ms");
    } else if (nanoseconds < 60 * second) {
        fraction(out, 32, nanoseconds, 9, "s");
    } else {
        int length = snprintf(out, 32, "%lldm", (long long)(nanoseconds / (60 * second)));
        fraction(out + length, 32 - (size_t)length, nanoseconds % (60 * second), 9, "s");
    }
    return out;
}

int64_t clock_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}
