/* The JSON between runner and server: an array of flat objects with fixed keys. Unknown keys are skipped, as by
 * encoding/json; every read is checked against the end of the text. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ollama/gen_b.h"

enum { DEPTH_MAX = 32 };

struct reader {
    const char *at;
    const char *end;
};

static void skip_space(struct reader *in) {
    while (in->at < in->end && (*in->at == ' ' || *in->at == '\n' || *in->at == '\t' || *in->at == '\r')) {
        in->at++;
    }
}

static int take(struct reader *in, char wanted) {
    skip_space(in);
    if (in->at < in->end && *in->at == wanted) {
        in->at++;
        return 1;
    }
    return 0;
}

static int read_hex(struct reader *in, unsigned int *value) {
    *value = 0;
    for (int i = 0; i < 4; i++) {
        if (in->at >= in->end) {
            return 0;
        }
        char c = *in->at++;
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0) {
            return 0;
        }
        *value = *value * 16 + (unsigned int)digit;
    }
    return 1;
}

/* A code point above U+FFFF comes as two escapes; each half alone becomes U+FFFD, as in Go. */
static int put_escape(struct reader *in, char *utf8, size_t *length) {
    static const char letters[] = "\"\\/bfnrt";
    static const char plain[] = "\"\\/\b\f\n\r\t";
    unsigned int code = 0;
    if (in->at >= in->end) {
        return 0;
    }
    char c = *in->at++;
    const char *found = c == '\0' ? NULL : strchr(letters, c);
    if (found != NULL) {
        utf8[0] = plain[found - letters];
        *length = 1;
        return 1;
    }
    if (c != 'u' || !read_hex(in, &code)) {
        return 0;
    }
    if (code == 0 || (code >= 0xd800 && code < 0xe000)) {
        code = 0xfffd;
    }
    if (code < 0x80) {
        utf8[0] = (char)code;
        *length = 1;
    } else if (code < 0x800) {
        utf8[0] = (char)(0xc0 | code >> 6);
        utf8[1] = (char)(0x80 | (code & 0x3f));
        *length = 2;
    } else {
        utf8[0] = (char)(0xe0 | code >> 12);
        utf8[1] = (char)(0x80 | (code >> 6 & 0x3f));
        utf8[2] = (char)(0x80 | (code & 0x3f));
        *length = 3;
    }
    return 1;
}

/* What does not fit in `out` is cut. */
static int read_string(struct reader *in, char *out, size_t size) {
    size_t used = 0;
    if (!take(in, '"')) {
        return 0;
    }
    while (in->at < in->end && *in->at != '"') {
        char utf8[4] = {*in->at};
        size_t length = 1;
        if ((unsigned char)*in->at < ' ') {
            return 0;
        }
        if (*in->at++ == '\\' && !put_escape(in, utf8, &length)) {
            return 0;
        }
        if (used + length < size) {
            memcpy(out + used, utf8, length);
            used += length;
        }
    }
    out[used] = '\0';
    return take(in, '"');
}

static int read_number(struct reader *in, uint64_t *value) {
    const char *start = NULL;
    skip_space(in);
    start = in->at;
    *value = 0;
    while (in->at < in->end && *in->at >= '0' && *in->at <= '9') {
        uint64_t digit = (uint64_t)(*in->at - '0');
        if (*value > (UINT64_MAX - digit) / 10) {
            return 0;
        }
        *value = *value * 10 + digit;
        in->at++;
    }
    return in->at > start;
}

static int read_small(struct reader *in, int *value) {
    uint64_t number = 0;
    if (!read_number(in, &number) || number > 1000000) {
        return 0;
    }
    *value = (int)number;
    return 1;
}

static int read_word(struct reader *in, const char *word) {
    size_t length = strlen(word);
    skip_space(in);
    if ((size_t)(in->end - in->at) < length || memcmp(in->at, word, length) != 0) {
        return 0;
    }
    in->at += length;
    return 1;
}

static int read_flag(struct reader *in, int *value) {
    *value = read_word(in, "true");
    return *value || read_word(in, "false");
}

static int read_list(struct reader *in, struct strings *list) {
    char item[4096];
    if (!take(in, '[')) {
        return 0;
    }
    if (take(in, ']')) {
        return 1;
    }
    do {
        if (!read_string(in, item, sizeof item)) {
            return 0;
        }
        strings_add(list, item);
    } while (take(in, ','));
    return take(in, ']');
}

static int skip_value(struct reader *in, int depth);

static int skip_members(struct reader *in, char close, int depth) {
    char key[8];
    if (take(in, close)) {
        return 1;
    }
    do {
        if (close == '}' && !(read_string(in, key, sizeof key) && take(in, ':'))) {
            return 0;
        }
        if (!skip_value(in, depth)) {
            return 0;
        }
    } while (take(in, ','));
    return take(in, close);
}

static int skip_value(struct reader *in, int depth) {
    char text[8];
    if (depth >= DEPTH_MAX) {
        return 0;
    }
    skip_space(in);
    if (in->at >= in->end) {
        return 0;
    }
    if (*in->at == '"') {
        return read_string(in, text, sizeof text);
    }
    if (take(in, '[')) {
        return skip_members(in, ']', depth + 1);
    }
    if (take(in, '{')) {
        return skip_members(in, '}', depth + 1);
    }
    if (read_word(in, "true") || read_word(in, "false") || read_word(in, "null")) {
        return 1;
    }
    const char *start = in->at;
    while (in->at < in->end && *in->at != '\0' && strchr("+-.eE0123456789", *in->at) != NULL) {
        in->at++;
    }
    return in->at > start;
}

static int read_member(struct reader *in, const char *key, struct b_device *device) {
    const struct {
        const char *key;
        char *text;
        size_t size;
    } texts[] = {
        {"id", device->id, sizeof device->id},
        {"backend", device->library, sizeof device->library},
        {"name", device->name, sizeof device->name},
        {"description", device->description, sizeof device->description},
        {"filter_id", device->filter_id, sizeof device->filter_id},
        {"pci_id", device->pci_id, sizeof device->pci_id},
    };
    const struct {
        const char *key;
        int *number;
    } numbers[] = {
        {"ComputeMajor", &device->compute_major},
        {"ComputeMinor", &device->compute_minor},
        {"driver_major", &device->driver_major},
        {"driver_minor", &device->driver_minor},
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (strcmp(key, texts[i].key) == 0) {
            return read_string(in, texts[i].text, texts[i].size);
        }
    }
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        if (strcmp(key, numbers[i].key) == 0) {
            return read_small(in, numbers[i].number);
        }
    }
    if (strcmp(key, "total_memory") == 0) {
        return read_number(in, &device->total);
    }
    if (strcmp(key, "free_memory") == 0) {
        return read_number(in, &device->free);
    }
    if (strcmp(key, "integration") == 0) {
        return read_flag(in, &device->integrated);
    }
    if (strcmp(key, "LibraryPath") == 0) {
        return read_list(in, &device->library_path);
    }
    return skip_value(in, 0);
}

static int read_device(struct reader *in, struct b_device *device) {
    char key[64];
    if (!take(in, '{')) {
        return 0;
    }
    if (take(in, '}')) {
        return 1;
    }
    do {
        if (!read_string(in, key, sizeof key) || !take(in, ':') || !read_member(in, key, device)) {
            return 0;
        }
    } while (take(in, ','));
    return take(in, '}');
}

static int read_devices(struct reader *in, struct b_devices *devices) {
    if (read_word(in, "null")) {
        return 1;
    }
    if (!take(in, '[')) {
        return 0;
    }
    if (take(in, ']')) {
        return 1;
    }
    do {
        struct b_device device = {0};
        if (!read_device(in, &device)) {
            strings_free(&device.library_path);
            return 0;
        }
        b_devices_add(devices, &device);
    } while (take(in, ','));
    return take(in, ']');
}

int b_devices_parse(const char *text, size_t size, struct b_devices *devices) {
    struct reader in = {text, text + size};
    int good = read_devices(&in, devices);
    skip_space(&in);
    if (!good || in.at != in.end) {
        b_devices_free(devices);
        return -1;
    }
    return 0;
}

static void write_string(FILE *out, const char *text) {
    fputc('"', out);
    for (const unsigned char *at = (const unsigned char *)text; *at != '\0'; at++) {
        if (*at == '"' || *at == '\\') {
            fprintf(out, "\\%c", *at);
        } else if (*at < ' ') {
            fprintf(out, "\\u%04x", *at);
        } else {
            fputc(*at, out);
        }
    }
    fputc('"', out);
}

static void write_pair(FILE *out, const char *key, const char *text) {
    fprintf(out, "\"%s\":", key);
    write_string(out, text);
    fputc(',', out);
}

static void write_device(FILE *out, const struct b_device *device) {
    fputc('{', out);
    write_pair(out, "id", device->id);
    write_pair(out, "backend", device->library);
    write_pair(out, "name", device->name);
    write_pair(out, "description", device->description);
    write_pair(out, "filter_id", device->filter_id);
    fprintf(out, "\"integration\":%s,", device->integrated ? "true" : "false");
    write_pair(out, "pci_id", device->pci_id);
    fprintf(out,
            "\"total_memory\":%llu,\"free_memory\":%llu,\"ComputeMajor\":%d,\"ComputeMinor\":%d,\"driver_major\":%d,"
            "\"driver_minor\":%d,\"LibraryPath\":[",
            (unsigned long long)device->total, (unsigned long long)device->free, device->compute_major,
            device->compute_minor, device->driver_major, device->driver_minor);
    for (size_t i = 0; i < device->library_path.count; i++) {
        fputs(i == 0 ? "" : ",", out);
        write_string(out, device->library_path.items[i]);
    }
    fputs("]}", out);
}

char *b_devices_write(const struct b_devices *devices) {
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (out == NULL) {
        abort();
    }
    fputc('[', out);
    for (size_t i = 0; i < devices->count; i++) {
        fputs(i == 0 ? "" : ",", out);
        write_device(out, &devices->items[i]);
    }
    fputs("]\n", out);
    if (fclose(out) != 0) {
        abort();
    }
    return text;
}
