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

static int read_native(struct json *in, void *natives) {
    struct c_native native = {0};
    const struct json_member members[] = {
        {.key = "library", .kind = JSON_TEXT, .to = native.library, .size = sizeof native.library},
        {.key = "name", .kind = JSON_TEXT, .to = native.name, .size = sizeof native.name},
        {.key = "description", .kind = JSON_TEXT, .to = native.description, .size = sizeof native.description},
        {.key = "device_id", .kind = JSON_TEXT, .to = native.device_id, .size = sizeof native.device_id},
        {.key = "index", .kind = JSON_SMALL, .to = &native.index},
        {.key = "compute_major", .kind = JSON_SMALL, .to = &native.compute_major},
        {.key = "compute_minor", .kind = JSON_SMALL, .to = &native.compute_minor},
        {.key = "cuda_driver_major", .kind = JSON_SMALL, .to = &native.cuda_driver_major},
        {.key = "cuda_driver_minor", .kind = JSON_SMALL, .to = &native.cuda_driver_minor},
        {.key = "nvidia_driver_major", .kind = JSON_SMALL, .to = &native.nvidia_driver_major},
        {.key = "index_matches_backend", .kind = JSON_FLAG, .to = &native.index_matches_backend},
        {.key = "integrated", .kind = JSON_FLAG, .to = &native.integrated},
        {.key = "integrated_known", .kind = JSON_FLAG, .to = &native.integrated_known},
        {.key = "total_memory", .kind = JSON_NUMBER, .to = &native.total},
        {.key = "free_memory", .kind = JSON_NUMBER, .to = &native.free},
    };
    if (!json_object(in, members, sizeof members / sizeof members[0])) {
        return 0;
    }
    c_natives_add(natives, &native);
    return 1;
}

static int read_result(struct json *in, struct c_natives *natives) {
    const struct json_member devices = {.key = "devices", .kind = JSON_ARRAY, .to = natives, .item = read_native};
    return json_object(in, &devices, 1);
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
