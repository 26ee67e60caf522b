/* How a server builds its children's environment, and what it shows of it. */
#include "ollama/environment.h"

#include <stdlib.h>
#include <string.h>

#include "ollama/log.h"

extern char **environ;

/* Is `item` of the same name as "NAME=..."? */
static int same_name(const char *item, const char *assignment) {
    const char *equals = strchr(assignment, '=');
    size_t length = equals == NULL ? 0 : (size_t)(equals - assignment) + 1;
    return length > 0 && strncmp(item, assignment, length) == 0;
}

void environment_of_child(const struct strings *changes, int rebuilt, struct strings *items) {
    for (char **item = environ; *item != NULL; item++) {
        int kept = !rebuilt || same_name(*item, "PATH=") || same_name(*item, "HOME=");
        for (size_t i = 0; i < changes->count && kept; i++) {
            kept = !same_name(*item, changes->items[i]);
        }
        if (kept) {
            strings_add(items, *item);
        }
    }
    for (size_t i = 0; i < changes->count; i++) {
        strings_add(items, changes->items[i]);
    }
}

void environment_log(const char *source, const struct strings *items, const char *const *prefixes, size_t count) {
    struct strings shown = {0};
    for (size_t i = 0; i < items->count; i++) {
        for (size_t k = 0; k < count; k++) {
            if (strncmp(items->items[i], prefixes[k], strlen(prefixes[k])) == 0) {
                strings_add(&shown, items->items[i]);
                break;
            }
        }
    }
    log_items(LOG_DEBUG, source, "subprocess", &shown);
    strings_free(&shown);
}

char *environment_map(const struct strings *items) {
    struct strings pairs = {0};
    for (size_t i = 0; i < items->count; i++) {
        const char *equals = strchr(items->items[i], '=');
        strings_addf(&pairs, "%.*s:%s", (int)(equals - items->items[i]), items->items[i], equals + 1);
    }
    strings_sort(&pairs);
    char *inner = strings_join(&pairs, " ");
    char *map = text_format("map[%s]", inner);
    free(inner);
    strings_free(&pairs);
    return map;
}
