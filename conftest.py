"""Rebuilds changed C before the tests: plain libraries never trigger an editable install's own rebuild."""

import importlib.util
import os

if "PYTEST_XDIST_WORKER" not in os.environ:  # the controller has built before it starts a worker
    spec = importlib.util.find_spec("vgpu_harness")
    rebuild = getattr(spec.loader if spec else None, "rebuild", None)  # there in an editable install only
    if rebuild is not None:
        rebuild()

pytest_plugins = ["pytester"]
