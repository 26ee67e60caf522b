/* A reader of JSON that checks every step against the end of the text and copies into buffers of fixed size, and the
 * writing of strings. */
#include "ollama/json.h"

#include <string.h>

enum { DEPTH_MAX = 32 };

void json_skip_space(struct json *in) {
    while (in->at < in->end && (*in->at == ' ' || *in->at == '\n' || *in->at == '\t' || *in->at == '\r')) {
        in->at++;
    }
}

int json_take(struct json *in, char wanted) {
    json_skip_space(in);
    if (in->at < in->end && *in->at == wanted) {
        in->at++;
        return 1;
    }
    return 0;
}

static int read_hex(struct json *in, unsigned int *value) {
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
static int put_escape(struct json *in, char *utf8, size_t *length) {
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
int json_string(struct json *in, char *out, size_t size) {
    size_t used = 0;
    if (!json_take(in, '"')) {
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
    return json_take(in, '"');
}

int json_number(struct json *in, uint64_t *value) {
    const char *start = NULL;
    json_skip_space(in);
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

int json_small(struct json *in, int *value) {
    uint64_t number = 0;
    if (!json_number(in, &number) || number > 1000000) {
        return 0;
    }
    *value = (int)number;
    return 1;
}

int json_word(struct json *in, const char *word) {
    size_t length = strlen(word);
    json_skip_space(in);
    if ((size_t)(in->end - in->at) < length || memcmp(in->at, word, length) != 0) {
        return 0;
    }
    in->at += length;
    return 1;
}

int json_flag(struct json *in, int *value) {
    *value = json_word(in, "true");
    return *value || json_word(in, "false");
}

int json_list(struct json *in, struct strings *list) {
    char item[4096];
    if (!json_take(in, '[')) {
        return 0;
    }
    if (json_take(in, ']')) {
        return 1;
    }
    do {
        if (!json_string(in, item, sizeof item)) {
            return 0;
        }
        strings_add(list, item);
    } while (json_take(in, ','));
    return json_take(in, ']');
}

static int skip_members(struct json *in, char close, int depth) {
    char key[8];
    if (json_take(in, close)) {
        return 1;
    }
    do {
        if (close == '}' && !(json_string(in, key, sizeof key) && json_take(in, ':'))) {
            return 0;
        }
        if (!json_skip_value(in, depth)) {
            return 0;
        }
    } while (json_take(in, ','));
    return json_take(in, close);
}

int json_skip_value(struct json *in, int depth) {
    char text[8];
    if (depth >= DEPTH_MAX) {
        return 0;
    }
    json_skip_space(in);
    if (in->at >= in->end) {
        return 0;
    }
    if (*in->at == '"') {
        return json_string(in, text, sizeof text);
    }
    if (json_take(in, '[')) {
        return skip_members(in, ']', depth + 1);
    }
    if (json_take(in, '{')) {
        return skip_members(in, '}', depth + 1);
    }
    if (json_word(in, "true") || json_word(in, "false") || json_word(in, "null")) {
        return 1;
    }
    const char *start = in->at;
    while (in->at < in->end && *in->at != '\0' && strchr("+-.eE0123456789", *in->at) != NULL) {
        in->at++;
    }
    return in->at > start;
}

int json_array(struct json *in, json_item item, void *to) {
    if (json_word(in, "null")) {
        return 1;
    }
    if (!json_take(in, '[')) {
        return 0;
    }
    if (json_take(in, ']')) {
        return 1;
    }
    do {
        if (!item(in, to)) {
            return 0;
        }
    } while (json_take(in, ','));
    return json_take(in, ']');
}

static int read_member(struct json *in, const struct json_member *member) {
    switch (member->kind) {
    case JSON_TEXT:
        return json_string(in, member->to, member->size);
    case JSON_NUMBER:
        return json_number(in, member->to);
    case JSON_SMALL:
        return json_small(in, member->to);
    case JSON_FLAG:
        return json_flag(in, member->to);
    case JSON_LIST:
        return json_list(in, member->to);
    case JSON_ARRAY:
        return json_array(in, member->item, member->to);
    }
    return 0;
}

static const struct json_member *find_member(const struct json_member *members, size_t count, const char *key) {
    for (size_t i = 0; i < count; i++) {
        if (strcmp(members[i].key, key) == 0) {
            return &members[i];
        }
    }
    return NULL;
}

int json_object(struct json *in, const struct json_member *members, size_t count) {
    char key[64];
    if (!json_take(in, '{')) {
        return 0;
    }
    if (json_take(in, '}')) {
        return 1;
    }
    do {
        if (!json_string(in, key, sizeof key) || !json_take(in, ':')) {
            return 0;
        }
        const struct json_member *member = find_member(members, count, key);
        if (!(member != NULL ? read_member(in, member) : json_skip_value(in, 0))) {
            return 0;
        }
    } while (json_take(in, ','));
    return json_take(in, '}');
}

void json_write_string(FILE *out, const char *text) {
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

void json_write_pair(FILE *out, const char *key, const char *text) {
    fprintf(out, "\"%s\":", key);
    json_write_string(out, text);
    fputc(',', out);
}
