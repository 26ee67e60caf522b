/* The parts of the mini libggml-cuda.so: log, memory by NVML, buffers by the driver's virtual memory calls. */
#ifndef GGML_GGML_H
#define GGML_GGML_H

#include <stddef.h>
#include <stdint.h>

#include "backend.h"
#include "driver.h"

__attribute__((format(printf, 2, 3))) void ggml_log(enum ggml_log_level level, const char *format, ...);

/* ggml_abort: the message on stderr, then SIGABRT. */
__attribute__((noreturn, format(printf, 3, 4))) void ggml_abort(const char *file, int line, const char *format, ...);

/* mem_nvml.cpp. init: 0 or an NVML code; memory likewise; release after each successful init. */
int ggml_nvml_init(void);
int ggml_nvml_memory(const char *uuid, uint64_t *available, uint64_t *total);
void ggml_nvml_release(void);

/* CU_CHECK: aborts with the driver's text for `code` unless it is success. */
void ggml_cu_check(cu_result code, const char *statement, int line);
#define CU_CHECK(call) ggml_cu_check((call), #call, __LINE__)

void ggml_allocation_prop(cu_device handle, struct cu_allocation_prop *prop);
void *ggml_buffer_new(cu_device handle, size_t granularity, size_t size);
void ggml_buffer_free(void *buffer);

#endif
