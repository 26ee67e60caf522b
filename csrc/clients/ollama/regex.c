/* A backtracking matcher. What failed at a place once is not tried there again, so that a line of chatter costs time in
 * proportion to its length, as with Go's. */
#include "ollama/regex.h"

#include <stdlib.h>
#include <string.h>

enum { ATOMS_MAX = 96 };

enum kind { LITERAL, ANY, SPACE, DIGIT, SET, OPEN, CLOSE };
enum repeat { ONCE, STAR, PLUS, PLUS_LAZY };

struct atom {
    enum kind kind;
    enum repeat repeat;
    char literal;
    int group;
    const char *set; /* behind the bracket */
};

struct search {
    struct atom atoms[ATOMS_MAX];
    size_t count;
    const char *text;
    size_t size;
    unsigned char *failed; /* [atom][place] */
    size_t starts[REGEX_GROUPS];
    size_t ends[REGEX_GROUPS];
};

static int is_space(char c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\f' || c == '\r';
}

static int is_digit(char c) {
    return c >= '0' && c <= '9';
}

static int in_set(const char *set, char c) {
    for (; *set != ']'; set++) {
        if (*set == '\\' ? (set++, is_digit(c)) : *set == c) {
            return 1;
        }
    }
    return 0;
}

static int matches(const struct atom *atom, char c) {
    switch (atom->kind) {
    case ANY:
        return c != '\n';
    case SPACE:
        return is_space(c);
    case DIGIT:
        return is_digit(c);
    case SET:
        return in_set(atom->set, c);
    case LITERAL:
        return c == atom->literal;
    case OPEN:
    case CLOSE:
    default:
        return 0;
    }
}

/* One atom of the pattern; returns what is behind it. */
static const char *read_atom(const char *at, struct atom *atom, int *group) {
    *atom = (struct atom){.kind = LITERAL, .literal = *at};
    if (*at == '\\') {
        at++;
        atom->kind = *at == 's' ? SPACE : *at == 'd' ? DIGIT : LITERAL;
        atom->literal = *at;
    } else if (*at == '.') {
        atom->kind = ANY;
    } else if (*at == '[') {
        atom->kind = SET;
        atom->set = at + 1;
        at = strchr(at, ']');
    } else if (*at == '(') {
        atom->kind = OPEN;
        atom->group = ++*group;
    } else if (*at == ')') {
        atom->kind = CLOSE;
        atom->group = *group;
    }
    at++;
    if (*at == '*' || *at == '+') {
        atom->repeat = *at == '*' ? STAR : PLUS;
        at++;
        if (*at == '?') {
            atom->repeat = PLUS_LAZY;
            at++;
        }
    }
    return at;
}

static int run(struct search *search, size_t index, size_t place);

static int matches_at(const struct search *search, const struct atom *atom, size_t place) {
    return place < search->size && matches(atom, search->text[place]);
}

/* The rest of the pattern after each length that a repeat can have from `place`, in the order of preference. A repeat
 * that begins one place later tries the same ends but the first: where that failed, only the first is left. */
static int run_repeat(struct search *search, size_t index, size_t place) {
    const struct atom *atom = &search->atoms[index];
    unsigned char *failed = search->failed + index * (search->size + 1) + place;
    size_t least = atom->repeat == STAR ? 0 : 1;
    size_t most = matches_at(search, atom, place) ? 1 : 0;
    if (most > 0 && atom->repeat != ONCE && failed[1]) {
        most = least;
    } else if (most > 0 && atom->repeat != ONCE) {
        while (matches_at(search, atom, place + most)) {
            most++;
        }
    }
    for (size_t i = least; i <= most; i++) {
        size_t length = atom->repeat == PLUS_LAZY ? i : most - (i - least);
        if (run(search, index + 1, place + length)) {
            return 1;
        }
    }
    memset(failed, 1, most > least ? most - least + 1 : 1);
    return 0;
}

static int run(struct search *search, size_t index, size_t place) {
    if (index == search->count) {
        search->ends[0] = place;
        return 1;
    }
    const struct atom *atom = &search->atoms[index];
    if (atom->kind == OPEN || atom->kind == CLOSE) {
        size_t *slot = atom->kind == OPEN ? &search->starts[atom->group] : &search->ends[atom->group];
        if (run(search, index + 1, place)) {
            *slot = place;
            return 1;
        }
        return 0;
    }
    return !search->failed[index * (search->size + 1) + place] && run_repeat(search, index, place);
}

int regex_find(const char *pattern, const char *text, size_t size, struct regex_group groups[REGEX_GROUPS]) {
    struct search search = {.text = text, .size = size};
    int anchored = *pattern == '^';
    int found = 0;
    int group = 0;
    for (const char *at = pattern + anchored; *at != '\0';) {
        at = read_atom(at, &search.atoms[search.count++], &group);
    }
    search.failed = calloc(search.count, size + 1);
    if (search.failed == NULL) {
        abort();
    }
    for (size_t start = 0; start <= (anchored ? 0 : size) && !found; start++) {
        found = run(&search, 0, start);
        search.starts[0] = start;
    }
    free(search.failed);
    for (int i = 0; i <= group && found; i++) {
        groups[i] = (struct regex_group){text + search.starts[i], search.ends[i] - search.starts[i]};
    }
    return found;
}
