"""The simulated host: model, host files, and the image and tree that the shims read."""

from vgpu_harness.host.gate import Rule
from vgpu_harness.host.gpu import Gpu, GpuProcess, Mig
from vgpu_harness.host.image import check_image, is_image, write_image
from vgpu_harness.host.model import Delivery, Driver, Gate, Host, Memory
from vgpu_harness.host.tree import Tree, write_tree

__all__ = [
    "Delivery",
    "Driver",
    "Gate",
    "Gpu",
    "GpuProcess",
    "Host",
    "Memory",
    "Mig",
    "Rule",
    "Tree",
    "check_image",
    "is_image",
    "write_image",
    "write_tree",
]
