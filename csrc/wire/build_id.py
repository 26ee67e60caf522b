"""Writes build_id.h: a hash of the C sources. Usage: build_id.py CSRC OUTPUT.

``vgpu_harness.shims.build`` computes the same hash in a checkout, to see whether the shims are those of the sources.
"""

import hashlib
import os
import sys
from pathlib import Path

SUFFIXES = (".c", ".h", ".def", ".in", ".py", ".txt")


def build_id(csrc: Path) -> str:
    """The hash of all sources below `csrc`: 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for folder, folders, names in os.walk(csrc):
        inside = os.path.relpath(folder, csrc)
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        for name in sorted(name for name in names if name.endswith(SUFFIXES)):
            digest.update(f"{inside}/{name}\0".encode() + Path(folder, name).read_bytes() + b"\0")
    return digest.hexdigest()[:16]


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(f'#define VGPU_BUILD_ID "{build_id(Path(sys.argv[1]))}"\n')
