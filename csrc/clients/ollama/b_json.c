/* The JSON between runner and server: an array of flat objects with fixed keys. Unknown keys are skipped, as by
 * encoding/json. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ollama/gen_b.h"
#include "ollama/json.h"

static int read_member(struct json *in, const char *key, struct device *device) {
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
            return json_string(in, texts[i].text, texts[i].size);
        }
    }
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        if (strcmp(key, numbers[i].key) == 0) {
            return json_small(in, numbers[i].number);
        }
    }
    if (strcmp(key, "total_memory") == 0) {
        return json_number(in, &device->total);
    }
    if (strcmp(key, "free_memory") == 0) {
        return json_number(in, &device->free);
    }
    if (strcmp(key, "integration") == 0) {
        return json_flag(in, &device->integrated);
    }
    if (strcmp(key, "LibraryPath") == 0) {
        return json_list(in, &device->library_path);
    }
    return json_skip_value(in, 0);
}

static int read_device(struct json *in, struct device *device) {
    char key[64];
    if (!json_take(in, '{')) {
        return 0;
    }
    if (json_take(in, '}')) {
        return 1;
    }
    do {
        if (!json_string(in, key, sizeof key) || !json_take(in, ':') || !read_member(in, key, device)) {
            return 0;
        }
    } while (json_take(in, ','));
    return json_take(in, '}');
}

static int read_devices(struct json *in, struct devices *devices) {
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
        struct device device = {0};
        if (!read_device(in, &device)) {
            strings_free(&device.library_path);
            return 0;
        }
        devices_add(devices, &device);
    } while (json_take(in, ','));
    return json_take(in, ']');
}

int b_devices_parse(const char *text, size_t size, struct devices *devices) {
    struct json in = {text, text + size};
    int good = read_devices(&in, devices);
    json_skip_space(&in);
    if (!good || in.at != in.end) {
        devices_free(devices);
        return -1;
    }
    return 0;
}

static void write_device(FILE *out, const struct device *device) {
    fputc('{', out);
    json_write_pair(out, "id", device->id);
    json_write_pair(out, "backend", device->library);
    json_write_pair(out, "name", device->name);
    json_write_pair(out, "description", device->description);
    json_write_pair(out, "filter_id", device->filter_id);
    fprintf(out, "\"integration\":%s,", device->integrated ? "true" : "false");
    json_write_pair(out, "pci_id", device->pci_id);
    fprintf(out,
            "\"total_memory\":%llu,\"free_memory\":%llu,\"ComputeMajor\":%d,\"ComputeMinor\":%d,\"driver_major\":%d,"
            "\"driver_minor\":%d,\"LibraryPath\":[",
            (unsigned long long)device->total, (unsigned long long)device->free, device->compute_major,
            device->compute_minor, device->driver_major, device->driver_minor);
    for (size_t i = 0; i < device->library_path.count; i++) {
        fputs(i == 0 ? "" : ",", out);
        json_write_string(out, device->library_path.items[i]);
    }
    fputs("]}", out);
}

char *b_devices_write(const struct devices *devices) {
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
