/* The device and the context of a thread. The runtime works in the device's primary context, which it makes at first
 * use and makes current to each thread that comes; a context that a program has made current itself is used as it is.
 */
#include <pthread.h>

#include "cudart.h"

static _Thread_local int current;
static _Thread_local driver_context bound; /* the primary context that the thread was given last */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static driver_context primary[CUDART_DEVICES_MAX];

int cudart_current_device(void) {
    int handle;
    if (CUDART_DRIVER(cuCtxGetDevice, &handle) == cudaSuccess) {
        for (int i = 0; i < cudart_device_count(); i++) {
            if (cudart_device(i)->handle == handle) {
                return i;
            }
        }
    }
    return current;
}

cudaError_t cudart_primary_context(int ordinal, driver_context *context) {
    cudaError_t code = cudaSuccess;
    pthread_mutex_lock(&lock);
    *context = primary[ordinal];
    if (*context == NULL) {
        code = CUDART_DRIVER(cuDevicePrimaryCtxRetain, context, cudart_device(ordinal)->handle);
        __atomic_store_n(&primary[ordinal], code == cudaSuccess ? *context : NULL, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&lock);
    return code;
}

static cudaError_t bind(int ordinal) {
    driver_context context;
    cudaError_t code = cudart_primary_context(ordinal, &context);
    if (code == cudaSuccess) {
        code = CUDART_DRIVER(cuCtxSetCurrent, context);
    }
    if (code == cudaSuccess) {
        bound = context;
    }
    return code;
}

/* A primary context that another thread's cudaDeviceReset has destroyed is still current here. */
static int is_gone(driver_context context) {
    return context == bound && context != __atomic_load_n(&primary[current], __ATOMIC_ACQUIRE);
}

cudaError_t cudart_enter(void) {
    cudaError_t code = cudart_start();
    if (code != cudaSuccess) {
        return code;
    }
    driver_context context = NULL;
    if (CUDART_DRIVER(cuCtxGetCurrent, &context) == cudaSuccess && context != NULL && !is_gone(context)) {
        return cudaSuccess;
    }
    return bind(current);
}

cudaError_t cudart_enter_with(const void *needed) {
    cudaError_t code = cudart_start_with(needed);
    return code == cudaSuccess ? cudart_enter() : code;
}

cudaError_t cudaGetDevice(int *device) {
    cudaError_t code = cudart_start_with(device);
    if (code == cudaSuccess) {
        *device = cudart_current_device();
    }
    return cudart_end(code);
}

/* Since 12.0 the primary context is made at once (documentation of cudaSetDevice). */
cudaError_t cudaSetDevice(int device) {
    cudaError_t code = cudart_start();
    if (code == cudaSuccess) {
        code = cudart_device(device) == NULL ? cudaErrorInvalidDevice : bind(device);
    }
    if (code == cudaSuccess) {
        current = device;
    }
    return cudart_end(code);
}

cudaError_t cudaSetDeviceFlags(unsigned int flags) {
    enum { KNOWN = 0xff }; /* cudaDeviceMask */
    cudaError_t code = cudart_start();
    if (code == cudaSuccess) {
        code =
            (flags & ~(unsigned int)KNOWN) != 0
                ? cudaErrorInvalidValue
                : CUDART_DRIVER(cuDevicePrimaryCtxSetFlags_v2, cudart_device(cudart_current_device())->handle, flags);
    }
    return cudart_end(code);
}

cudaError_t cudaDeviceSynchronize(void) {
    cudaError_t code = cudart_enter();
    return cudart_end(code == cudaSuccess ? CUDART_DRIVER(cuCtxSynchronize) : code);
}

/* The context that the driver has destroyed stays current where it was; so the thread's is taken away, too. */
cudaError_t cudaDeviceReset(void) {
    cudaError_t code = cudart_start();
    if (code != cudaSuccess) {
        return cudart_end(code);
    }
    int ordinal = cudart_current_device();
    code = CUDART_DRIVER(cuDevicePrimaryCtxReset, cudart_device(ordinal)->handle);
    if (code == cudaSuccess) {
        pthread_mutex_lock(&lock);
        __atomic_store_n(&primary[ordinal], NULL, __ATOMIC_RELEASE);
        pthread_mutex_unlock(&lock);
        code = CUDART_DRIVER(cuCtxSetCurrent, NULL);
    }
    return cudart_end(code);
}

cudaError_t cudaDeviceCanAccessPeer(int *canAccessPeer, int device, int peerDevice) {
    cudaError_t code = cudart_start_for(canAccessPeer, device);
    if (code == cudaSuccess && cudart_device(peerDevice) == NULL) {
        code = cudaErrorInvalidDevice;
    }
    if (code == cudaSuccess) {
        code = CUDART_DRIVER(cuDeviceCanAccessPeer, canAccessPeer, cudart_device(device)->handle,
                             cudart_device(peerDevice)->handle);
    }
    return cudart_end(code);
}

cudaError_t cudaDeviceEnablePeerAccess(int peerDevice, unsigned int flags) {
    driver_context peer;
    cudaError_t code = cudart_start_for(&peer, peerDevice);
    if (code == cudaSuccess) {
        code = flags != 0 ? cudaErrorInvalidValue : cudart_enter();
    }
    if (code == cudaSuccess) {
        code = cudart_primary_context(peerDevice, &peer);
    }
    return cudart_end(code == cudaSuccess ? CUDART_DRIVER(cuCtxEnablePeerAccess, peer, 0) : code);
}
