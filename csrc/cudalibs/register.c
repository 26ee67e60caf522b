/* The code that a program carries. Its static constructors register it (nvcc's host_runtime.h) before the program has
 * begun, thousands of kernels for a large library: here it is only written down. A kernel's code is loaded at its first
 * use. */
#include <pthread.h>
#include <stdlib.h>

#include "cudart.h"

enum { BUCKETS = 4096 };

struct module;

struct function {
    const void *host;
    const char *name;
    struct module *module;
    cudaKernel_t kernel; /* NULL: not loaded */
    struct function *next_in_bucket;
    struct function *next_in_module;
};

/* What __cudaRegisterFatBinary answers is the address of the first field. */
struct module {
    void *handle;
    const void *code;
    driver_library library; /* NULL: not loaded */
    struct function *functions;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct function *buckets[BUCKETS];

/* __fatBinC_Wrapper_t of fatbinary_section.h. */
struct wrapper {
    int magic;
    int version;
    const void *data;
    void *file_or_list;
};

static struct function **bucket_of(const void *host) {
    uintptr_t number = (uintptr_t)host;
    return &buckets[(number >> 4 ^ number >> 16) % BUCKETS];
}

static void take_lock(void) {
    pthread_mutex_lock(&lock);
}

static void give_lock(void) {
    pthread_mutex_unlock(&lock);
}

/* A child that is forked while another thread loads code unregisters its own at its end: nobody would unlock there. */
static void mind_forks(void) {
    pthread_atfork(take_lock, give_lock, give_lock);
}

/* The caller cannot be told of a failure: it gets no handle, and its kernels are unknown when they are launched. */
void **__cudaRegisterFatBinary(void *fatCubin) {
    const struct wrapper *wrapper = fatCubin;
    struct module *module = wrapper != NULL ? calloc(1, sizeof(*module)) : NULL;
    if (module == NULL) {
        return NULL;
    }
    pthread_once(&once, mind_forks);
    module->handle = fatCubin;
    module->code = wrapper->data;
    return &module->handle;
}

void __cudaRegisterFatBinaryEnd(void **fatCubinHandle) {
    (void)fatCubinHandle;
}

void __cudaRegisterFunction(void **fatCubinHandle, const char *hostFun, char *deviceFun, const char *deviceName,
                            int thread_limit, struct uint3 *tid, struct uint3 *bid, dim3 *bDim, dim3 *gDim,
                            int *wSize) {
    (void)deviceFun;
    (void)thread_limit;
    (void)tid;
    (void)bid;
    (void)bDim;
    (void)gDim;
    (void)wSize;
    struct module *module = (struct module *)fatCubinHandle;
    struct function *function = module != NULL ? calloc(1, sizeof(*function)) : NULL;
    if (function == NULL) {
        return;
    }
    function->host = hostFun;
    function->name = deviceName;
    function->module = module;
    struct function **bucket = bucket_of(hostFun);
    pthread_mutex_lock(&lock);
    function->next_in_bucket = *bucket;
    *bucket = function;
    function->next_in_module = module->functions;
    module->functions = function;
    pthread_mutex_unlock(&lock);
}

/* None of the functions here takes a variable of the device. */
void __cudaRegisterVar(void **fatCubinHandle, char *hostVar, char *deviceAddress, const char *deviceName, int ext,
                       size_t size, int constant, int global) {
    (void)fatCubinHandle;
    (void)hostVar;
    (void)deviceAddress;
    (void)deviceName;
    (void)ext;
    (void)size;
    (void)constant;
    (void)global;
}

static void forget(struct function *function) {
    struct function **at = bucket_of(function->host);
    while (*at != function) {
        at = &(*at)->next_in_bucket;
    }
    *at = function->next_in_bucket;
    free(function);
}

/* Runs at the end of a program, too, when the driver may be gone: it then answers 4, and nothing is lost. */
void __cudaUnregisterFatBinary(void **fatCubinHandle) {
    struct module *module = (struct module *)fatCubinHandle;
    if (module == NULL) {
        return;
    }
    pthread_mutex_lock(&lock);
    while (module->functions != NULL) {
        struct function *function = module->functions;
        module->functions = function->next_in_module;
        forget(function);
    }
    pthread_mutex_unlock(&lock);
    if (module->library != NULL) {
        (void)CUDART_DRIVER(cuLibraryUnload, module->library);
    }
    free(module);
}

static cudaError_t load(struct function *function) {
    struct module *module = function->module;
    cudaError_t code = cudaSuccess;
    if (module->library == NULL) {
        code = CUDART_DRIVER(cuLibraryLoadData, &module->library, module->code, NULL, NULL, 0, NULL, NULL, 0);
    }
    return code == cudaSuccess ? CUDART_DRIVER(cuLibraryGetKernel, &function->kernel, module->library, function->name)
                               : code;
}

static cudaError_t find(const void *host, cudaKernel_t *kernel) {
    for (struct function *at = *bucket_of(host); at != NULL; at = at->next_in_bucket) {
        if (at->host == host) {
            cudaError_t code = at->kernel == NULL ? load(at) : cudaSuccess;
            *kernel = at->kernel;
            return code;
        }
    }
    return cudaErrorInvalidDeviceFunction;
}

cudaError_t cudart_enter_function(const void *host_function, driver_function *function) {
    cudaKernel_t kernel;
    cudaError_t code = cudart_enter();
    if (code != cudaSuccess) {
        return code;
    }
    pthread_mutex_lock(&lock);
    code = find(host_function, &kernel);
    pthread_mutex_unlock(&lock);
    return code == cudaSuccess ? CUDART_DRIVER(cuKernelGetFunction, function, kernel) : code;
}
