/* The mini libggml-base.so: the log, and the functions that go through a backend's tables. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "llama/ggml_abi.h"

static void show_on_stderr(enum ggml_log_level level, const char *text, void *user_data) {
    (void)level;
    (void)user_data;
    fputs(text, stderr);
    fflush(stderr);
}

static ggml_log_callback sink = show_on_stderr;
static void *sink_data;

void ggml_log_set(ggml_log_callback callback, void *user_data) {
    sink = callback != NULL ? callback : show_on_stderr;
    sink_data = user_data;
}

void ggml_log_internal(enum ggml_log_level level, const char *format, ...) {
    char *text = NULL;
    va_list arguments;
    va_start(arguments, format);
    int length = vasprintf(&text, format, arguments);
    va_end(arguments);
    if (length >= 0) {
        sink(level, text, sink_data);
        free(text);
    }
}

void ggml_abort(const char *file, int line, const char *format, ...) {
    va_list arguments;
    fflush(stdout);
    fprintf(stderr, "%s:%d: ", file, line);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    abort();
}

const char *ggml_backend_reg_name(ggml_backend_reg_t reg) {
    return reg->iface.get_name(reg);
}

size_t ggml_backend_reg_dev_count(ggml_backend_reg_t reg) {
    return reg->iface.get_device_count(reg);
}

ggml_backend_dev_t ggml_backend_reg_dev_get(ggml_backend_reg_t reg, size_t index) {
    return reg->iface.get_device(reg, index);
}

void *ggml_backend_reg_get_proc_address(ggml_backend_reg_t reg, const char *name) {
    return reg->iface.get_proc_address == NULL ? NULL : reg->iface.get_proc_address(reg, name);
}

const char *ggml_backend_dev_name(ggml_backend_dev_t device) {
    return device->iface.get_name(device);
}

const char *ggml_backend_dev_description(ggml_backend_dev_t device) {
    return device->iface.get_description(device);
}

void ggml_backend_dev_memory(ggml_backend_dev_t device, size_t *available, size_t *total) {
    device->iface.get_memory(device, available, total);
}

enum ggml_backend_dev_type ggml_backend_dev_type(ggml_backend_dev_t device) {
    return device->iface.get_type(device);
}

void ggml_backend_dev_get_props(ggml_backend_dev_t device, struct ggml_backend_dev_props *props) {
    *props = (struct ggml_backend_dev_props){0};
    device->iface.get_props(device, props);
}

ggml_backend_t ggml_backend_dev_init(ggml_backend_dev_t device, const char *params) {
    return device->iface.init_backend(device, params);
}

void ggml_backend_free(ggml_backend_t backend) {
    if (backend != NULL) {
        backend->iface.free(backend);
    }
}
