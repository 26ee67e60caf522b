/* The JSON that gpu-discover prints: {"devices":[{..}]}, with encoding/json's words for what is not JSON. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ollama/gen_c.h"
#include "ollama/json.h"

void c_natives_add(struct c_natives *natives, const struct c_native *native) {
    natives->items = realloc(natives->items, (natives->count + 1) * sizeof *native);
    if (natives->items == NULL) {
        abort();
    }
    natives->items[natives->count++] = *native;
}

static int read_member(struct json *in, const char *key, struct c_native *native) {
    const struct {
        const char *key;
        char *text;
        size_t size;
    } texts[] = {
        {"library", native->library, sizeof native->library},
        {"name", native->name, sizeof native->name},
        {"description", native->description, sizeof native->description},
        {"device_id", native->device_id, sizeof native->device_id},
    };
    const struct {
        const char *key;
        int *number;
    } numbers[] = {
        {"index", &native->index},
        {"compute_major", &native->compute_major},
        {"compute_minor", &native->compute_minor},
        {"cuda_driver_major", &native->cuda_driver_major},
        {"cuda_driver_minor", &native->cuda_driver_minor},
        {"nvidia_driver_major", &native->nvidia_driver_major},
    };
    const struct {
        const char *key;
        int *flag;
    } flags[] = {
        {"index_matches_backend", &native->index_matches_backend},
        {"integrated", &native->integrated},
        {"integrated_known", &native->integrated_known},
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (strcmp(key, texts[i].key) == 0) {
            return json_string(in, texts[i].text, texts[i].size);
        }
    }
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        if (strcmp(key, numbers[i].key) == 0) {
            return json_small(in, numbers[i].number);
        }
    }
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        if (strcmp(key, flags[i].key) == 0) {
            return json_flag(in, flags[i].flag);
        }
    }
    if (strcmp(key, "total_memory") == 0) {
        return json_number(in, &native->total);
    }
    return strcmp(key, "free_memory") == 0 ? json_number(in, &native->free) : json_skip_value(in, 0);
}

static int read_native(struct json *in, struct c_native *native) {
    char key[64];
    if (!json_take(in, '{')) {
        return 0;
    }
    if (json_take(in, '}')) {
        return 1;
    }
    do {
        if (!json_string(in, key, sizeof key) || !json_take(in, ':') || !read_member(in, key, native)) {
            return 0;
        }
    } while (json_take(in, ','));
    return json_take(in, '}');
}

static int read_natives(struct json *in, struct c_natives *natives) {
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
        struct c_native native = {0};
        if (!read_native(in, &native)) {
            return 0;
        }
        c_natives_add(natives, &native);
    } while (json_take(in, ','));
    return json_take(in, ']');
}

static int read_result(struct json *in, struct c_natives *natives) {
    char key[64];
    if (!json_take(in, '{')) {
        return 0;
    }
    if (json_take(in, '}')) {
        return 1;
    }
    do {
        if (!json_string(in, key, sizeof key) || !json_take(in, ':') ||
            !(strcmp(key, "devices") == 0 ? read_natives(in, natives) : json_skip_value(in, 0))) {
            return 0;
        }
    } while (json_take(in, ','));
    return json_take(in, '}');
}

char *c_natives_parse(const char *text, size_t size, struct c_natives *natives) {
    struct json in = {text, text + size};
    int good = read_result(&in, natives);
    json_skip_space(&in);
    if (good && in.at == in.end) {
        return NULL;
    }
    free(natives->items);
    *natives = (struct c_natives){0};
    if (in.at == in.end) {
        return text_format("unexpected end of JSON input");
    }
    struct json start = {text, text + size};
    json_skip_space(&start);
    return text_format("invalid character '%c' %s", *in.at,
                       good                ? "after top-level value"
                       : in.at == start.at ? "looking for beginning of value"
                                           : "in JSON");
}

static void write_number(FILE *out, const char *key, uint64_t value) {
    if (value != 0) {
        fprintf(out, ",\"%s\":%llu", key, (unsigned long long)value);
    }
}

static void write_text(FILE *out, const char *key, const char *text) {
    if (*text != '\0') {
        fprintf(out, ",\"%s\":", key);
        json_write_string(out, text);
    }
}

static void write_native(FILE *out, const struct c_native *native) {
    fputs("{\"library\":", out);
    json_write_string(out, native->library);
    fprintf(out, ",\"index\":%d", native->index);
    if (native->index_matches_backend) {
        fputs(",\"index_matches_backend\":true", out);
    }
    write_text(out, "name", native->name);
    write_text(out, "description", native->description);
    write_text(out, "device_id", native->device_id);
    if (native->integrated) {
        fputs(",\"integrated\":true", out);
    }
    fprintf(out, ",\"integrated_known\":%s", native->integrated_known ? "true" : "false");
    write_number(out, "total_memory", native->total);
    write_number(out, "free_memory", native->free);
    write_number(out, "compute_major", (uint64_t)native->compute_major);
    write_number(out, "compute_minor", (uint64_t)native->compute_minor);
    write_number(out, "cuda_driver_major", (uint64_t)native->cuda_driver_major);
    write_number(out, "cuda_driver_minor", (uint64_t)native->cuda_driver_minor);
    write_number(out, "nvidia_driver_major", (uint64_t)native->nvidia_driver_major);
    fputc('}', out);
}

char *c_natives_write(const struct c_natives *natives) {
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (out == NULL) {
        abort();
    }
    fputs("{\"devices\":", out);
    for (size_t i = 0; i < natives->count; i++) {
        fputc(i == 0 ? '[' : ',', out);
        write_native(out, &natives->items[i]);
    }
    fputs(natives->count == 0 ? "null}\n" : "]}\n", out);
    if (fclose(out) != 0) {
        abort();
    }
    return text;
}
