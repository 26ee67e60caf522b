/* Calls the CUDA runtime that it is linked to, as its arguments say, and prints a line for each call:
 *     NAME CODE [KEY=VALUE]...
 * An argument is NAME or NAME:NUMBER[:NUMBER]; "thread" and "fork" stand before one that is to be called there. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime.h"

static long long number[3];
static void *memory;
static struct cudaDeviceProp prop;

static const struct {
    size_t offset, size, item;
    int attribute;
} fields[] = {
#define CUDART_PROP(type, field, dimension, attribute)                                                                 \
    {offsetof(struct cudaDeviceProp, field), sizeof prop.field, sizeof(type), attribute},
#include "device_prop.def"
};

static void hex(const char *key, const unsigned char *bytes, size_t size) {
    printf(" %s=", key);
    for (size_t i = 0; i < size; i++) {
        printf("%02x", bytes[i]);
    }
}

static int call_count(void) {
    int count = 4711;
    int code = cudaGetDeviceCount(&count);
    printf("count %d value=%d\n", code, count);
    return code;
}

static void call_properties(const char *name) {
    memset(&prop, 0x5a, sizeof prop);
    int code = cudaGetDeviceProperties(&prop, (int)number[0]);
    printf("%s %d", name, code);
    if (code == 0) {
        hex("name", (unsigned char *)prop.name, strlen(prop.name));
        hex("uuid", (unsigned char *)prop.uuid.bytes, sizeof prop.uuid.bytes);
        printf(" totalGlobalMem=%zu", prop.totalGlobalMem);
        for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
            for (size_t n = 0; fields[i].attribute != 0 && n < fields[i].size / fields[i].item; n++) {
                long long wide = 0;
                int narrow;
                memcpy(&narrow, (char *)&prop + fields[i].offset + n * fields[i].item, sizeof narrow);
                memcpy(&wide, (char *)&prop + fields[i].offset + n * fields[i].item, fields[i].item);
                printf(" %d=%lld", fields[i].attribute + (int)n, fields[i].item == sizeof wide ? wide : narrow);
            }
        }
    }
    printf("\n");
}

#if CUDART_MAJOR == 12
#undef cudaGetDeviceProperties
static void call_old_properties(void) {
    memset(&prop, 0x5a, sizeof prop);
    int code = cudaGetDeviceProperties(&prop, (int)number[0]);
    printf("oldproperties %d major=%d reserved=%zu next=%x\n", code, prop.major, prop.reservedSharedMemPerBlock,
           (unsigned int)prop.hostRegisterSupported);
}
#endif

static void call_malloc(void) {
    memory = &prop;
    int code = cudaMalloc(&memory, (size_t)number[0]);
    printf("malloc %d null=%d\n", code, memory == NULL);
}

static void call_memory(void) {
    size_t available = 0;
    size_t total = 0;
    int code = cudaMemGetInfo(&available, &total);
    printf("memory %d free=%zu total=%zu\n", code, available, total);
}

static void call_pci(void) {
    char text[32] = "#";
    int code = cudaDeviceGetPCIBusId(text, (int)number[1], (int)number[0]);
    printf("pci %d value=%s\n", code, text);
}

static void call_int(const char *name, int code, int value) {
    printf("%s %d value=%d\n", name, code, value);
}

static void call(const char *name) {
    int value = 4711;
    int code = 0;
    if (strcmp(name, "count") == 0) {
        call_count();
    } else if (strcmp(name, "properties") == 0) {
        call_properties(name);
#if CUDART_MAJOR == 12
    } else if (strcmp(name, "oldproperties") == 0) {
        call_old_properties();
#endif
    } else if (strcmp(name, "malloc") == 0) {
        call_malloc();
    } else if (strcmp(name, "free") == 0) {
        printf("free %d\n", cudaFree(number[0] != 0 ? (void *)(uintptr_t)number[0] : memory));
    } else if (strcmp(name, "memory") == 0) {
        call_memory();
    } else if (strcmp(name, "pci") == 0) {
        call_pci();
    } else if (strcmp(name, "device") == 0) {
        code = cudaGetDevice(&value);
        call_int(name, code, value);
    } else if (strcmp(name, "set") == 0) {
        printf("set %d\n", cudaSetDevice((int)number[0]));
    } else if (strcmp(name, "attribute") == 0) {
        code = cudaDeviceGetAttribute(&value, (int)number[0], (int)number[1]);
        call_int(name, code, value);
    } else if (strcmp(name, "peer") == 0) {
        code = cudaDeviceCanAccessPeer(&value, (int)number[0], (int)number[1]);
        call_int(name, code, value);
    } else if (strcmp(name, "driver") == 0) {
        code = cudaDriverGetVersion(&value);
        call_int(name, code, value);
    } else if (strcmp(name, "runtime") == 0) {
        code = cudaRuntimeGetVersion(&value);
        call_int(name, code, value);
    } else if (strcmp(name, "last") == 0) {
        printf("last %d\n", cudaGetLastError());
    } else if (strcmp(name, "peek") == 0) {
        printf("peek %d\n", cudaPeekAtLastError());
    } else if (strcmp(name, "sync") == 0) {
        printf("sync %d\n", cudaDeviceSynchronize());
    } else if (strcmp(name, "reset") == 0) {
        printf("reset %d\n", cudaDeviceReset());
    } else if (strcmp(name, "flags") == 0) {
        printf("flags %d\n", cudaSetDeviceFlags((unsigned int)number[0]));
    } else if (strcmp(name, "stream") == 0) {
        cudaStream_t stream;
        printf("stream %d\n", cudaStreamCreateWithFlags(&stream, 0));
    } else if (strcmp(name, "null") == 0) {
        printf("null %d\n", cudaGetDeviceCount(NULL));
    } else {
        fprintf(stderr, "unknown call %s\n", name);
        exit(2);
    }
}

static void one(char *word) {
    char *rest = strchr(word, ':');
    memset(number, 0, sizeof number);
    for (int i = 0; rest != NULL && i < 3; i++) {
        *rest++ = '\0';
        number[i] = strtoll(rest, &rest, 0);
        rest = *rest == ':' ? rest : NULL;
    }
    call(word);
    fflush(stdout);
}

static void *in_thread(void *word) {
    one(word);
    return NULL;
}

int main(int count, char **words) {
    for (int i = 1; i < count; i++) {
        pthread_t thread;
        if (strcmp(words[i], "thread") == 0) {
            pthread_create(&thread, NULL, in_thread, words[++i]);
            pthread_join(thread, NULL);
        } else if (strcmp(words[i], "fork") == 0) {
            i++;
            if (fork() == 0) {
                one(words[i]);
                _exit(0);
            }
            wait(NULL);
        } else {
            one(words[i]);
        }
    }
    return 0;
}
