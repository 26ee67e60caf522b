/* Writer of the trace. A writer takes its slots with one fetch-and-add and owns them from then on: nobody waits, a
 * writer that dies leaves its slots FREE or BEGUN and hurts no other. Uses no libc symbol. */
#include "vgpu/trace.h"

#include <fcntl.h>
#include <linux/stat.h>
#include <linux/time.h>
#include <sys/mman.h>

#include "vgpu/raw.h"

static const char trace_magic[VGPU_MAGIC_SIZE] = {'V', 'G', 'P', 'U', 'T', 'R', 'C', 'E'};

static int sound(const struct vgpu_trace_header *header, uint64_t size) {
    for (int i = 0; i < VGPU_MAGIC_SIZE; i++) {
        if (header->magic[i] != trace_magic[i]) {
            return 0;
        }
    }
    return header->version == VGPU_TRACE_VERSION && header->slot_size == VGPU_SLOT_SIZE &&
           header->capacity <= (size - VGPU_TRACE_HEADER_SIZE) / VGPU_SLOT_SIZE;
}

int vgpu_trace_open(struct vgpu_trace *trace, const char *path) {
    trace->header = NULL;
    long fd = vgpu_raw6(SYS_openat, AT_FDCWD, (long)path, O_RDWR | O_CLOEXEC, 0, 0, 0);
    if (fd < 0) {
        return -1;
    }
    struct statx facts;
    if (vgpu_raw6(SYS_statx, fd, (long)"", AT_EMPTY_PATH, STATX_SIZE, (long)&facts, 0) == 0 &&
        facts.stx_size >= VGPU_TRACE_HEADER_SIZE) {
        long at = vgpu_raw6(SYS_mmap, 0, (long)facts.stx_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (at > 0) {
            if (sound((const struct vgpu_trace_header *)at, facts.stx_size)) {
                trace->header = (struct vgpu_trace_header *)at;
                trace->mapped_size = facts.stx_size;
            } else {
                vgpu_raw3(SYS_munmap, at, (long)facts.stx_size, 0);
            }
        }
    }
    vgpu_raw3(SYS_close, fd, 0, 0);
    return trace->header != NULL ? 0 : -1;
}

void vgpu_trace_close(struct vgpu_trace *trace) {
    if (trace->header != NULL) {
        vgpu_raw3(SYS_munmap, (long)trace->header, (long)trace->mapped_size, 0);
        trace->header = NULL;
    }
}

/* Where the bytes of a record's two strings go: through its first slot, then its further ones. */
struct cursor {
    struct vgpu_record *first;
    uint64_t at;
    uint64_t size;
};

static void put(struct cursor *cursor, char byte) {
    uint64_t at = cursor->at++;
    if (at < VGPU_RECORD_TEXT_SIZE) {
        cursor->first->text[at] = byte;
        return;
    }
    at -= VGPU_RECORD_TEXT_SIZE;
    struct vgpu_more *more = (struct vgpu_more *)cursor->first + 1 + at / VGPU_MORE_TEXT_SIZE;
    more->text[at % VGPU_MORE_TEXT_SIZE] = byte;
}

/* Copies what fits, `keep` bytes left over, and a NUL. Answers whether the text was cut. */
static int put_text(struct cursor *cursor, const char *text, uint64_t keep) {
    while (*text != '\0' && cursor->at + 1 + keep < cursor->size) {
        put(cursor, *text++);
    }
    put(cursor, '\0');
    return *text != '\0';
}

static uint64_t slots_for(uint64_t text_size) {
    if (text_size <= VGPU_RECORD_TEXT_SIZE) {
        return 1;
    }
    uint64_t slots = 1 + (text_size - VGPU_RECORD_TEXT_SIZE + VGPU_MORE_TEXT_SIZE - 1) / VGPU_MORE_TEXT_SIZE;
    return slots <= VGPU_RECORD_SLOTS_MAX ? slots : VGPU_RECORD_SLOTS_MAX;
}

void vgpu_trace_write(struct vgpu_trace *trace, const struct vgpu_event *event) {
    struct vgpu_trace_header *header = trace->header;
    if (header == NULL) {
        return;
    }
    const char *name = event->name != NULL ? event->name : "";
    const char *text = event->text != NULL ? event->text : "";
    uint64_t slots = slots_for(vgpu_length(name) + 1 + vgpu_length(text) + 1);
    uint64_t index = __atomic_fetch_add(&header->next, slots, __ATOMIC_RELAXED);
    if (index + slots > header->capacity) {
        __atomic_fetch_add(&header->dropped, 1, __ATOMIC_RELAXED);
        return;
    }
    struct vgpu_record *record =
        (struct vgpu_record *)((char *)header + VGPU_TRACE_HEADER_SIZE + index * VGPU_SLOT_SIZE);
    record->index = (uint32_t)index;
    record->slots = (uint16_t)slots;
    __atomic_store_n(&record->state, VGPU_SLOT_BEGUN, __ATOMIC_RELEASE);

    for (uint64_t i = 1; i < slots; i++) {
        struct vgpu_more *more = (struct vgpu_more *)record + i;
        more->index = (uint32_t)(index + i);
        more->state = VGPU_SLOT_MORE;
    }
    struct timespec now;
    vgpu_raw3(SYS_clock_gettime, CLOCK_MONOTONIC, (long)&now, 0);
    record->time_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    record->pid = (int32_t)vgpu_raw3(SYS_getpid, 0, 0, 0);
    record->tid = (int32_t)vgpu_raw3(SYS_gettid, 0, 0, 0);
    record->parent = (int32_t)vgpu_raw3(SYS_getppid, 0, 0, 0);
    record->kind = event->kind;
    record->library = event->library;
    record->inputs = event->inputs;
    record->outputs = event->outputs;
    record->result = event->result;
    record->caller = event->caller;
    for (int i = 0; i < VGPU_RECORD_INPUTS; i++) {
        record->in[i] = event->in[i];
    }
    for (int i = 0; i < VGPU_RECORD_OUTPUTS; i++) {
        record->out[i] = event->out[i];
    }
    struct cursor cursor = {
        .first = record,
        .size = VGPU_RECORD_TEXT_SIZE + (slots - 1) * VGPU_MORE_TEXT_SIZE,
    };
    int cut = put_text(&cursor, name, 1);
    cut |= put_text(&cursor, text, 0);
    record->flags = (uint8_t)(event->flags | (cut ? VGPU_RECORD_CUT : 0));
    __atomic_store_n(&record->state, VGPU_SLOT_DONE, __ATOMIC_RELEASE);
}
