/* everyleak ROUNDS DEVICE FILE DIRECTORY: opens and closes each ROUNDS times in all ways, and shows what the process
 * has more of afterwards: descriptors, mappings, bytes from malloc. Then it opens the device ROUNDS times without a
 * close, and closes all. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <fts.h>
#include <glob.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static long descriptors(void) {
    long count = 0;
    DIR *own = opendir("/proc/self/fd");
    while (readdir(own) != NULL) {
        count++;
    }
    closedir(own);
    return count;
}

static long mappings(void) {
    char bytes[1 << 16];
    long count = 0;
    int fd = open("/proc/self/maps", O_RDONLY);
    for (ssize_t got = read(fd, bytes, sizeof(bytes)); got > 0; got = read(fd, bytes, sizeof(bytes))) {
        for (ssize_t i = 0; i < got; i++) {
            count += bytes[i] == '\n';
        }
    }
    close(fd);
    return count;
}

static void once(const char *device, const char *file, const char *directory) {
    struct stat facts;
    struct dirent **entries;
    char bytes[64];
    glob_t matches;
    int fd = open(device, O_RDWR);
    fstat(fd, &facts);
    close(fd);
    FILE *stream = fopen(file, "r");
    if (stream == NULL || fgets(bytes, sizeof(bytes), stream) == NULL) {
        abort();
    }
    fclose(stream);
    DIR *listing = opendir(directory);
    readdir(listing);
    closedir(listing);
    stat(file, &facts);
    free(realpath(file, NULL));
    int count = scandir(directory, &entries, NULL, NULL);
    while (count > 0) {
        free(entries[--count]);
    }
    free(entries);
    glob("/sys/bus/pci/devices/*/vendor", 0, NULL, &matches);
    globfree(&matches);
    FTS *walk = fts_open((char *[]){(char *)directory, NULL}, FTS_PHYSICAL, NULL);
    fts_read(walk);
    fts_close(walk);
}

int main(int count, char **words) {
    if (count != 5) {
        return 2;
    }
    int rounds = atoi(words[1]);
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    for (int i = 0; i < 50; i++) {
        once(words[2], words[3], words[4]); /* until malloc's own caches are full */
    }
    mappings();
    long before[] = {descriptors(), mappings(), (long)mallinfo2().uordblks};
    for (int i = 0; i < rounds; i++) {
        once(words[2], words[3], words[4]);
    }
#ifdef LEAKS
    static void *volatile forgotten;
    forgotten = malloc(100000);
    if (forgotten == NULL || open(words[2], O_RDONLY) < 0) {
        return 2;
    }
#endif
    long after[] = {descriptors(), mappings(), (long)mallinfo2().uordblks};
    int *all = calloc((size_t)rounds, sizeof(*all));
    int opened = 0;
    while (opened < rounds && (all[opened] = open(words[2], O_RDONLY)) >= 0) {
        opened++;
    }
    struct stat facts;
    int last = opened > 0 ? fstat(all[opened - 1], &facts) == 0 && S_ISCHR(facts.st_mode) : 0;
    for (int i = 0; i < opened; i++) {
        close(all[i]);
    }
    printf("%ld %ld %ld %d %d %ld\n", after[0] - before[0], after[1] - before[1], after[2] - before[2], opened, last,
           descriptors() - after[0]);
    return 0;
}
