/* `ollama` of v0.12.4 .. v0.24.0: the server and the entry of its children. */
#include "ollama/gen_b.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ollama/log.h"

static int is_skipped(const char *directory) {
    const char *vulkan = getenv("OLLAMA_VULKAN");
    if (server_not_requested(directory) || server_is_jetpack(directory)) {
        return 1;
    }
    if (strstr(path_base(directory), "vulkan") != NULL && (vulkan == NULL || strcmp(vulkan, "1") != 0)) {
        log_line(LOG_INFO, "runner.go:111", "experimental Vulkan support disabled.  To enable, set OLLAMA_VULKAN=1",
                 NULL);
        return 1;
    }
    return 0;
}

static int usage(void) {
    fprintf(stderr, "usage: ollama serve [--scale X] [--rebuild-child-environment]\n"
                    "       ollama runner --ollama-engine --port N\n");
    return 2;
}

int main(int argc, char **argv) {
    static const struct generation generation = {.is_skipped = is_skipped, .bootstrap = b_bootstrap};
    log_start();
    if (argc == 5 && strcmp(argv[1], "runner") == 0 && strcmp(argv[2], "--ollama-engine") == 0 &&
        strcmp(argv[3], "--port") == 0) {
        int port = atoi(argv[4]);
        return port > 0 && port < 65536 ? b_runner(port) : usage();
    }
    int status = server_main(&generation, argc, argv);
    return status < 0 ? usage() : status;
}
