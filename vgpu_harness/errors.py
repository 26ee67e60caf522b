"""The errors that this package raises, each with the data of its message as attributes."""


class VgpuHarnessError(Exception):
    """Base of all errors of this package; never raised itself.

    The message names the value, the place and the remedy. Instances can be pickled (pytest-xdist sends them between
    processes), because every subclass takes just the message.
    """


class HostError(VgpuHarnessError, ValueError):
    """A host file or a ``Host`` value is wrong: unknown key, wrong type, two GPUs at one address."""


class ImageError(VgpuHarnessError, ValueError):
    """A host image is truncated, of another format, or of a version that cannot be read."""


class ShimError(VgpuHarnessError):
    """A shim is missing, is not an ELF library for this machine, or cannot be edited as a fault asks."""


class ProgramError(VgpuHarnessError, ValueError):
    """A program cannot be run under preloaded libraries: it is missing, static, 32-bit, or not executable."""


class RunError(VgpuHarnessError):
    """A run could not be set up, or ended without its shims ever having been mapped."""


class TraceError(VgpuHarnessError, ValueError):
    """A trace cannot be created (disk full) or read (not a trace, truncated, of a newer version)."""
