/* Generation B of Ollama's discovery (v0.12.4 .. v0.24.0): the server asks children, `ollama runner`, over HTTP. */
#ifndef OLLAMA_GEN_B_H
#define OLLAMA_GEN_B_H

#include "ollama/devices.h"
#include "ollama/server.h"

/* The devices as they travel in the answer to GET /info. parse: 0, or -1 with `devices` empty for anything that is not
 * an array of such objects. write: the caller frees it. */
int b_devices_parse(const char *text, size_t size, struct devices *devices);
char *b_devices_write(const struct devices *devices);

/* runner.go bootstrapDevices: one child, asked once. */
void b_bootstrap(const struct server *server, int64_t deadline, const struct strings *directories,
                 const struct strings *extra, struct devices *found);

/* The child: `ollama runner --ollama-engine --port N`. Does not return while it is being asked. */
int b_runner(int port);

/* The devices of all backends that the libraries in OLLAMA_LIBRARY_PATH register. */
void b_backend_devices(struct devices *devices);

#endif
