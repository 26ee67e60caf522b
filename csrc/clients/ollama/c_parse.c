/* llama_server.go parseLlamaServerDevicesWithNative: what the three children printed, line by line. Nothing tells a
 * backend's line from another library's chatter: what matches is taken. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "ollama/gen_c.h"
#include "ollama/glob.h"
#include "ollama/log.h"
#include "ollama/regex.h"
#include "ollama/scanner.h"

static const char device_line[] = "^\\s+(.+?):\\s+(.+?)\\s+\\((\\d+)\\s+MiB,\\s+(\\d+)\\s+MiB\\s+free\\)";
static const char capability_line[] = "Device\\s+(\\d+):.*compute capability\\s+(\\d+)\\.(\\d+)";
static const char archs_line[] = "CUDA\\s*:\\s*ARCHS\\s*=\\s*([\\d,]+)";

struct capability {
    int index;
    int major;
    int minor;
};

struct facts {
    struct capability *capabilities;
    size_t count;
    struct strings archs;
};

/* strconv.Atoi and ParseUint with the error ignored: too large a number is the largest. */
static uint64_t number(const struct regex_group *group) {
    uint64_t value = 0;
    for (size_t i = 0; i < group->size; i++) {
        uint64_t digit = (uint64_t)(group->start[i] - '0');
        value = value > (UINT64_MAX - digit) / 10 ? UINT64_MAX : value * 10 + digit;
        if (value == UINT64_MAX) {
            break;
        }
    }
    return value;
}

static int small(const struct regex_group *group) {
    uint64_t value = number(group);
    return value > INT32_MAX ? INT32_MAX : (int)value;
}

static void copy(char *out, size_t size, const struct regex_group *group) {
    snprintf(out, size, "%.*s", (int)group->size, group->start);
}

static const struct capability *find_capability(const struct facts *facts, int index) {
    for (size_t i = 0; i < facts->count; i++) {
        if (facts->capabilities[i].index == index) {
            return &facts->capabilities[i];
        }
    }
    return NULL;
}

/* The later one counts. */
static void set_capability(struct facts *facts, struct capability value) {
    for (size_t i = 0; i < facts->count; i++) {
        if (facts->capabilities[i].index == value.index) {
            facts->capabilities[i] = value;
            return;
        }
    }
    facts->capabilities = realloc(facts->capabilities, (facts->count + 1) * sizeof value);
    if (facts->capabilities == NULL) {
        abort();
    }
    facts->capabilities[facts->count++] = value;
}

static void collect(const char *text, size_t size, const struct c_natives *natives, struct facts *facts) {
    struct scanner lines = scanner_of(text, size);
    while (scanner_next(&lines)) {
        struct regex_group group[REGEX_GROUPS];
        if (regex_find(capability_line, lines.line, lines.size, group)) {
            set_capability(facts, (struct capability){small(&group[1]), small(&group[2]), small(&group[3])});
        }
        if (regex_find(archs_line, lines.line, lines.size, group)) {
            char *list = text_format("%.*s", (int)group[1].size, group[1].start);
            strings_free(&facts->archs);
            strings_split(&facts->archs, list, ',');
            free(list);
        }
    }
    for (size_t i = 0; i < natives->count; i++) {
        const struct c_native *native = &natives->items[i];
        if (native->index_matches_backend && strcasecmp(native->library, "CUDA") == 0 && native->compute_major > 0) {
            set_capability(facts, (struct capability){native->index, native->compute_major, native->compute_minor});
        }
    }
}

/* inferLibrary: by words in the name and the description. */
static const char *library_of(const char *name, const char *description) {
    static const struct {
        const char *word;
        const char *library;
    } words[] = {{"cuda", "CUDA"},   {"rocm", "ROCm"},   {"hip", "ROCm"},
                 {"metal", "Metal"}, {"apple", "Metal"}, {"vulkan", "Vulkan"}};
    char *both = text_format("%s %s", name, description);
    const char *library = description;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcasestr(both, words[i].word) != NULL) {
            library = words[i].library;
            break;
        }
    }
    free(both);
    return library;
}

/* Is a CUDA device of a capability that this build has code for? */
static int is_compiled(const struct device *device, const struct capability *capability, const struct facts *facts,
                       const char *directories) {
    if (capability == NULL) {
        log_line(LOG_WARN, "llama_server.go:331",
                 "llama-server discovery: could not determine compute capability for CUDA device — architecture "
                 "filtering disabled for this device. If inference crashes, check that the CUDA backend supports this "
                 "GPU.",
                 "device", device->description, "libDirs", directories, NULL);
        return 1;
    }
    if (facts->archs.count == 0) {
        log_line(LOG_WARN, "llama_server.go:336",
                 "llama-server discovery: could not determine compiled CUDA architectures — architecture filtering "
                 "disabled. If inference crashes on older GPUs, check llama-server system_info output for ARCHS.",
                 "device", device->description, "libDirs", directories, NULL);
        return 1;
    }
    char *arch = text_format("%d%d0", capability->major, capability->minor);
    int compiled = strings_has(&facts->archs, arch);
    if (!compiled) {
        char *archs = strings_go(&facts->archs);
        log_line(LOG_INFO, "llama_server.go:324",
                 "skipping CUDA device — compute capability not in compiled architectures", "device",
                 device->description, "cc", arch, "archs", archs, "libDirs", directories, NULL);
        free(archs);
    }
    free(arch);
    return compiled;
}

/* The last entry of this library and number. */
static const struct c_native *find_native(const struct c_natives *natives, const char *library, int index) {
    for (size_t i = natives->count; i-- > 0;) {
        const struct c_native *native = &natives->items[i];
        if (native->index_matches_backend && native->index == index && strcasecmp(native->library, library) == 0) {
            return native;
        }
    }
    return NULL;
}

static void add_native(struct device *device, const struct c_native *native) {
    if (native == NULL) {
        return;
    }
    snprintf(device->pci_id, sizeof device->pci_id, "%s", native->device_id);
    device->integrated = native->integrated;
    if (device->compute_major == 0 && native->compute_major > 0) {
        device->compute_major = native->compute_major;
        device->compute_minor = native->compute_minor;
    }
    device->driver_major = native->cuda_driver_major;
    device->driver_minor = native->cuda_driver_minor;
    device->nvidia_driver_major = native->nvidia_driver_major;
}

static void add_device(const struct regex_group group[REGEX_GROUPS], int index, const struct facts *facts,
                       const struct strings *directories, const struct c_natives *natives, struct devices *found) {
    struct device device = {0};
    copy(device.name, sizeof device.name, &group[1]);
    copy(device.description, sizeof device.description, &group[2]);
    snprintf(device.library, sizeof device.library, "%s", library_of(device.name, device.description));
    device.total = number(&group[3]) * 1024 * 1024;
    device.free = number(&group[4]) * 1024 * 1024;
    if (number(&group[3]) == 0) {
        log_line(LOG_DEBUG, "llama_server.go:312", "skipping pseudo-device with zero memory", "name", device.name,
                 "description", device.description, NULL);
        return;
    }
    if (strcmp(device.library, "CUDA") == 0) {
        const struct capability *capability = find_capability(facts, index);
        char *shown = strings_go(directories);
        int compiled = is_compiled(&device, capability, facts, shown);
        free(shown);
        if (!compiled) {
            return;
        }
        if (capability != NULL) {
            device.compute_major = capability->major;
            device.compute_minor = capability->minor;
        }
    }
    snprintf(device.id, sizeof device.id, "%d", index);
    add_native(&device, find_native(natives, device.library, index));
    if (strcmp(device.library, "CUDA") == 0 && device.driver_major == 0) {
        c_runtime_version(directories, &device.driver_major, &device.driver_minor);
    }
    for (size_t i = 0; i < directories->count; i++) {
        strings_add(&device.library_path, directories->items[i]);
    }
    devices_add(found, &device);
}

void c_parse(const char *text, size_t size, const struct strings *directories, const struct c_natives *natives,
             struct devices *found) {
    struct facts facts = {0};
    struct scanner lines = scanner_of(text, size);
    int index = 0;
    collect(text, size, natives, &facts);
    while (scanner_next(&lines)) {
        struct regex_group group[REGEX_GROUPS];
        if (regex_find(device_line, lines.line, lines.size, group)) {
            add_device(group, index++, &facts, directories, natives, found);
        }
    }
    free(facts.capabilities);
    strings_free(&facts.archs);
}
