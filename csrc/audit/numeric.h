/* Functions of libc that give and take nothing but numbers and the caller's own memory. */
#ifndef VGPU_AUDIT_NUMERIC_H
#define VGPU_AUDIT_NUMERIC_H

/* 1: the function leaves no trace in its libc but errno, so that another libc's does as well. */
int vgpu_numeric(const char *name);

#endif
