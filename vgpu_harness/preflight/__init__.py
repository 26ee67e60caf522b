"""Preflight: is a set of libraries safe to deploy system-wide, through /etc/ld.so.preload?

`vgpu_harness.preflight.check.preflight` answers it. Nothing is imported here: the process in the enclosure starts
often.
"""
