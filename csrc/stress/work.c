/* Each step is chosen at random. A worker's own memory, streams and events are nobody else's, so every answer about
 * them is known; the rest (counts, free memory) is checked for what must always hold. */
#include "stress/work.h"

#include <string.h>

static uint64_t next(struct worker *self) {
    self->random ^= self->random << 13;
    self->random ^= self->random >> 7;
    self->random ^= self->random << 17;
    return self->random;
}

static void expect(struct worker *self, int holds, const char *what) {
    if (!holds) {
        self->wrong++;
        self->first_wrong = self->first_wrong != NULL ? self->first_wrong : what;
    }
}

#define CALL(name, ...) (self->calls++, vgpu_call_##name(self->process, ##__VA_ARGS__))
#define OK(name, ...) expect(self, CALL(name, ##__VA_ARGS__) == 0, #name)

static void memory(struct worker *self, uint32_t slot) {
    unsigned char bytes[BLOCK];
    if (self->memory[slot] == 0) {
        OK(cuMemAlloc_v2, &self->memory[slot], BLOCK);
        self->mark[slot] = (unsigned char)next(self);
        OK(cuMemsetD8_v2, self->memory[slot], self->mark[slot], BLOCK);
        return;
    }
    memset(bytes, ~self->mark[slot], sizeof(bytes));
    OK(cuMemcpyDtoH_v2, bytes, self->memory[slot], BLOCK);
    expect(self, bytes[0] == self->mark[slot] && memcmp(bytes, bytes + 1, BLOCK - 1) == 0, "contents of memory");
    OK(cuMemFree_v2, self->memory[slot]);
    self->memory[slot] = 0;
}

static void stream(struct worker *self, uint32_t slot) {
    if (self->streams[slot] == NULL) {
        OK(cuStreamCreate, &self->streams[slot], 1);
        return;
    }
    OK(cuStreamQuery, self->streams[slot]);
    OK(cuStreamDestroy_v2, self->streams[slot]);
    self->streams[slot] = NULL;
}

static void event(struct worker *self, uint32_t slot) {
    if (self->events[slot] == NULL) {
        OK(cuEventCreate, &self->events[slot], 0);
        return;
    }
    OK(cuEventRecord, self->events[slot], NULL);
    OK(cuEventSynchronize, self->events[slot]);
    OK(cuEventDestroy_v2, self->events[slot]);
    self->events[slot] = NULL;
}

static void contexts(struct worker *self) {
    CUcontext found = NULL;
    CUcontext own = NULL;
    OK(cuCtxCreate_v2, &own, 0, 0);
    OK(cuCtxGetCurrent, &found);
    expect(self, found == own, "the context just made is current");
    OK(cuCtxDestroy_v2, own);
    OK(cuCtxGetCurrent, &found);
    expect(self, found == self->context, "the thread's own stack of contexts");
}

static void questions(struct worker *self) {
    size_t free = 0;
    size_t total = 0;
    int value = 0;
    void *function = NULL;
    int status = -1;
    OK(cuMemGetInfo_v2, &free, &total);
    expect(self, free <= total && total > 0, "free memory");
    OK(cuDeviceGetAttribute, &value, 75, 0);
    OK(cuGetProcAddress_v2, "cuMemAlloc", &function, 12000, 0, &status);
    expect(self, function != NULL && status == 0, "cuGetProcAddress");
}

static void nvml(struct worker *self) {
    unsigned int count = 0;
    nvmlDevice_t device = NULL;
    nvmlMemory_t memory_info = {0};
    char uuid[96];
    self->inits++;
    OK(nvmlInit_v2);
    OK(nvmlDeviceGetCount_v2, &count);
    OK(nvmlDeviceGetHandleByIndex_v2, count - 1, &device);
    OK(nvmlDeviceGetUUID, device, uuid, sizeof(uuid));
    OK(nvmlDeviceGetMemoryInfo, device, &memory_info);
    expect(self, memory_info.used + memory_info.free <= memory_info.total, "NVML's memory");
    OK(nvmlShutdown);
}

void work(struct worker *self) {
    uint32_t slot = (uint32_t)(next(self) % SLOTS);
    switch (next(self) % 6) {
    case 0:
        memory(self, slot);
        break;
    case 1:
        stream(self, slot);
        break;
    case 2:
        event(self, slot);
        break;
    case 3:
        contexts(self);
        break;
    case 4:
        questions(self);
        break;
    default:
        nvml(self);
        break;
    }
}

void finish(struct worker *self) {
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        if (self->memory[slot] != 0) {
            memory(self, slot);
        }
        if (self->streams[slot] != NULL) {
            stream(self, slot);
        }
        if (self->events[slot] != NULL) {
            event(self, slot);
        }
    }
}
