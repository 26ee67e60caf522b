"""Discovery: does a client such as Ollama find the GPU of a simulated host, and if not, where did it stop and why."""

from vgpu_harness.discovery.discover import discover
from vgpu_harness.discovery.evidence import Evidence
from vgpu_harness.discovery.funnel import Funnel
from vgpu_harness.discovery.render import render
from vgpu_harness.discovery.verdict import Verdict, verdict_of

__all__ = ["Evidence", "Funnel", "Verdict", "discover", "render", "verdict_of"]
