"""Describes the cffi module ``vgpu_harness._wire`` to ``python -m cffi.gen_src exec-python``.

The declarations are the C headers themselves, after the preprocessor: nothing is declared a second time. CMake passes
the preprocessed text's file in VGPU_CDEF.
"""

import os
import re
from pathlib import Path

from cffi import FFI

text = Path(os.environ["VGPU_CDEF"]).read_text()
# pycparser reads C declarations; function bodies in headers are no part of the module's face.
text = re.sub(r"static inline [^{;]*\{.*?\n\}", "", text, flags=re.DOTALL)

ffibuilder = FFI()
ffibuilder.cdef(text, override=True)
# fallocate(2), which Python's os has not: the trace gives blocks back that no record needed.
ffibuilder.cdef(
    """
    #define FALLOC_FL_KEEP_SIZE ...
    #define FALLOC_FL_PUNCH_HOLE ...
    int fallocate(int descriptor, int mode, int64_t offset, int64_t length);
    """
)
ffibuilder.set_source(
    "vgpu_harness._wire",
    """
    #define _GNU_SOURCE
    #include <fcntl.h>
    #include "wire/cdef.h"
    """,
)
