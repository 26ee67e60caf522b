/* Finds the driver as NVIDIA's libcudart does (measured on 12.8.90 and 13.0.96): dlopen by soname, dlsym of
 * cuGetProcAddress_v2 on that handle, and every function through it, with the version of driver.def. A driver that does
 * not export it is asked for the first form, and one that has neither by plain dlsym. */
#include "driver.h"

#include <dlfcn.h>
#include <string.h>

struct driver cudart_driver;

static void *library;

static const struct {
    const char *symbol;
    const char *base;
    int version;
    void *slot;
} functions[] = {
#define DRIVER(symbol, base, version, parameters) {#symbol, #base, version, &cudart_driver.symbol},
#include "driver.def"
};

enum { FUNCTIONS = sizeof(functions) / sizeof(functions[0]) };

/* dlsym answers a data pointer for a function; C has no conversion between the two, so the bytes are copied. */
#define TAKE(slot, address) memcpy((slot), &(address), sizeof(address))

static int (*newer)(const char *symbol, void **function, int version, uint64_t flags, int *status);
static int (*older)(const char *symbol, void **function, int version, uint64_t flags);

static void *find(int i) {
    void *function = NULL;
    int status = 0;
    if (newer != NULL) {
        int code = newer(functions[i].base, &function, functions[i].version, 0, &status);
        return code == cudaSuccess && status == 0 ? function : NULL;
    }
    if (older != NULL) {
        return older(functions[i].base, &function, functions[i].version, 0) == cudaSuccess ? function : NULL;
    }
    return dlsym(library, functions[i].symbol);
}

int cudart_find_driver(void) {
    library = dlopen("libcuda.so.1", RTLD_NOW);
    if (library == NULL) {
        return 0;
    }
    void *address = dlsym(library, "cuGetProcAddress_v2");
    TAKE(&newer, address);
    address = dlsym(library, "cuGetProcAddress");
    TAKE(&older, address);
    for (int i = 0; i < FUNCTIONS; i++) {
        address = find(i);
        TAKE(functions[i].slot, address);
    }
    return 1;
}
