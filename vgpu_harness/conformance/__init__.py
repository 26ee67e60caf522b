"""Rules that every libcuda and libnvidia-ml must keep, and the suite that tries them on a library.

A rule is a short function over `Cuda` or `Nvml`. Each one runs in a forked process of its own, so a crash or a hang is
a finding. docs/conformance.md describes how to run them, and how to write one.
"""
