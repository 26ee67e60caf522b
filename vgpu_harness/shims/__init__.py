"""The built libraries: where they are, what their ELF headers say, edited copies, and use inside this process."""

from vgpu_harness.shims.paths import SHIMS, available, client_path, shim_path

__all__ = ["SHIMS", "available", "client_path", "shim_path"]
