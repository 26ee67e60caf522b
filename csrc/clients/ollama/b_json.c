/* The JSON between runner and server: an array of flat objects with fixed keys. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ollama/gen_b.h"
#include "ollama/json.h"

static int read_device(struct json *in, void *devices) {
    struct device device = {0};
    const struct json_member members[] = {
        {.key = "id", .kind = JSON_TEXT, .to = device.id, .size = sizeof device.id},
        {.key = "backend", .kind = JSON_TEXT, .to = device.library, .size = sizeof device.library},
        {.key = "name", .kind = JSON_TEXT, .to = device.name, .size = sizeof device.name},
        {.key = "description", .kind = JSON_TEXT, .to = device.description, .size = sizeof device.description},
        {.key = "filter_id", .kind = JSON_TEXT, .to = device.filter_id, .size = sizeof device.filter_id},
        {.key = "pci_id", .kind = JSON_TEXT, .to = device.pci_id, .size = sizeof device.pci_id},
        {.key = "ComputeMajor", .kind = JSON_SMALL, .to = &device.compute_major},
        {.key = "ComputeMinor", .kind = JSON_SMALL, .to = &device.compute_minor},
        {.key = "driver_major", .kind = JSON_SMALL, .to = &device.driver_major},
        {.key = "driver_minor", .kind = JSON_SMALL, .to = &device.driver_minor},
        {.key = "total_memory", .kind = JSON_NUMBER, .to = &device.total},
        {.key = "free_memory", .kind = JSON_NUMBER, .to = &device.free},
        {.key = "integration", .kind = JSON_FLAG, .to = &device.integrated},
        {.key = "LibraryPath", .kind = JSON_LIST, .to = &device.library_path},
    };
    if (!json_object(in, members, sizeof members / sizeof members[0])) {
        strings_free(&device.library_path);
        return 0;
    }
    devices_add(devices, &device);
    return 1;
}

int b_devices_parse(const char *text, size_t size, struct devices *devices) {
    struct json in = {text, text + size};
    int good = json_array(&in, read_device, devices);
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
