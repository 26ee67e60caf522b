/* `ollama` of v0.30.0 and later: the server and the entry of its child gpu-discover. */
#include "ollama/gen_c.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ollama/log.h"

/* strconv.ParseBool; without a value, or with one that is no boolean but not empty, Vulkan is on. */
static int vulkan_is_off(void) {
    static const char *const no[] = {"0", "f", "F", "false", "FALSE", "False"};
    const char *value = getenv("OLLAMA_VULKAN");
    for (size_t i = 0; i < sizeof no / sizeof no[0] && value != NULL; i++) {
        if (strcmp(value, no[i]) == 0) {
            return 1;
        }
    }
    return 0;
}

/* A request for one of the MLX libraries says nothing about these. */
static int is_mlx_requested(void) {
    const char *requested = getenv("OLLAMA_LLM_LIBRARY");
    return requested != NULL && strncmp(requested, "mlx_", 4) == 0;
}

static int is_skipped(const char *directory) {
    if ((!is_mlx_requested() && server_not_requested(directory)) || server_is_jetpack(directory)) {
        return 1;
    }
    return strstr(path_base(directory), "vulkan") != NULL && vulkan_is_off();
}

int main(int argc, char **argv) {
    static const struct generation generation = {
        .is_skipped = is_skipped,
        .bootstrap = c_bootstrap,
        .sort_out = c_filter_old_driver,
        .admit = c_filter_integrated,
        .choose_filter = c_choose_filter,
    };
    log_start();
    int status =
        argc > 1 && strcmp(argv[1], "gpu-discover") == 0 ? c_probe(argc, argv) : server_main(&generation, argc, argv);
    if (status < 0) {
        fprintf(stderr, "usage: ollama serve [--scale X] [--rebuild-child-environment]\n"
                        "       ollama gpu-discover [--lib-dir DIRECTORY]...\n");
        status = 2;
    }
    return status;
}
