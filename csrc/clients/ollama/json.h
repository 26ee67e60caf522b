/* JSON as the clients exchange it: objects with fixed keys. Each function answers whether what it reads was there. */
#ifndef OLLAMA_JSON_H
#define OLLAMA_JSON_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "ollama/text.h"

struct json {
    const char *at;
    const char *end;
};

void json_skip_space(struct json *in);
int json_take(struct json *in, char wanted);
int json_word(struct json *in, const char *word);
int json_string(struct json *in, char *out, size_t size); /* what does not fit is cut */
int json_number(struct json *in, uint64_t *value);
int json_small(struct json *in, int *value);
int json_flag(struct json *in, int *value);
int json_list(struct json *in, struct strings *list);
int json_skip_value(struct json *in, int depth);

/* An array; each item is read by `item`. A null is an empty one. */
typedef int (*json_item)(struct json *in, void *to);
int json_array(struct json *in, json_item item, void *to);

/* What an object may have, and where it goes. */
enum json_kind { JSON_TEXT, JSON_NUMBER, JSON_SMALL, JSON_FLAG, JSON_LIST, JSON_ARRAY };
struct json_member {
    const char *key;
    enum json_kind kind;
    void *to;
    size_t size;    /* of a text */
    json_item item; /* of an array */
};

/* An object; members of other names are skipped, as by encoding/json. */
int json_object(struct json *in, const struct json_member *members, size_t count);

void json_write_string(FILE *out, const char *text);
void json_write_pair(FILE *out, const char *key, const char *text); /* with a comma after it */

#endif
