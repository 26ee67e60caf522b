/* One call of a function whose prototype is not known: the arguments go where the x86-64 ABI has integers and pointers,
 * six in registers and the others on the stack, so a function finds those that it has. */
#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "prober/prober.h"

enum {
    BUFFER = 65536, /* larger than any structure of the two headers */
    POISON = 0xa5,
    SETUPS = 64,
};

typedef uint64_t function(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                          uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t);

static unsigned char *buffers;
static uint64_t registers[SETUPS];
static int register_count;

unsigned call_seconds = 5; /* an initialisation that finds no GPU takes less than one */

struct arguments {
    uint64_t value[PROBER_ARGUMENTS];
    size_t output[PROBER_ARGUMENTS]; /* bytes that are shown afterwards */
};

int call_map(const char *address) {
    void *wanted = (void *)(uintptr_t)strtoull(address, NULL, 0);
    buffers = mmap(wanted, (size_t)PROBER_ARGUMENTS * BUFFER, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
    return buffers == wanted;
}

static unsigned char *buffer(int i) {
    return buffers + (size_t)i * BUFFER;
}

/* nulls, buffers: all of them NULL, or the address of zeroed memory
 * n       NULL
 * iNUMBER an integer
 * sTEXT   the address of a text
 * oBYTES  the address of memory that is filled with 0xa5 and shown afterwards
 * rN      what the setup N left in its first output */
static void arguments_read(const struct task *task, struct arguments *to) {
    memset(to, 0, sizeof(*to));
    const char *first = task->count > 2 ? task->words[2] : "";
    if (strcmp(first, "buffers") == 0) {
        for (int i = 0; i < PROBER_ARGUMENTS; i++) {
            memset(buffer(i), 0, BUFFER);
            to->value[i] = (uintptr_t)buffer(i);
        }
    }
    for (int i = 0; i + 2 < task->count && i < PROBER_ARGUMENTS; i++) {
        const char *word = task->words[i + 2] + 1;
        switch (task->words[i + 2][0]) {
        case 'i':
            to->value[i] = (uint64_t)strtoll(word, NULL, 0);
            break;
        case 's':
            to->value[i] = (uintptr_t)word;
            break;
        case 'o':
            to->output[i] = strtoul(word, NULL, 0) < BUFFER ? strtoul(word, NULL, 0) : BUFFER;
            memset(buffer(i), POISON, to->output[i]);
            to->value[i] = (uintptr_t)buffer(i);
            break;
        case 'r':
            to->value[i] = atoi(word) < register_count ? registers[atoi(word)] : 0;
            break;
        default:
            break;
        }
    }
}

static uint64_t invoke(void *address, const uint64_t *a) {
    call_begins();
    uint64_t answer = ((function *)address)(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9], a[10], a[11],
                                            a[12], a[13], a[14], a[15]);
    alarm(0);
    return answer;
}

void call_do(void *library, const struct task *task, struct line *line) {
    struct arguments arguments;
    void *address = dlsym(library, task->words[1]);
    if (address == NULL) {
        line_add(line, "missing");
        return;
    }
    arguments_read(task, &arguments);
    uint64_t answer = invoke(address, arguments.value);
    if (strcmp(task->words[0], "text") == 0) {
        line_add(line, "text %s", answer != 0 ? (const char *)(uintptr_t)answer : "(null)");
    } else {
        line_add(line, "code %d", (int)answer);
    }
    for (int i = 0; i < PROBER_ARGUMENTS; i++) {
        for (size_t at = 0; at < arguments.output[i]; at++) {
            line_add(line, "%s%02x", at == 0 ? " " : "", buffer(i)[at]);
        }
    }
}

void call_setup(void *library, const struct task *task) {
    struct arguments arguments;
    void *address = dlsym(library, task->words[1]);
    arguments_read(task, &arguments);
    if (address != NULL) {
        invoke(address, arguments.value);
    }
    for (int i = 0; i < PROBER_ARGUMENTS && register_count < SETUPS; i++) {
        if (arguments.output[i] != 0) {
            memcpy(&registers[register_count], buffer(i), sizeof(registers[0]));
            if (arguments.output[i] < sizeof(registers[0])) {
                registers[register_count] &= (1ull << (8 * arguments.output[i])) - 1;
            }
            register_count++;
            break;
        }
    }
}
