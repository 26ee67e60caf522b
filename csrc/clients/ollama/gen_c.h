/* Generation C of Ollama's discovery (v0.30.0 and later): the server reads what llama-server prints, and asks a child
 * of its own, `ollama gpu-discover`, for the rest. */
#ifndef OLLAMA_GEN_C_H
#define OLLAMA_GEN_C_H

#include <stddef.h>
#include <stdint.h>

#include "ollama/devices.h"
#include "ollama/server.h"
#include "ollama/spawn.h"

/* nativeProbeDevice: what gpu-discover says of a GPU. */
struct c_native {
    char library[32];
    int index;
    int index_matches_backend;
    char name[256];
    char description[256];
    char device_id[64]; /* the PCI address */
    int integrated;
    int integrated_known;
    uint64_t total;
    uint64_t free;
    int compute_major;
    int compute_minor;
    int cuda_driver_major;
    int cuda_driver_minor;
    int nvidia_driver_major;
};

struct c_natives {
    struct c_native *items;
    size_t count;
};

void c_natives_add(struct c_natives *natives, const struct c_native *native);
/* Adds to `base` what `more` knows: devices are the same if their addresses are, or their numbers where one has none.
 */
void c_natives_merge(struct c_natives *base, const struct c_natives *more);

/* {"devices":[..]}. parse: NULL, or encoding/json's message, which the caller frees, with `natives` empty. */
char *c_natives_parse(const char *text, size_t size, struct c_natives *natives);
char *c_natives_write(const struct c_natives *natives); /* the caller frees it */

/* runner.go bootstrapDevicesWithMetalRetry: the three children of one directory. */
void c_bootstrap(const struct server *server, int64_t deadline, const struct strings *directories,
                 const struct strings *extra, struct devices *found);

/* A growing text, always terminated. */
struct c_text {
    char *items;
    size_t size;
};
void c_text_add(struct c_text *text, const char *bytes, size_t size);
void c_text_append(struct c_text *text, const struct c_text *more);

/* A child whose stdout and stderr are read; both may be one text. */
struct c_process {
    const char *program;
    char **argv;
    char **envp;
    struct c_text *out;
    struct c_text *err;
    /* NULL, or: asked whenever `err` has grown; true ends the child. */
    int (*is_enough)(void *context, const struct c_text *err);
    void *context;
    void (*started)(const struct c_process *process, int pid);
    int64_t grace; /* ns that a pipe may stay open after the child's end */
};
/* How it ended. */
enum c_end { C_EXITED, C_STOPPED, C_LATE, C_NOT_STARTED };
enum c_end c_process_run(const struct c_process *process, int64_t deadline, struct child *child, int *error);

/* One look for devices with some directories. */
struct c_look {
    const struct server *server;
    const struct strings *directories;
    const struct strings *extra; /* "NAME=value" for the children */
    int64_t deadline;
    char *llama_server;
    char *shown; /* the directories, for the log */
    struct strings environment;
    char *detail; /* the last piece of output that looks like an error */
};

void c_set_environment(struct c_look *look);
void c_pass_on(struct c_look *look, const char *bytes, size_t size);
/* Fills in what is the same for all children, and runs one. */
enum c_end c_run_child(const struct c_look *look, struct c_process *process, const struct strings *words,
                       int64_t deadline, struct child *child, int *error);

/* llama_server.go parseLlamaServerDevices: the devices in the text of all three children. */
void c_parse(const char *text, size_t size, const struct strings *directories, const struct c_natives *natives,
             struct devices *found);
/* Of the CUDA runtime in the directories, by names of files and directories. 0: there is none. */
int c_runtime_version(const struct strings *directories, int *major, int *minor);

/* cuda_compat.go: below cuda_v12 only, by the branch of NVIDIA's driver. */
void c_filter_old_driver(const char *directory, struct devices *devices);
void c_filter_integrated(struct devices *devices);
void c_choose_filter(struct device *device);

/* `ollama gpu-discover`. ggml and cuda: NULL, or the error's text, which the caller frees. */
int c_probe(int argc, char **argv);
char *c_probe_ggml(const struct strings *directories, struct c_natives *natives);
char *c_probe_cuda(struct c_natives *natives);
/* NULL, or the error: dlopen and dlsym as the native probe says it. */
char *c_open(const char *path, int global, void **library);
char *c_symbol(void *library, const char *name, void *function);

#endif
