/* The public C ABI of ggml (ggml.h, ggml-backend.h, ggml-backend-impl.h of llama.cpp of 2026, GGML_BACKEND_API_VERSION
 * 2), as far as discovery reaches. The mini libraries implement it and the clients call it, so each of them works with
 * the real one of another. Types that nobody here looks into are void pointers. */
#ifndef LLAMA_GGML_ABI_H
#define LLAMA_GGML_ABI_H

#include <stdbool.h>
#include <stddef.h>

enum { GGML_BACKEND_API_VERSION = 2 };

enum ggml_log_level {
    GGML_LOG_LEVEL_NONE = 0,
    GGML_LOG_LEVEL_DEBUG = 1,
    GGML_LOG_LEVEL_INFO = 2,
    GGML_LOG_LEVEL_WARN = 3,
    GGML_LOG_LEVEL_ERROR = 4,
    GGML_LOG_LEVEL_CONT = 5,
};
typedef void (*ggml_log_callback)(enum ggml_log_level level, const char *text, void *user_data);

typedef struct ggml_backend_reg *ggml_backend_reg_t;
typedef struct ggml_backend_device *ggml_backend_dev_t;
typedef struct ggml_backend *ggml_backend_t;

enum ggml_backend_dev_type {
    GGML_BACKEND_DEVICE_TYPE_CPU = 0,
    GGML_BACKEND_DEVICE_TYPE_GPU = 1,
    GGML_BACKEND_DEVICE_TYPE_IGPU = 2,
};

struct ggml_backend_dev_caps {
    bool async;
    bool host_buffer;
    bool buffer_from_host_ptr;
    bool events;
};

struct ggml_backend_dev_props {
    const char *name;        /* CUDA0 */
    const char *description; /* NVIDIA H100 80GB HBM3 */
    size_t memory_free;
    size_t memory_total;
    enum ggml_backend_dev_type type;
    const char *device_id; /* 0000:00:05.0 */
    struct ggml_backend_dev_caps caps;
};

struct ggml_backend_device_i {
    const char *(*get_name)(ggml_backend_dev_t device);
    const char *(*get_description)(ggml_backend_dev_t device);
    void (*get_memory)(ggml_backend_dev_t device, size_t *available, size_t *total);
    enum ggml_backend_dev_type (*get_type)(ggml_backend_dev_t device);
    void (*get_props)(ggml_backend_dev_t device, struct ggml_backend_dev_props *props);
    ggml_backend_t (*init_backend)(ggml_backend_dev_t device, const char *params);
    void *(*get_buffer_type)(ggml_backend_dev_t device);
    void *(*get_host_buffer_type)(ggml_backend_dev_t device);
    void *(*buffer_from_host_ptr)(ggml_backend_dev_t device, void *memory, size_t size, size_t max_tensor_size);
    bool (*supports_op)(ggml_backend_dev_t device, const void *op);
    bool (*supports_buft)(ggml_backend_dev_t device, void *type);
    bool (*offload_op)(ggml_backend_dev_t device, const void *op);
    void *(*event_new)(ggml_backend_dev_t device);
    void (*event_free)(ggml_backend_dev_t device, void *event);
    void (*event_synchronize)(ggml_backend_dev_t device, void *event);
};

struct ggml_backend_device {
    struct ggml_backend_device_i iface;
    ggml_backend_reg_t reg;
    void *context;
};

/* A device in use. */
struct ggml_backend_i {
    const char *(*get_name)(ggml_backend_t backend);
    void (*free)(ggml_backend_t backend);
    void *tensors_graphs_and_events[14];
};

struct ggml_backend {
    const unsigned char *guid;
    struct ggml_backend_i iface;
    ggml_backend_dev_t device;
    void *context;
};

struct ggml_backend_reg_i {
    const char *(*get_name)(ggml_backend_reg_t reg);
    size_t (*get_device_count)(ggml_backend_reg_t reg);
    ggml_backend_dev_t (*get_device)(ggml_backend_reg_t reg, size_t index);
    void *(*get_proc_address)(ggml_backend_reg_t reg, const char *name);
};

struct ggml_backend_reg {
    int api_version;
    struct ggml_backend_reg_i iface;
    void *context;
};

/* What ggml_backend_reg_get_proc_address(reg, "ggml_backend_get_features") leads to: an array that ends with a NULL
 * name. */
struct ggml_backend_feature {
    const char *name;
    const char *value;
};
typedef struct ggml_backend_feature *(*ggml_backend_get_features_t)(ggml_backend_reg_t reg);

typedef ggml_backend_reg_t (*ggml_backend_init_t)(void);
typedef int (*ggml_backend_score_t)(void);

#define GGML_API __attribute__((visibility("default")))

/* libggml-base.so */
GGML_API void ggml_log_set(ggml_log_callback callback, void *user_data);
GGML_API __attribute__((format(printf, 2, 3))) void ggml_log_internal(enum ggml_log_level level, const char *format,
                                                                      ...);
GGML_API __attribute__((noreturn, format(printf, 3, 4))) void ggml_abort(const char *file, int line, const char *format,
                                                                         ...);
GGML_API const char *ggml_backend_reg_name(ggml_backend_reg_t reg);
GGML_API size_t ggml_backend_reg_dev_count(ggml_backend_reg_t reg);
GGML_API ggml_backend_dev_t ggml_backend_reg_dev_get(ggml_backend_reg_t reg, size_t index);
GGML_API void *ggml_backend_reg_get_proc_address(ggml_backend_reg_t reg, const char *name);
GGML_API const char *ggml_backend_dev_name(ggml_backend_dev_t device);
GGML_API const char *ggml_backend_dev_description(ggml_backend_dev_t device);
GGML_API void ggml_backend_dev_memory(ggml_backend_dev_t device, size_t *available, size_t *total);
GGML_API enum ggml_backend_dev_type ggml_backend_dev_type(ggml_backend_dev_t device);
GGML_API void ggml_backend_dev_get_props(ggml_backend_dev_t device, struct ggml_backend_dev_props *props);
GGML_API ggml_backend_t ggml_backend_dev_init(ggml_backend_dev_t device, const char *params);
GGML_API void ggml_backend_free(ggml_backend_t backend);

/* libggml.so */
GGML_API ggml_backend_reg_t ggml_backend_load(const char *path);
GGML_API void ggml_backend_load_all(void);
GGML_API size_t ggml_backend_reg_count(void);
GGML_API ggml_backend_reg_t ggml_backend_reg_get(size_t index);
GGML_API size_t ggml_backend_dev_count(void);
GGML_API ggml_backend_dev_t ggml_backend_dev_get(size_t index);

/* libggml-cuda.so and its like; the score is optional, and 0 means that the system cannot use it. */
GGML_API ggml_backend_reg_t ggml_backend_init(void);
GGML_API int ggml_backend_score(void);

#endif
