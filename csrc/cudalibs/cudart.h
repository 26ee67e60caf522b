/* The parts of the runtime stand-in. Every entry point is a function of its own that ends in cudart_end. */
#ifndef CUDALIBS_CUDART_H
#define CUDALIBS_CUDART_H

#include "driver.h"

enum { CUDART_DEVICES_MAX = 64 };

struct cudart_device {
    int handle; /* CUdevice */
    struct cudaDeviceProp properties;
};

/* Keeps an error as the thread's last one; answers it. */
cudaError_t cudart_end(cudaError_t code);

/* The start of the runtime: finds and initialises the driver and reads its devices, once. An error of it lasts, and
 * comes before any look at an argument. */
cudaError_t cudart_start(void);

/* The start, then cudaErrorInvalidValue if `needed` is NULL; then cudaErrorInvalidDevice if there is no `ordinal`. */
cudaError_t cudart_start_with(const void *needed);
cudaError_t cudart_start_for(const void *needed, int ordinal);

/* After a start, whatever came of it: 1000 * major + 10 * minor, or 0 if there is no driver to say so. */
int cudart_driver_version(void);

/* After a start that succeeded. NULL: there is no device `ordinal`. */
int cudart_device_count(void);
const struct cudart_device *cudart_device(int ordinal);

/* The thread's device. */
int cudart_current_device(void);

/* Starts the runtime and makes the primary context of the thread's device current, unless the thread has a context. */
cudaError_t cudart_enter(void);

/* The same, with cudart_start_with. */
cudaError_t cudart_enter_with(const void *needed);

/* The primary context of a device, made at first use. */
cudaError_t cudart_primary_context(int ordinal, driver_context *context);

/* Enters, and finds the driver's form of a function that the program has registered; its first use loads its code. */
cudaError_t cudart_enter_function(const void *host_function, driver_function *function);

#endif
