/* The picture of a graph for graphviz. It is put together in memory and written by system calls: what the program has
 * open stays its own. */
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/graph.h"
#include "vgpu/raw.h"

enum {
    DOT_FLAGS = 0x3ffff, /* CU_GRAPH_DEBUG_DOT_FLAGS_*, all of them */
    FIRST_ROOM = 4096,
};

static const char *type_name(int type) {
    static const char *const names[] = {
        "KERNEL",       "MEMCPY",           "MEMSET",         "HOST",      "GRAPH",    "EMPTY",        "WAIT_EVENT",
        "EVENT_RECORD", "EXT_SEMAS_SIGNAL", "EXT_SEMAS_WAIT", "MEM_ALLOC", "MEM_FREE", "BATCH_MEM_OP", "CONDITIONAL"};
    return names[type];
}

/* A text that grows. Once there is no memory for it, `at` is NULL and stays so. */
struct drawing {
    char *at;
    size_t size;
    size_t room;
};

static void say(struct drawing *drawing, const char *format, ...) {
    va_list arguments;
    char line[128]; /* the longest has four numbers of at most ten digits */
    va_start(arguments, format);
    size_t length = (size_t)vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    if (drawing->at != NULL && drawing->room - drawing->size < length) {
        size_t room = 2 * (drawing->room + length);
        char *at = realloc(drawing->at, room);
        if (at == NULL) {
            free(drawing->at);
        }
        drawing->at = at;
        drawing->room = room;
    }
    if (drawing->at != NULL) {
        memcpy(drawing->at + drawing->size, line, length);
        drawing->size += length;
    }
}

static void draw(struct drawing *drawing, const struct vgpu_graph *graph) {
    say(drawing, "subgraph cluster_%u {\nlabel=\"graph_%u\";\n", graph->id, graph->id);
    for (size_t i = 0; i < graph->count; i++) {
        const struct vgpu_node *node = graph->nodes[i];
        say(drawing, "\"graph_%u_node_%u\" [shape=\"octagon\" label=\"%u %s\"];\n", graph->id, node->id, node->id,
            type_name(node->params.type));
        for (size_t j = 0; j < node->before_count; j++) {
            say(drawing, "\"graph_%u_node_%u\" -> \"graph_%u_node_%u\";\n", graph->id, node->before[j].from->id,
                graph->id, node->id);
        }
    }
    say(drawing, "}\n");
    for (size_t i = 0; i < graph->count; i++) {
        for (size_t j = 0; j < graph->nodes[i]->child_count; j++) {
            draw(drawing, graph->nodes[i]->children[j]);
        }
    }
}

/* 1, or 0: it cannot be written whole. */
static int write_file(const char *path, const char *text, size_t size) {
    long file = vgpu_raw6(SYS_openat, AT_FDCWD, (long)path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666, 0, 0);
    if (file < 0) {
        return 0;
    }
    size_t done = 0;
    long got = 1;
    while (done < size && got > 0) {
        got = vgpu_raw3(SYS_write, file, (long)(text + done), (long)(size - done));
        done += got > 0 ? (size_t)got : 0;
    }
    return vgpu_raw3(SYS_close, file, 0, 0) == 0 && done == size;
}

CUresult vgpu_cuGraphDebugDotPrint(struct vgpu_process *process, struct vgpu_call *call, CUgraph hGraph,
                                   const char *path, unsigned int flags) {
    struct vgpu_graph *graph = vgpu_graph_find(process, hGraph);
    if (graph == NULL || path == NULL || path[0] == 0 || (flags & ~(unsigned int)DOT_FLAGS) != 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    CUresult refusal = vgpu_cuda_ready(process);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    struct drawing drawing = {malloc(FIRST_ROOM), 0, FIRST_ROOM};
    say(&drawing, "digraph dot {\n");
    draw(&drawing, graph);
    say(&drawing, "}\n");
    if (drawing.at == NULL) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    int written = write_file(path, drawing.at, drawing.size);
    free(drawing.at);
    call->event.text = path;
    return written ? CUDA_SUCCESS : CUDA_ERROR_OPERATING_SYSTEM;
}
