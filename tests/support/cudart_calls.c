/* Calls each function of the CUDA runtime that passes something on to the driver, with arguments that are all
 * different, and prints the code and what came back after what the driver has printed. */
#include <stdio.h>
#include <string.h>

#include "runtime.h"

#define AT(number) ((void *)(uintptr_t)(number))
#define SHOW(call, ...) (fflush(stdout), printf("= %d", (call)), printf(" " __VA_ARGS__), printf("\n"))

static void kernel(void) {}
static void unknown(void) {}

/* What nvcc's host_runtime.h has a static constructor do; nothing of the driver is called yet. */
/* PTX, which a driver can load. */
#define CODE ".version 8.0 .target sm_50 .address_size 64 .visible .entry _Z6kernelv() { ret; }"

static const struct {
    int magic;
    int version;
    const void *data;
    void *file;
} code = {0x466243b1, 1, CODE, NULL};
static void **registered;

__attribute__((constructor)) static void load(void) {
    registered = __cudaRegisterFatBinary((void *)&code);
    __cudaRegisterFunction(registered, (const char *)kernel, NULL, "_Z6kernelv", -1, NULL, NULL, NULL, NULL, NULL);
    __cudaRegisterVar(registered, NULL, NULL, "variable", 0, 4, 0, 0);
    __cudaRegisterFatBinaryEnd(registered);
}

static void memory(void) {
    void *pointer = NULL;
    int can = 0;
    SHOW(cudaMallocManaged(&pointer, 11, 1), "%zu", (size_t)pointer);
    SHOW(cudaMallocHost(&pointer, 12), "%zu", (size_t)pointer);
    SHOW(cudaHostAlloc(&pointer, 13, 4), "%zu", (size_t)pointer);
    SHOW(cudaFreeHost(AT(14)), "");
    SHOW(cudaHostGetDevicePointer(&pointer, AT(15), 0), "%zu", (size_t)pointer);
    SHOW(cudaHostRegister(AT(16), 17, 2), "");
    SHOW(cudaHostUnregister(AT(18)), "");
    SHOW(cudaMemset(AT(19), 0x1ff, 20), "");
    SHOW(cudaMemsetAsync(AT(21), 22, 23, AT(24)), "");
    for (int kind = -1; kind <= 5; kind++) {
        SHOW(cudaMemcpyAsync(AT(25), AT(26), 27, kind, AT(28)), "");
    }
    for (int kind = -1; kind <= 5; kind++) {
        SHOW(cudaMemcpy2DAsync(AT(31), 40, AT(32), 41, 33, 34, kind, AT(35)), "");
    }
    SHOW(cudaMemcpy2DAsync(AT(31), 32, AT(32), 41, 33, 34, 0, NULL), "");
    SHOW(cudaMemcpyPeerAsync(AT(42), 1, AT(43), 0, 44, AT(45)), "");
    SHOW(cudaMemcpyPeerAsync(AT(42), 2, AT(43), 0, 44, AT(45)), "");
    SHOW(cudaDeviceCanAccessPeer(&can, 0, 1), "%d", can);
    SHOW(cudaDeviceEnablePeerAccess(1, 0), "");
    SHOW(cudaSetDeviceFlags(0x84), "");
    SHOW(cudaDeviceSynchronize(), "");
}

static void streams(void) {
    cudaStream_t stream = NULL;
    cudaEvent_t event = NULL;
    cudaGraph_t graph = NULL;
    cudaGraphExec_t exec = NULL;
    cudaGraphExecUpdateResultInfo info = {0, NULL, NULL};
    int status = 0;
    SHOW(cudaStreamCreateWithFlags(&stream, 1), "%zu", (size_t)stream);
    SHOW(cudaEventCreateWithFlags(&event, 2), "%zu", (size_t)event);
    SHOW(cudaEventRecord(event, stream), "");
    SHOW(cudaEventSynchronize(event), "");
    SHOW(cudaStreamWaitEvent(stream, event, 1), "");
    SHOW(cudaStreamBeginCapture(stream, 2), "");
    SHOW(cudaStreamIsCapturing(stream, &status), "%d", status);
    SHOW(cudaStreamEndCapture(stream, &graph), "%zu", (size_t)graph);
    SHOW(cudaGraphInstantiate(&exec, graph, 8), "%zu", (size_t)exec);
    SHOW(cudaGraphExecUpdate(exec, graph, &info), "%d", info.result);
    SHOW(cudaGraphLaunch(exec, stream), "");
    SHOW(cudaStreamSynchronize(stream), "");
    SHOW(cudaGraphExecDestroy(exec), "");
    SHOW(cudaGraphDestroy(graph), "");
    SHOW(cudaEventDestroy(event), "");
    SHOW(cudaStreamDestroy(stream), "");
}

static void kernels(void) {
    dim3 grid = {1, 2, 3};
    dim3 block = {4, 5, 6};
    dim3 got_grid;
    dim3 got_block;
    size_t shared;
    cudaStream_t stream;
    void *arguments[] = {"ARGUMENT"};
    struct cudaFuncAttributes attributes;
    cudaKernel_t handle = NULL;
    int blocks = 0;
    const cudaLaunchConfig_t config = {grid, block, 7, AT(8), AT(9), 10};
    SHOW(__cudaPushCallConfiguration(grid, block, 7, AT(8)), "");
    SHOW(__cudaPushCallConfiguration(block, grid, 9, AT(10)), "");
    SHOW(__cudaPopCallConfiguration(&got_grid, &got_block, &shared, &stream), "%u %u %zu %zu", got_grid.z, got_block.z,
         shared, (size_t)stream);
    SHOW(__cudaPopCallConfiguration(&got_grid, &got_block, &shared, &stream), "%u %u %zu %zu", got_grid.z, got_block.z,
         shared, (size_t)stream);
    SHOW(__cudaPopCallConfiguration(&got_grid, &got_block, &shared, &stream), "");
    SHOW(cudaLaunchKernel((const void *)kernel, grid, block, arguments, 7, AT(8)), "");
    SHOW(__cudaGetKernel(&handle, (const void *)kernel), "");
    SHOW(__cudaLaunchKernel(handle, block, grid, arguments, 9, AT(10)), "");
    SHOW(cudaLaunchCooperativeKernel((const void *)kernel, grid, block, arguments, 7, AT(8)), "");
    SHOW(cudaLaunchKernelExC(&config, (const void *)kernel, arguments), "");
    SHOW(cudaFuncSetAttribute((const void *)kernel, 8, 4096), "");
    SHOW(cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(&blocks, (const void *)kernel, 128, 64, 1), "%d",
         blocks);
    SHOW(cudaFuncGetAttributes(&attributes, (const void *)kernel), "%zu %d %d %d", attributes.sharedSizeBytes,
         attributes.maxThreadsPerBlock, attributes.nonPortableClusterSizeAllowed,
         attributes.clusterSchedulingPolicyPreference);
    SHOW(cudaLaunchKernel((const void *)unknown, grid, block, arguments, 0, NULL), "");
    __cudaUnregisterFatBinary(registered);
    SHOW(cudaLaunchKernel((const void *)kernel, grid, block, arguments, 0, NULL), "");
}

int main(int count, char **words) {
    printf("main\n");
    for (int i = 1; i < count; i++) {
        if (strcmp(words[i], "memory") == 0) {
            memory();
        } else if (strcmp(words[i], "streams") == 0) {
            streams();
        } else {
            kernels();
        }
    }
    return 0;
}
