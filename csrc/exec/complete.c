/* What the child has of its own stays, in its order. A list gets the entries that it lacks, in ours: preloaded and
 * auditing libraries before the child's, as ours were before them at the start; folders behind, as the child's are to
 * be searched first. A VGPU_HOST or VGPU_TRACE of its own is meant so. */
#include "exec/complete.h"

#include "exec/list.h"
#include "vgpu/raw.h"

static const char *our_list(const struct vgpu_plan *plan, int variable) {
    return vgpu_kept_value(plan->kept->variables[variable], vgpu_kept_rows[variable].name);
}

/* The value of the child's own list, "" if it has none. */
static const char *own_value(const struct vgpu_plan *plan, int variable, size_t at) {
    const char *value = at < plan->count ? vgpu_kept_value(plan->envp[at], vgpu_kept_rows[variable].name) : NULL;
    return value != NULL ? value : "";
}

/* Is the entry in the child's list? All of several LD_AUDIT count. */
static int child_has(const struct vgpu_plan *plan, int variable, const struct vgpu_list_entry *entry) {
    const struct vgpu_kept_row *row = &vgpu_kept_rows[variable];
    size_t last = row->last ? plan->variables[variable].at + 1 : plan->count;
    for (size_t i = plan->variables[variable].at; i < last && i < plan->count; i++) {
        if (vgpu_list_has(own_value(plan, variable, i), NULL, row->separators, entry)) {
            return 1;
        }
    }
    return 0;
}

/* The next entry of ours that the child lacks; each once. */
static int next_missing(const struct vgpu_plan *plan, int variable, const char **at, struct vgpu_list_entry *entry) {
    const struct vgpu_kept_row *row = &vgpu_kept_rows[variable];
    const char *ours = our_list(plan, variable);
    while (vgpu_list_next(at, row->separators, entry)) {
        if (!vgpu_list_has(ours, entry->start, row->separators, entry) && !child_has(plan, variable, entry)) {
            return 1;
        }
    }
    return 0;
}

static void find_own(struct vgpu_plan *plan) {
    size_t count = 0;
    while (plan->envp != NULL && plan->envp[count] != NULL) {
        count++;
    }
    plan->count = count;
    for (int i = 0; i < VGPU_KEPT_VARIABLES; i++) {
        plan->variables[i].at = count;
    }
    for (size_t n = 0; n < count; n++) {
        if (plan->envp[n][0] != 'L' && plan->envp[n][0] != 'V') {
            continue;
        }
        for (int i = 0; i < VGPU_KEPT_VARIABLES; i++) {
            if (vgpu_kept_value(plan->envp[n], vgpu_kept_rows[i].name) != NULL &&
                (vgpu_kept_rows[i].last || plan->variables[i].at == count)) {
                plan->variables[i].at = n;
            }
        }
    }
}

void vgpu_plan_make(struct vgpu_plan *plan, const struct vgpu_kept *kept, char *const envp[]) {
    *plan = (struct vgpu_plan){.kept = kept, .envp = envp};
    find_own(plan);
    size_t added = 0;
    size_t text = 0;
    for (int i = 0; i < VGPU_KEPT_VARIABLES; i++) {
        struct vgpu_list_entry entry;
        size_t missing = 0;
        if (kept->variables[i] == NULL) {
            continue;
        }
        if (i >= VGPU_KEPT_LISTS) {
            plan->variables[i].wanted = plan->variables[i].at == plan->count;
        } else {
            for (const char *at = our_list(plan, i); next_missing(plan, i, &at, &entry);) {
                missing += entry.length + 1;
            }
            plan->variables[i].wanted = missing != 0;
            text += missing != 0 ? vgpu_length(vgpu_kept_rows[i].name) + 1 + missing +
                                       vgpu_length(own_value(plan, i, plan->variables[i].at)) + 1
                                 : 0;
        }
        plan->changes += plan->variables[i].wanted != 0;
        added += plan->variables[i].wanted && plan->variables[i].at == plan->count;
    }
    plan->size = (plan->count + added + 1) * sizeof(char *) + text;
}

static char *put(char *to, const char *from, size_t length) {
    for (size_t i = 0; i < length; i++) {
        to[i] = from[i];
    }
    return to + length;
}

/* An entry, or several with their separators; with a separator of our own if it is not the first. */
static char *put_entry(char *to, const char *start, const char *entry, size_t length) {
    if (to != start && length != 0) {
        *to++ = ':';
    }
    return put(to, entry, length);
}

/* Writes "NAME=list"; answers where it ends. */
static char *put_list(const struct vgpu_plan *plan, int variable, char *to) {
    const char *name = vgpu_kept_rows[variable].name;
    const char *own = own_value(plan, variable, plan->variables[variable].at);
    struct vgpu_list_entry entry;
    to = put(to, name, vgpu_length(name));
    *to++ = '=';
    const char *start = to;
    if (variable == VGPU_KEPT_FOLDERS) {
        to = put_entry(to, start, own, vgpu_length(own));
    }
    for (const char *at = our_list(plan, variable); next_missing(plan, variable, &at, &entry);) {
        to = put_entry(to, start, entry.start, entry.length);
    }
    if (variable != VGPU_KEPT_FOLDERS) {
        to = put_entry(to, start, own, vgpu_length(own));
    }
    *to++ = '\0';
    return to;
}

char **vgpu_plan_carry_out(const struct vgpu_plan *plan, void *room) {
    char **variables = room;
    size_t count = plan->count;
    size_t added = 0;
    for (size_t i = 0; i < count; i++) {
        variables[i] = plan->envp[i];
    }
    for (int i = 0; i < VGPU_KEPT_VARIABLES; i++) {
        added += plan->variables[i].wanted && plan->variables[i].at == count;
    }
    char *text = (char *)&variables[count + added + 1];
    for (int i = 0; i < VGPU_KEPT_VARIABLES; i++) {
        if (!plan->variables[i].wanted) {
            continue;
        }
        size_t at = plan->variables[i].at < plan->count ? plan->variables[i].at : count++;
        if (i < VGPU_KEPT_LISTS) {
            variables[at] = text;
            text = put_list(plan, i, text);
        } else {
            variables[at] = (char *)(uintptr_t)plan->kept->variables[i];
        }
    }
    variables[count] = NULL;
    return variables;
}
