/* Generation A of Ollama's discovery (up to v0.12.3): the server itself opens the libraries that its globs find. */
#ifndef OLLAMA_GEN_A_H
#define OLLAMA_GEN_A_H

#include <stddef.h>
#include <stdint.h>

#include "abi.h"
#include "ollama/text.h"

/* gpu_info.h's mem_info_t. */
struct a_device {
    char id[64];
    char name[256];
    int major;
    int minor;
    int driver_major;
    int driver_minor;
    uint64_t total;
    uint64_t free;
    char *error; /* NULL: the fields above hold */
};

/* A library that is open and initialised; its devices are asked for one by one. */
struct a_library {
    void *handle; /* NULL: none */
    int devices;
    int driver_major;
    int driver_minor;
    char *error;     /* why there is no handle */
    cu_result code;  /* the driver's, -1 if it was not the driver that failed */
    void *functions; /* the table of the file that opened it */
};

/* A function that is looked up, and where its pointer goes in the table of the file that looks. */
struct a_name {
    const char *name;
    size_t offset;
};

/* Opens `path` and looks all `names` up. Answers the table of `size` bytes that library->functions is now, or NULL,
 * with the reason in library->error. `announce`: say each address, as the driver's way does. */
void *a_load(const char *path, struct a_library *library, const struct a_name *names, size_t count, size_t size,
             int announce);
void a_give_up(struct a_library *library, cu_result code, char *error);

/* FindGPULibs: the real paths of all matches of `name`, without duplicates. `extra` come before the fixed patterns. */
void a_find_libraries(const char *lib_ollama, const char *name, const struct strings *extra, struct strings *paths);

void a_nvcuda_open(const char *path, struct a_library *library);
void a_nvcuda_device(const struct a_library *library, int index, struct a_device *device);
void a_nvcuda_release(struct a_library *library);

void a_cudart_open(const char *path, struct a_library *library);
void a_cudart_device(const struct a_library *library, int index, struct a_device *device);
void a_cudart_release(struct a_library *library);

void a_format_uuid(char *out, size_t size, const unsigned char *bytes);

/* Ollama's C code is told whether to chatter by the log level. */
int a_verbose(void);

#endif
