"""MIG: what GPU instances a model of GPU can have, and which ones a host file gives a GPU.

Each MIG device is one compute instance that fills its GPU instance: "1g.10gb", not "1c.3g.40gb".
"""

from dataclasses import dataclass
from typing import Annotated
from uuid import NAMESPACE_URL, uuid5

from pydantic import BaseModel, ConfigDict, Field

MEMORY_SLICES = 8
"""The most that a GPU has (NVIDIA MIG User Guide, "Partitioning"); the A30 has 4."""

# nvml.h: NVML_GPU_INSTANCE_PROFILE_* and NVML_COMPUTE_INSTANCE_PROFILE_*, by compute slices; _REV1 is the one with all
# the media engines and _REV2 the one with twice the memory.
_SLICES = {1: 0, 2: 1, 3: 2, 4: 3, 7: 4, 8: 5, 6: 6}
_MEDIA = {1: 7, 2: 8}
_WIDE = {1: 9}


class MigProfile(BaseModel):
    """A row of ``nvidia-smi mig -lgip``, and its line of ``-lgipp``."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[1-8]g\.\d+gb(\+me)?$")
    id: int = Field(ge=0)
    instances: int = Field(ge=1, le=MEMORY_SLICES)
    memory_mib: int = Field(ge=1)
    multiprocessors: int = Field(ge=1)
    memory_slices: int = Field(ge=1, le=MEMORY_SLICES)
    copy_engines: int = Field(ge=0)
    decoders: int = Field(ge=0)
    encoders: int = Field(0, ge=0)
    jpegs: int = Field(ge=0)
    ofas: int = Field(0, ge=0)
    starts: Annotated[tuple[int, ...], Field(strict=False, min_length=1)]
    """The memory slices that an instance can begin at."""

    @property
    def compute_slices(self) -> int:
        """The number before the g."""
        return int(self.name[0])

    @property
    def number(self) -> int:
        """NVML_GPU_INSTANCE_PROFILE_*."""
        if self.name.endswith("+me"):
            return _MEDIA[self.compute_slices]
        table = _WIDE if self.compute_slices == 1 and self.memory_slices == 2 else _SLICES
        return table[self.compute_slices]

    @property
    def compute_number(self) -> int:
        """NVML_COMPUTE_INSTANCE_PROFILE_* of the compute instance that fills the GPU instance."""
        return _SLICES[self.compute_slices]


@dataclass(frozen=True)
class MigDevice:
    """One MIG device of a GPU.

    Attributes:
        profile: what it is an instance of.
        start: its first memory slice.
        gpu_instance: the number of its GPU instance.
        order: its position in the host file.
    """

    profile: MigProfile
    start: int
    gpu_instance: int
    order: int


def default_mig_uuid(gpu_uuid: str, order: int) -> str:
    """The UUID of the MIG device at position `order` of a GPU, where the host file gives none."""
    return f"MIG-{uuid5(NAMESPACE_URL, f'vgpu-harness:{gpu_uuid}:mig:{order}')}"


def place(wanted: list[tuple[MigProfile, int | None]], slices: int) -> list[MigDevice] | None:
    """Finds room for MIG devices, the largest first; None if there is none.

    Args:
        wanted: profile and, if it is to be there and nowhere else, first memory slice of each.
        slices: memory slices of the GPU.

    Returns:
        The devices by first memory slice, which is NVML's order.
    """

    def size(i: int) -> tuple[bool, int, int]:
        profile, start = wanted[i]
        return start is None, -profile.memory_slices, -profile.compute_slices

    order = sorted(range(len(wanted)), key=size)
    starts = _search(wanted, order, 0)
    if starts is None:
        return None
    return [
        MigDevice(wanted[i][0], starts[i], _instance(wanted[i][0].memory_slices, starts[i], slices), i)
        for i in sorted(starts, key=lambda one: starts[one])
    ]


def _instance(size: int, start: int, slices: int) -> int:
    """The number of a GPU instance: 0 for the whole, 1 and 2 for the halves, 3 to 6 for the quarters, 7 to 14.

    The numbers that `nvidia-smi mig -lgi` shows on an A100 (NVIDIA MIG User Guide) and on an A30; that they go by place
    is an own choice.
    """
    return slices // size - 1 + start // size


def _search(wanted: list[tuple[MigProfile, int | None]], order: list[int], used: int) -> dict[int, int] | None:
    if not order:
        return {}
    profile, given = wanted[order[0]]
    for start in profile.starts if given is None else (given,):
        slices = (1 << profile.memory_slices) - 1 << start
        if start in profile.starts and not used & slices:
            rest = _search(wanted, order[1:], used | slices)
            if rest is not None:
                return {order[0]: start, **rest}
    return None
