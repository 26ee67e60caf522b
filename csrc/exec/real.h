/* The functions of the table by number, and the real ones behind them. */
#ifndef VGPU_EXEC_REAL_H
#define VGPU_EXEC_REAL_H

#include <spawn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

enum vgpu_exec_function {
#define VGPU_EXEC(type, name, parameters, arguments) VGPU_EXEC_##name,
#include "exec/exec.def"
    VGPU_EXEC_FUNCTIONS,
};

/* The function's name as programs know it. */
const char *vgpu_exec_name(enum vgpu_exec_function function);

/* The real function, in the next library behind this one. To be called anywhere: see next.h. */
void *vgpu_exec_real(enum vgpu_exec_function function);

#define VGPU_EXEC(type, name, parameters, arguments) typedef type vgpu_exec_type_##name parameters;
#include "exec/exec.def"

/* The real function of this row, to be called. */
#define VGPU_EXEC_REAL(name) ((vgpu_exec_type_##name *)vgpu_exec_real(VGPU_EXEC_##name))

#endif
