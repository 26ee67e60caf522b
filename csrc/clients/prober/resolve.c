/* What cuGetProcAddress answers for a name: all versions of the job, flags 0, 1 and 2. A version is only shown where
 * the answer is not that of the version before it. */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "prober/prober.h"

enum { FLAGS = 3, MARK = 77, ANSWER = 320 };

typedef int first_form(const char *symbol, void **pfn, int version, uint64_t flags);
typedef int second_form(const char *symbol, void **pfn, int version, uint64_t flags, int *status);

struct export {
    const void *address;
    const char *name;
};

static struct export *exports;
static int export_count;

static int by_address(const void *a, const void *b) {
    const struct export *one = a, *two = b;
    if (one->address != two->address) {
        return (uintptr_t)one->address < (uintptr_t)two->address ? -1 : 1;
    }
    return strcmp(one->name, two->name);
}

void resolve_exports(void *library, char **names, int count) {
    exports = calloc((size_t)count + 1, sizeof(*exports));
    for (int i = 0; exports != NULL && i < count; i++) {
        void *address = dlsym(library, names[i]);
        if (address != NULL) {
            exports[export_count++] = (struct export){address, names[i]};
        }
    }
    if (exports != NULL) {
        qsort(exports, (size_t)export_count, sizeof(*exports), by_address);
    }
}

void resolve_aliases(struct line *line) {
    line_add(line, "alias");
    for (int i = 0; i < export_count; i++) {
        int joined = i > 0 && exports[i].address == exports[i - 1].address;
        int joins = i + 1 < export_count && exports[i].address == exports[i + 1].address;
        if (joined || joins) {
            line_add(line, "%s%s", joined ? "=" : " ", exports[i].name);
        }
    }
}

/* The first of the names at an address. */
static const char *name_of(const void *address) {
    int low = 0, high = export_count;
    while (low < high) {
        int middle = (low + high) / 2;
        if ((uintptr_t)exports[middle].address < (uintptr_t)address) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < export_count && exports[low].address == address ? exports[low].name : "unexported";
}

static void ask(void *form, int second, const char *symbol, int version, int flags, char *to) {
    static char marker;
    void *pfn = &marker;
    int status = MARK;
    call_begins();
    int code = second ? ((second_form *)form)(symbol, &pfn, version, (uint64_t)flags, &status)
                      : ((first_form *)form)(symbol, &pfn, version, (uint64_t)flags);
    alarm(0);
    const char *target = pfn == NULL ? "null" : pfn == &marker ? "untouched" : name_of(pfn);
    if (second && status != MARK) {
        snprintf(to, ANSWER, "%d,%d,%s", code, status, target);
    } else {
        snprintf(to, ANSWER, "%d,-,%s", code, target);
    }
}

void resolve_do(void *library, const struct task *task, const struct task *versions, struct line *line) {
    int second = strcmp(task->words[1], "v2") == 0;
    void *form = dlsym(library, second ? "cuGetProcAddress_v2" : "cuGetProcAddress");
    if (form == NULL) {
        line_add(line, "missing");
        return;
    }
    line_add(line, "answers");
    for (int flags = 0; flags < FLAGS; flags++) {
        char last[ANSWER] = "", now[ANSWER];
        line_add(line, " /");
        for (int i = 1; versions != NULL && i < versions->count; i++) {
            ask(form, second, task->words[2], atoi(versions->words[i]), flags, now);
            if (strcmp(last, now) != 0) {
                line_add(line, " %s:%s", versions->words[i], now);
                memcpy(last, now, sizeof(last));
            }
        }
    }
}
