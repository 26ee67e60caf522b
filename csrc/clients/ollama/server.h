/* `ollama serve`, as far as generations B and C do the same (discover/runner.go GPUDevices): the directories, two
 * passes, the filters and the report. */
#ifndef OLLAMA_SERVER_H
#define OLLAMA_SERVER_H

#include <stdint.h>

#include "ollama/devices.h"
#include "ollama/layout.h"
#include "ollama/text.h"

struct server;

/* What a generation does in its own way. */
struct generation {
    /* Is a directory ruled out before anything is started? */
    int (*is_skipped)(const char *directory);
    /* The devices that one look finds with these directories and "NAME=value" additions to the environment. */
    void (*bootstrap)(const struct server *server, int64_t deadline, const struct strings *directories,
                      const struct strings *extra, struct devices *found);
    /* NULL, or: drops what pass 1 found in a directory and may not be used. */
    void (*sort_out)(const char *directory, struct devices *found);
    /* NULL, or: drops what may not be used of all that pass 1 found. */
    void (*admit)(struct devices *devices);
    /* NULL, or: changes a device's filter_id, once the devices are numbered. */
    void (*choose_filter)(struct device *device);
};

struct server {
    const struct generation *generation;
    struct layout layout;
    double scale;
    int rebuild_child_environment;
};

/* `serve [--scale X] [--rebuild-child-environment]`: runs it and gives the exit status, or -1 for another command line.
 */
int server_main(const struct generation *generation, int argc, char **argv);

/* `seconds` from now, scaled. */
int64_t server_deadline(const struct server *server, double seconds);

/* Reasons to skip a directory that both generations have; they say so in the log. */
int server_not_requested(const char *directory);
int server_is_jetpack(const char *directory);

#endif
