/* Generation B of Ollama's discovery (v0.12.4 .. v0.24.0): the server asks children, `ollama runner`, over HTTP. */
#ifndef OLLAMA_GEN_B_H
#define OLLAMA_GEN_B_H

#include <stdint.h>

#include "ollama/layout.h"
#include "ollama/text.h"

/* ml.DeviceInfo, as it travels in the answer to GET /info. */
struct b_device {
    char id[96];
    char library[32];
    char name[32];
    char description[256];
    char filter_id[96];
    char pci_id[32];
    int integrated;
    uint64_t total;
    uint64_t free;
    int compute_major;
    int compute_minor;
    int driver_major;
    int driver_minor;
    struct strings library_path;
};

struct b_devices {
    struct b_device *items;
    size_t count;
};

void b_devices_add(struct b_devices *devices, const struct b_device *device); /* takes library_path over */
void b_devices_remove(struct b_devices *devices, size_t index);
void b_devices_free(struct b_devices *devices);
const char *b_device_directory(const struct b_device *device); /* the last of library_path, or "" */

/* JSON. parse: 0, or -1 with `devices` empty for anything that is not an array of such objects. */
int b_devices_parse(const char *text, size_t size, struct b_devices *devices);
char *b_devices_write(const struct b_devices *devices); /* the caller frees it */

struct b_server {
    struct layout layout;
    double scale;
    int rebuild_child_environment;
};

/* runner.go bootstrapDevices: one child, asked once. `extra` are "NAME=value" for its environment. */
void b_bootstrap(const struct b_server *server, int64_t deadline, const struct strings *directories,
                 const struct strings *extra, struct b_devices *found);

/* runner.go filterOverlapByLibrary: marks in `dropped` what another directory's library serves too. */
void b_filter_overlap(const struct b_devices *devices, int *dropped);
void b_filter_duplicates(struct b_devices *devices);

void b_report(const struct b_devices *devices);

/* The child: `ollama runner --ollama-engine --port N`. Does not return while it is being asked. */
int b_runner(int port);

/* The devices of all backends that the libraries in OLLAMA_LIBRARY_PATH register. */
void b_backend_devices(struct b_devices *devices);

#endif
