/* The ways of every.c to list a directory, and the call of all ways. */

/* Names in their order, with the types that the listing tells. */
static char entries[FILES_IN_DIRECTORY][NAME_MAX + 4];
static int entry_count;

static int by_name(const void *a, const void *b) {
    return strcmp(a, b);
}

static void add_entry(const char *name, int type) {
    if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0 && entry_count < FILES_IN_DIRECTORY) {
        snprintf(entries[entry_count++], sizeof(entries[0]), "%.*s%c", NAME_MAX, name, type);
    }
}

static void listing(const char *way) {
    size_t length = 0;
    qsort(entries, (size_t)entry_count, sizeof(entries[0]), by_name);
    for (int i = 0; i < entry_count && length + sizeof(entries[0]) < ROOM; i++) {
        length += (size_t)snprintf(text + length, ROOM - length, "%s ", entries[i]);
    }
    tell(way, "%d %016lx", entry_count, hash_of(text, length));
    entry_count = 0;
}

static int letter(int type) {
    return type == DT_REG ? '-' : type == DT_DIR ? 'd' : type == DT_LNK ? 'l' : type == DT_CHR ? 'c' : '?';
}

/* Does each entry's type and number agree with its lstat? Directories have numbers of their own, as mount points. */
static void by_opendir(DIR *stream, const char *way, const char *types) {
    if (stream == NULL) {
        return;
    }
    int wrong = 0;
    for (struct dirent *entry = readdir(stream); entry != NULL; entry = readdir(stream)) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        add_entry(entry->d_name, letter(entry->d_type));
        if (fstatat(dirfd(stream), entry->d_name, &found, AT_SYMLINK_NOFOLLOW) != 0 ||
            IFTODT(found.st_mode) != entry->d_type || (entry->d_type != DT_DIR && found.st_ino != entry->d_ino)) {
            wrong++;
        }
    }
    facts("stat: fstat of dirfd", fstat(dirfd(stream), &found));
    closedir(stream);
    listing(way);
    tell(types, "%d wrong", wrong);
}

static void by_scandir(void) {
    struct dirent **all;
    int count = scandir(path, &all, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        add_entry(all[i]->d_name, letter(all[i]->d_type));
        free(all[i]);
    }
    if (count >= 0) {
        free(all);
        listing("list: scandir");
    }
}

static void by_getdents(int directory, const char *name) {
    int fd = openat(directory, name, O_RDONLY | O_DIRECTORY);
    if (fd < 0) {
        return;
    }
    static char room[ROOM];
    for (long got = syscall(SYS_getdents64, fd, room, ROOM); got > 0; got = syscall(SYS_getdents64, fd, room, ROOM)) {
        for (long at = 0; at < got;) {
            struct dirent64 *entry = (struct dirent64 *)(room + at);
            add_entry(entry->d_name, letter(entry->d_type));
            at += entry->d_reclen;
        }
    }
    close(fd);
    listing("list: syscall getdents64");
}

/* Types are those of an lstat of each: what a glob finds has none. */
static void by_glob(void) {
    char pattern[PATH_MAX];
    glob_t matches;
    snprintf(pattern, sizeof(pattern), "%s/{*,.[!.]*}", path);
    if (glob(pattern, GLOB_BRACE, NULL, &matches) == 0) {
        for (size_t i = 0; i < matches.gl_pathc; i++) {
            if (lstat(matches.gl_pathv[i], &found) == 0) {
                add_entry(strrchr(matches.gl_pathv[i], '/') + 1, letter(IFTODT(found.st_mode)));
            }
        }
    }
    globfree(&matches);
    listing("list: glob");
}

static void by_fts_children(void) {
    FTS *walk = fts_open((char *[]){(char *)path, NULL}, FTS_PHYSICAL | FTS_COMFOLLOW | FTS_NOCHDIR, NULL);
    if (walk != NULL && fts_read(walk) != NULL) {
        for (FTSENT *entry = fts_children(walk, 0); entry != NULL; entry = entry->fts_link) {
            int kind = entry->fts_info;
            add_entry(entry->fts_name, kind == FTS_D || kind == FTS_DC ? 'd'
                                       : kind == FTS_F                 ? '-'
                                       : kind == FTS_SL || kind == FTS_SLNONE
                                           ? 'l'
                                           : letter(IFTODT(entry->fts_statp->st_mode)));
        }
    }
    if (walk != NULL) {
        fts_close(walk);
    }
    listing("list: fts_children");
}

static void lists(int directory, const char *name) {
    by_opendir(opendir(path), "list: readdir", "types: readdir");
    by_opendir(fdopendir(open(path, O_RDONLY | O_DIRECTORY)), "list: fdopendir", "types: fdopendir");
    by_scandir();
    by_getdents(directory, name);
    by_glob();
    by_fts_children();
}

/* Is it another file than the machine has there? Nothing is to be tried on the machine's, should the shim not serve. */
static int is_served(void) {
    struct stat real;
    register long flags __asm__("r10") = AT_SYMLINK_NOFOLLOW;
    long answer = SYS_newfstatat;
    __asm__ volatile("syscall"
                     : "+a"(answer)
                     : "D"((long)AT_FDCWD), "S"(path), "d"(&real), "r"(flags)
                     : "rcx", "r11", "memory");
    return lstat(path, &found) == 0 && (answer != 0 || real.st_ino != found.st_ino || real.st_dev != found.st_dev);
}

static void look(void) {
    char above[PATH_MAX];
    struct stat kind;
    const char *name = strrchr(path, '/') + 1;
    snprintf(above, sizeof(above), "%.*s", name - path == 1 ? 1 : (int)(name - path - 1), path);
    int directory = open(above, O_RDONLY | O_DIRECTORY);
    stats(directory, name);
    names(directory, name);
    accesses(directory, name);
    attributes();
    file_systems();
    contents(directory, name);
    if (stat(path, &kind) == 0 && S_ISDIR(kind.st_mode)) {
        lists(directory, name);
    }
    if (changing && is_served()) {
        changes(directory, name);
    }
    close(directory);
}
