"""The rules, one subject a file; `vgpu_harness.conformance.rule` describes how one is written."""
