/* Where Ollama is installed, and the memory of the host. */
#ifndef OLLAMA_LAYOUT_H
#define OLLAMA_LAYOUT_H

#include <stdint.h>

struct layout {
    char *executable; /* what /proc/self/exe points to */
    char *lib_ollama; /* LibOllamaPath */
};

/* 0, or -1 with a message on stderr. */
int layout_find(struct layout *layout);
void layout_free(struct layout *layout);

void host_memory(uint64_t *total, uint64_t *available);

#endif
