/* What the cffi module offers to Python: this file after `cc -E -P -DVGPU_CDEF`. */
#include "vgpu/wire.h"

#include "vgpu/environment.h"
#include "vgpu/gate.h"
#include "vgpu/image.h"
#include "vgpu/paths.h"
#include "vgpu/process.h"
#include "vgpu/trace.h"

#include "cuda/api.h"
#include "nvml/api.h"
#include "observe/ptrace.h"
#include "syscall/names.h"
