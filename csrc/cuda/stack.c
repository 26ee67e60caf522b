/* The stack of current contexts, one for each thread of each process state.
 *
 * A thread is known by a number that no other thread gets again, in 8 bytes of initial-exec TLS: reading it never
 * allocates. A stack that runs empty is freed; one that a thread leaves behind when it ends stays, out of reach. */
#include <stdlib.h>

#include "cuda/model.h"

struct vgpu_stack {
    struct vgpu_stack *next;
    uint64_t thread;
    uint32_t depth;
    uint32_t room;
    CUcontext *at;
};

static uint64_t threads_seen;
static __thread uint64_t this_thread __attribute__((tls_model("initial-exec")));

uint64_t vgpu_thread_number(void) {
    if (this_thread == 0) {
        this_thread = __atomic_add_fetch(&threads_seen, 1, __ATOMIC_RELAXED);
    }
    return this_thread;
}

/* The link that leads to this thread's stack; what it holds is NULL if there is none. */
static struct vgpu_stack **link_of(struct vgpu_cuda *cuda) {
    uint64_t thread = vgpu_thread_number();
    struct vgpu_stack **link = &cuda->stacks[thread % VGPU_STACK_BUCKETS];
    while (*link != NULL && (*link)->thread != thread) {
        link = &(*link)->next;
    }
    return link;
}

static void unlink_stack(struct vgpu_stack **link) {
    struct vgpu_stack *stack = *link;
    *link = stack->next;
    free(stack->at);
    free(stack);
}

CUcontext vgpu_stack_top(struct vgpu_cuda *cuda) {
    struct vgpu_stack *stack = *link_of(cuda);
    return stack != NULL ? stack->at[stack->depth - 1] : NULL;
}

int vgpu_stack_push(struct vgpu_cuda *cuda, CUcontext context) {
    struct vgpu_stack **link = link_of(cuda);
    struct vgpu_stack *stack = *link;
    if (stack == NULL) {
        stack = calloc(1, sizeof(*stack));
        if (stack == NULL) {
            return 0;
        }
        stack->thread = vgpu_thread_number();
        *link = stack;
    }
    if (stack->depth == stack->room) {
        uint32_t room = stack->room == 0 ? 4 : 2 * stack->room;
        CUcontext *at = realloc(stack->at, room * sizeof(*at));
        if (at == NULL) {
            if (stack->depth == 0) {
                unlink_stack(link);
            }
            return 0;
        }
        stack->at = at;
        stack->room = room;
    }
    stack->at[stack->depth++] = context;
    return 1;
}

void vgpu_stack_pop(struct vgpu_cuda *cuda) {
    struct vgpu_stack **link = link_of(cuda);
    if (--(*link)->depth == 0) {
        unlink_stack(link);
    }
}

void vgpu_stacks_free(struct vgpu_cuda *cuda) {
    for (uint32_t i = 0; i < VGPU_STACK_BUCKETS; i++) {
        while (cuda->stacks[i] != NULL) {
            unlink_stack(&cuda->stacks[i]);
        }
    }
}
