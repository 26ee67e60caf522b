/* vgpu-escape [--root DIR] [--device PATH:MAJOR:MINOR] [--size BYTES] [--seconds N] ADDRESS VENDOR
 * vgpu-escape --list
 *
 * Tries every way of the groups to look at the GPU at ADDRESS, whose file `vendor` holds VENDOR and has BYTES bytes by
 * stat, and at the character device. Prints one line of JSON for each: seen, right, how the probe's process ended, and
 * what was seen instead. --root is for a control: a directory that is laid out as the simulated host, where each way
 * must see and be right. --list prints the names only. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "escape/judge.h"

enum {
    SECONDS = 10,      /* before a probe counts as hung */
    SYSFS_SIZE = 4096, /* of a text attribute of sysfs, whatever it holds (fs/sysfs/file.c) */
};

static const struct {
    const char *name;
    const struct probe *probes;
} groups[] = {
    {"open", opens},
    {"stream", streams},
    {"stat", stats},
    {"name", names},
    {"list", lists},
    {"walk", walks},
    {"file system", file_systems},
    {"spelling", spellings},
    {"loader", loaders},
    {"system call", raw_calls},
    {"io_uring", rings},
    {"process", processes},
    {"program", programs},
    {"descriptor", descriptors},
    {"place", places},
};

static void print_text(const char *key, const char *text) {
    printf(", \"%s\": \"", key);
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\') {
            printf("\\%c", c);
        } else if (c < 0x20 || c >= 0x7f) {
            printf("\\u%04x", c);
        } else {
            putchar(c);
        }
    }
    putchar('"');
}

static void print(const char *group, const struct probe *probe, int status) {
    char end[32] = "returned";
    if (WIFSIGNALED(status)) {
        snprintf(end, sizeof(end), "%s", WTERMSIG(status) == SIGALRM ? "hung" : "crashed");
        if (answer->text[0] == '\0') {
            snprintf(answer->text, sizeof(answer->text), "%s", strsignal(WTERMSIG(status)));
        }
    } else if (WEXITSTATUS(status) != 0) {
        snprintf(end, sizeof(end), "crashed");
        snprintf(answer->text, sizeof(answer->text), "exit status %d", WEXITSTATUS(status));
    } else if (answer->unavailable) {
        snprintf(end, sizeof(end), "unavailable");
    }
    int seen = answer->seen && strcmp(end, "returned") == 0;
    printf("{\"group\": \"%s\"", group);
    print_text("probe", probe->name);
    printf(", \"seen\": %s, \"right\": %s", seen ? "true" : "false", seen && !answer->wrong ? "true" : "false");
    print_text("end", end);
    print_text("text", answer->text);
    printf("}\n");
}

static void try_out(const char *group, const struct probe *probe, unsigned int seconds) {
    memset(answer, 0, sizeof(*answer));
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        setpgid(0, 0);
        alarm(seconds);
        probe->run(probe->function);
        _exit(0);
    }
    int status = 0;
    if (child < 0) {
        fprintf(stderr, "vgpu-escape: fork: %m\n");
        exit(2);
    }
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    kill(-child, SIGKILL); /* what the probe started and left behind */
    print(group, probe, status);
}

static int wrong_usage(void) {
    fprintf(stderr, "usage: vgpu-escape [--root DIR] [--device PATH:MAJOR:MINOR] [--size BYTES] [--seconds N]\n"
                    "                   ADDRESS VENDOR\n"
                    "       vgpu-escape --list\n");
    return 2;
}

int main(int argc, char **argv) {
    static const struct option known[] = {
        {"root", required_argument, NULL, 'r'}, {"device", required_argument, NULL, 'd'},
        {"size", required_argument, NULL, 's'}, {"seconds", required_argument, NULL, 't'},
        {"list", no_argument, NULL, 'l'},       {0}};
    const char *root = "", *device = "/dev/nvidia0:195:0";
    unsigned int seconds = SECONDS;
    int list = 0;
    at.size = SYSFS_SIZE;
    for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        root = option == 'r' ? optarg : root;
        device = option == 'd' ? optarg : device;
        at.size = option == 's' ? atol(optarg) : at.size;
        seconds = option == 't' ? (unsigned int)atol(optarg) : seconds;
        list |= option == 'l';
        if (option == '?') {
            return wrong_usage();
        }
    }
    unsigned int high, low;
    if ((!list && optind + 2 != argc) || sscanf(device, "%4095[^:]:%u:%u", at.device, &high, &low) != 3) {
        return wrong_usage();
    }
    at.number = makedev(high, low);
    if (!list) {
        aim(root, argv[optind], argv[optind + 1]);
    }
    answer = mmap(NULL, sizeof(*answer), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (answer == MAP_FAILED) {
        fprintf(stderr, "vgpu-escape: mmap: %m\n");
        return 2;
    }
    for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++) {
        for (const struct probe *probe = groups[i].probes; probe->name != NULL; probe++) {
            if (list) {
                printf("{\"group\": \"%s\"", groups[i].name);
                print_text("probe", probe->name);
                printf("}\n");
            } else {
                try_out(groups[i].name, probe, seconds);
            }
        }
    }
    return 0;
}
