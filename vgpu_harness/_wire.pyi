# The cffi module; csrc/wire/cdef.h has its declarations.

from typing import Any

ffi: Any
lib: Any
