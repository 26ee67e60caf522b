/* Functions that walk a tree of directories. */
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <ftw.h>
#include <string.h>
#include <unistd.h>

#include "escape/probe.h"

static char wanted[PATH_MAX]; /* the name that the walk must give */
static int met, type, level;

static int meet(const char *path, const struct stat *facts, int flag) {
    (void)facts;
    if (strcmp(path, wanted) == 0) {
        met = 1;
        type = flag;
    }
    return met; /* the end: links in sysfs lead to all of it */
}

static int meet_at_level(const char *path, const struct stat *facts, int flag, struct FTW *place) {
    if (strcmp(path, wanted) == 0) {
        level = place->level;
    }
    return meet(path, facts, flag);
}

/* The walk starts at the driver's directory: ftw follows the link to the GPU, nftw does as it is told. */
static void walked(const char *function) {
    join(wanted, at.bound, "/vendor");
    ((int (*)(const char *, int (*)(const char *, const struct stat *, int), int))find(function))(at.driver, meet, 8);
    see(met, "the walk does not meet the GPU's file");
    expect(type == FTW_F, "the type of the file is %d", type);
}

typedef int walk(const char *path, int (*each)(const char *, const struct stat *, int, struct FTW *), int most,
                 int flags);

static void walked_physically(const char *function) {
    join(wanted, at.bound, "");
    ((walk *)find(function))(at.driver, meet_at_level, 8, FTW_PHYS);
    see(met, "the walk does not meet the GPU");
    expect(type == FTW_SL && level == 1, "its type is %d, its level %d", type, level);
}

static int meet_there(const char *path, const struct stat *facts, int flag, struct FTW *place) {
    struct stat again;
    if (strcmp(path, wanted) == 0) {
        expect(lstat(path + place->base, &again) == 0, "the walk is in another directory");
    }
    return meet_at_level(path, facts, flag, place);
}

static void walked_with_chdir(const char *function) {
    join(wanted, at.bound, "");
    ((walk *)find(function))(at.driver, meet_there, 8, FTW_PHYS | FTW_CHDIR | FTW_DEPTH);
    see(met, "the walk does not meet the GPU");
    expect(type == FTW_SL && level == 1, "its type is %d, its level %d", type, level);
}

typedef FTS *start(char *const *paths, int options, int (*order)(const FTSENT **, const FTSENT **));

/* Of the directories below the first one, the GPU's only: links in sysfs lead to all of it. */
static void walked_by_hand(int options, const char *open_name, const char *read_name, const char *set_name) {
    char *paths[] = {at.driver, NULL};
    int wanted_type = options & FTS_PHYSICAL ? FTS_SL : FTS_F;
    join(wanted, at.bound, options & FTS_PHYSICAL ? "" : "/vendor");
    FTS *stream = ((start *)find(open_name))(paths, options, NULL);
    for (FTSENT *entry; !met && stream != NULL && (entry = ((FTSENT * (*)(FTS *)) find(read_name))(stream)) != NULL;) {
        if (strcmp(entry->fts_path, wanted) == 0) {
            met = 1;
            type = entry->fts_info;
        } else if (entry->fts_info == FTS_D && entry->fts_level > 0 && strcmp(entry->fts_path, at.bound) != 0) {
            ((int (*)(FTS *, FTSENT *, int))find(set_name))(stream, entry, FTS_SKIP);
        }
    }
    see(met, "%s", stream == NULL ? strerror(errno) : "the walk does not meet the GPU");
    expect(type == wanted_type, "its type is %d", type);
}

static void by_fts(const char *function) {
    if (strcmp(function, "fts_open") == 0) {
        walked_by_hand(FTS_PHYSICAL, function, "fts_read", "fts_set");
    } else {
        walked_by_hand(FTS_PHYSICAL, function, "fts64_read", "fts64_set");
    }
}

static void by_fts_logically(const char *function) {
    walked_by_hand(FTS_LOGICAL | FTS_NOCHDIR, function, "fts_read", "fts_set");
}

const struct probe walks[] = {
    {"ftw", walked, "ftw"},
    {"ftw64", walked, "ftw64"},
    {"nftw", walked_physically, "nftw"},
    {"nftw64", walked_physically, "nftw64"},
    {"nftw with chdir", walked_with_chdir, "nftw"},
    {"fts_open", by_fts, "fts_open"},
    {"fts_open, links followed", by_fts_logically, "fts_open"},
    {"fts64_open", by_fts, "fts64_open"},
    NO_PROBE,
};
