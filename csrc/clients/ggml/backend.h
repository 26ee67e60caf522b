/* What a runner and the mini libggml-cuda.so share: the stand-in for ggml-backend-impl.h. The library exports
 * ggml_backend_init and ggml_log_set. */
#ifndef GGML_BACKEND_H
#define GGML_BACKEND_H

#include <stddef.h>
#include <stdint.h>

enum { GGML_BACKEND_API_VERSION = 2 };

enum ggml_log_level { GGML_LOG_DEBUG = 1, GGML_LOG_INFO = 2, GGML_LOG_WARN = 3, GGML_LOG_ERROR = 4 };
typedef void (*ggml_log_callback)(enum ggml_log_level level, const char *text);

struct ggml_device_props {
    char id[64];   /* GPU-<uuid> */
    char name[16]; /* CUDA0 */
    char description[256];
    char pci_id[32]; /* 0000:00:05.0 */
    int compute_major;
    int compute_minor;
    int driver_major;
    int driver_minor;
    int integrated;
};

struct ggml_backend_reg {
    int api_version;
    const char *name;
    const char *archs; /* "500,520,..", for the line about the system */
    size_t (*device_count)(void);
    void (*device_props)(size_t index, struct ggml_device_props *props);
    void (*device_memory)(size_t index, uint64_t *available, uint64_t *total);
    /* A buffer in the device's memory, through the driver's virtual memory calls. NULL: none. */
    void *(*buffer_new)(size_t index, size_t size);
    void (*buffer_free)(void *buffer);
};

typedef struct ggml_backend_reg *(*ggml_backend_init_function)(void);
typedef int (*ggml_backend_score_function)(void);
typedef void (*ggml_log_set_function)(ggml_log_callback callback);

#endif
