"""Device profiles: what is fixed for a model of GPU. One TOML file each, under ``profiles/``."""

import functools
import tomllib
from importlib.resources import files
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from vgpu_harness.host.mig import MigProfile
from vgpu_harness.host.properties import NvmlTable

DEFAULT_PROFILE = "h100-80gb-hbm3"
_IDS = "attributes.toml"
_NVML = "nvml.toml"

# CUDA C++ Programming Guide, "Arithmetic Instructions": results of a 32-bit addition per cycle and multiprocessor.
_CORES = {"7.0": 64, "7.5": 64, "8.0": 64, "8.6": 128, "8.9": 128, "9.0": 128, "10.0": 128, "12.0": 128}


class Bar(BaseModel):
    """A base address register: where the device's memory of ``mib`` MiB begins."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    index: int = Field(ge=0, le=5)
    mib: int = Field(ge=1)
    wide: bool
    """64-bit: takes the next register too."""
    prefetchable: bool


class Profile(BaseModel):
    """A model of GPU. Sizes are in MiB; PCI identifiers are 16 bits."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    name: str
    compute: str
    memory_mib: int
    reserved_mib: int
    vendor: int = Field(ge=0, lt=2**16)
    device: int = Field(ge=0, lt=2**16)
    subsystem_vendor: int = Field(ge=0, lt=2**16)
    subsystem_device: int = Field(ge=0, lt=2**16)
    class_code: int = Field(ge=0, lt=2**24)
    revision: int = Field(ge=0, lt=2**8)
    link_generation: int = Field(ge=1, le=5)
    link_width: int = Field(ge=1, le=32)
    video_bios: str
    bars: Annotated[tuple[Bar, ...], Field(strict=False, max_length=6)]
    attributes: dict[str, int]
    """Answers of cuDeviceGetAttribute, by the name behind CU_DEVICE_ATTRIBUTE_."""
    nvml: NvmlTable = Field(default_factory=dict)
    """What NVML tells beside that, by the names of properties.def."""
    mig: Annotated[tuple[MigProfile, ...], Field(strict=False)] = ()

    @property
    def properties(self) -> dict[str, Any]:
        """`nvml`, and what is a matter of NVML too and stands elsewhere in the profile."""
        mib = 1 << 20
        return {
            **shared_properties(),
            "CORES": self.attributes["MULTIPROCESSOR_COUNT"] * _CORES[self.compute],
            "PCI_CLASS": self.class_code >> 8,
            "MEMORY_BUS_WIDTH": self.attributes["GLOBAL_MEMORY_BUS_WIDTH"],
            "BAR1_TOTAL": max(bar.mib for bar in self.bars) * mib,
            "LINK_GENERATION_MAX": self.link_generation,
            "LINK_WIDTH_MAX": self.link_width,
            "VBIOS": self.video_bios,
            **self.nvml,
        }


@functools.cache
def profile_names() -> tuple[str, ...]:
    """The profiles that ship with the package, sorted."""
    entries = (entry.name for entry in files(__package__).joinpath("profiles").iterdir())
    return tuple(
        sorted(name.removesuffix(".toml") for name in entries if name.endswith(".toml") and name not in (_IDS, _NVML))
    )


@functools.cache
def shared_properties() -> dict[str, Any]:
    """What NVML tells of every GPU, where its profile has nothing else."""
    return tomllib.loads(_text(_NVML))


@functools.cache
def profile(name: str) -> Profile:
    """The profile of this name, one of ``profile_names()``; with all attributes that do not depend on the GPU."""
    data = tomllib.loads(_text(f"{name}.toml"))
    shared = {key: row["value"] for key, row in _attribute_table().items() if "value" in row}
    return Profile.model_validate({**data, "attributes": shared | data["attributes"]})


@functools.cache
def _attribute_table() -> dict[str, dict[str, int]]:
    return tomllib.loads(_text(_IDS))


def attribute_ids() -> dict[str, int]:
    """The numbers of the device attributes, by the name behind CU_DEVICE_ATTRIBUTE_. Source: cuda.h 13.5."""
    return {name: row["id"] for name, row in _attribute_table().items()}


def _text(file: str) -> str:
    return files(__package__).joinpath("profiles", file).read_text(encoding="utf-8")
