/* Requests, before anything acts on them. */
#ifndef EXECUTOR_CHECK_H
#define EXECUTOR_CHECK_H

#include "executor/format.h"

/* Takes the next example of a request that ends at `end`; `*at` is behind its calls afterwards. Refuses one that does
 * not keep to the format, so that whoever does the calls need not look. */
void check_example(const unsigned char **at, const unsigned char *end, uint32_t functions_known,
                   struct executor_example *example);

#endif
