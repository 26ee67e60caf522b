/* Compiled with -fno-plt: the call goes through the global offset table, as in programs of distributions that bind at
 * the start. */
#include <fcntl.h>

#include "escape/probe.h"

int open_without_plt(const char *path) {
    return open(path, O_RDONLY);
}
