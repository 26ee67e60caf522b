/* Between the probes and the program that runs them. */
#ifndef ESCAPE_JUDGE_H
#define ESCAPE_JUDGE_H

#include "escape/probe.h"

/* What a probe has to say. In memory that its process shares with the program, so that it outlives a crash. */
struct answer {
    int seen;
    int wrong;
    int unavailable;
    char text[ESCAPE_TEXT]; /* why not */
};

extern struct answer *answer;

/* Fills in the target's paths below `root`; device, number and size are left alone. */
void aim(const char *root, const char *address, const char *vendor);

#endif
