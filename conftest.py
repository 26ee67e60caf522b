"""Rebuilds changed C before the tests: plain libraries never trigger an editable install's own rebuild."""

import importlib.util
import os

# The controller has built before it starts a worker; a preloaded library, as of a sanitizer, would be in the compiler.
if not {"PYTEST_XDIST_WORKER", "LD_PRELOAD"} & set(os.environ):
    spec = importlib.util.find_spec("vgpu_harness")
    rebuild = getattr(spec.loader if spec else None, "rebuild", None)  # there in an editable install only
    if rebuild is not None:
        rebuild()

pytest_plugins = ["pytester"]
