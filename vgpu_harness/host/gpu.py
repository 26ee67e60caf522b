"""One GPU of a simulated host: what it is, who uses it, how it is divided."""

import re
from typing import Annotated, Any, Literal
from uuid import NAMESPACE_URL, uuid5

from pydantic import AfterValidator, Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails

from vgpu_harness.host.base import Model, wrong
from vgpu_harness.host.fields import MIB_MAX, Mib, Pair, Percent, label
from vgpu_harness.host.mig import MigDevice, MigProfile, place
from vgpu_harness.host.profile import DEFAULT_PROFILE, Profile, profile, profile_names
from vgpu_harness.host.properties import NvmlTable, merged
from vgpu_harness.host.ranges import contradictions

NAME_BYTES = 95
SERIAL_BYTES = 31
PROCESS_NAME_BYTES = 255
MINOR_MAX = 247
"""Highest N of /dev/nvidiaN (NV_MINOR_DEVICE_NUMBER_REGULAR_MAX of NVIDIA's open-gpu-kernel-modules)."""
PID_MAX = 2**22
"""PID_MAX_LIMIT of Linux on 64-bit machines."""

_PCI = re.compile(r"([0-9a-f]{4}):([0-9a-f]{2}):([01][0-9a-f])(?:\.([0-7]))?", re.ASCII)
_DIGITS = r"-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"


def _uuid(kind: str, what: str) -> AfterValidator:
    def check(text: str) -> str:
        lower = kind + text[len(kind) :].lower() if text.startswith(f"{kind}-") else text
        if not re.fullmatch(kind + _DIGITS, lower, re.ASCII):
            raise wrong(f"is not {what} UUID", f"write {kind}- and 8-4-4-4-12 hexadecimal digits")
        return lower

    return AfterValidator(check)


def _pci_address(text: str) -> str:
    found = _PCI.fullmatch(text.lower())
    if not found:
        raise wrong("is not a PCI address", "write domain:bus:device.function in hexadecimal, as in '0000:00:05.0'")
    if found[4] not in (None, "0"):
        raise wrong("is not a GPU's PCI address: a GPU is function 0", f"write '{text.lower()[:-1]}0'")
    return f"{found[1]}:{found[2]}:{found[3]}.0"


def _known_profile(name: str) -> str:
    if name not in profile_names():
        from vgpu_harness.host.messages import suggest

        known = ", ".join(profile_names())
        near = suggest(name, profile_names())
        raise wrong("unknown profile", near if near.startswith("known") else f"{near} (known are {known})")
    return name


def _of_profile(field: str) -> Any:
    """A default that the GPU's profile has."""
    return lambda data: getattr(profile(data["profile"]), field)


def default_uuid(pci: str) -> str:
    """The UUID of a GPU for which none is given: the same for the same PCI address, different for different ones."""
    return f"GPU-{uuid5(NAMESPACE_URL, f'vgpu-harness:{pci}')}"


def default_serial(pci: str) -> str:
    """The serial number of a GPU for which none is given: 13 digits, as on NVIDIA's data-centre boards."""
    return f"165{uuid5(NAMESPACE_URL, f'vgpu-harness:serial:{pci}').int % 10**10:010d}"


def mig_name(gpu: str, profile: str) -> str:
    """The name of a MIG device of a GPU of that name, as both APIs answer it."""
    return f"{gpu} MIG {profile}"


def default_pci(i: int) -> str:
    """The PCI address of the GPU at position `i` of a host, where none is given."""
    return f"0000:00:{5 + i:02x}.0"


PciAddress = Annotated[str, AfterValidator(_pci_address)]
GpuUuid = Annotated[str, _uuid("GPU", "a GPU's")]
MigUuid = Annotated[str, _uuid("MIG", "a MIG device's")]


class GpuProcess(Model):
    """A process that uses the GPU, as NVML lists it."""

    pid: Annotated[int, Field(ge=1, le=PID_MAX)] | Literal["self"] = "self"
    """"self": the process that asks."""
    name: Annotated[str, label(PROCESS_NAME_BYTES)] = "python3"
    kind: Literal["compute", "graphics", "mps"] = "compute"
    memory_mib: Mib = 0
    sm: Percent = 0
    memory: Percent = 0
    encoder: Percent = 0
    decoder: Percent = 0
    mig: int | None = Field(None, ge=0)
    """Which of the GPU's MIG devices it runs on, by its position in the host file; None: the whole GPU."""


class Mig(Model):
    """A MIG device: one compute instance that fills one GPU instance."""

    profile: str
    uuid: MigUuid | None = None
    start: int | None = Field(None, ge=0, le=7)
    """The memory slice that it begins at; None: where there is room."""


class Gpu(Model):
    """One GPU. Sizes are in MiB. What is not given comes from the profile, or is derived from the PCI address."""

    profile: Annotated[str, AfterValidator(_known_profile)] = DEFAULT_PROFILE
    pci: PciAddress = default_pci(0)
    uuid: GpuUuid = Field(default_factory=lambda data: default_uuid(data["pci"]))
    nvml_uuid: GpuUuid = Field(default_factory=lambda data: data["uuid"])
    name: Annotated[str, label(NAME_BYTES)] = Field(default_factory=_of_profile("name"))
    compute: Annotated[str, Pair] = Field(default_factory=_of_profile("compute"))
    memory_mib: Annotated[int, Field(ge=1, le=MIB_MAX)] = Field(default_factory=_of_profile("memory_mib"))
    reserved_mib: Mib = Field(default_factory=_of_profile("reserved_mib"))
    process: tuple[GpuProcess, ...] = Field((), strict=False)
    mig: tuple[Mig, ...] = Field((), strict=False)
    used_mib: Mib = Field(default_factory=lambda data: sum(process.memory_mib for process in data["process"]))
    serial: Annotated[str, label(SERIAL_BYTES)] = Field(default_factory=lambda data: default_serial(data["pci"]))
    minor: int = Field(0, ge=0, le=MINOR_MAX)
    nvml: NvmlTable = Field(default_factory=dict)
    """Properties that are other than the profile's; see properties.def."""

    @model_validator(mode="after")
    def _memory_adds_up(self) -> "Gpu":
        if self.used_mib + self.reserved_mib > self.memory_mib:
            raise wrong(
                f"used_mib {self.used_mib} + reserved_mib {self.reserved_mib} exceed memory_mib {self.memory_mib}",
                "lower used_mib or reserved_mib, or raise memory_mib",
            )
        taken = sum(process.memory_mib for process in self.process)
        if taken > self.used_mib:
            raise wrong(
                f"the processes use {taken} MiB, used_mib is {self.used_mib}",
                "raise used_mib, or leave it out: then it is their sum",
            )
        return self

    @model_validator(mode="after")
    def _properties_agree(self) -> "Gpu":
        told = contradictions(merged(self.model.properties, self.nvml), self.nvml) if self.nvml else []
        if told:
            errors = [
                InitErrorDetails(type=wrong(what, remedy), loc=("nvml", key), input=self.nvml)
                for key, what, remedy in told
            ]
            raise ValidationError.from_exception_data("Gpu", errors)
        return self

    @model_validator(mode="after")
    def _mig_fits(self) -> "Gpu":
        errors = [
            InitErrorDetails(type=error, loc=("mig", i, "profile"), input=mig.profile)
            for i, mig in enumerate(self.mig)
            if (error := self._no_such_profile(mig.profile)) is not None
        ]
        for i, process in enumerate(self.process):
            if process.mig is not None and process.mig >= len(self.mig):
                error = wrong(f"there are {len(self.mig)} MIG devices", "write the position of one, counted from 0")
                errors.append(InitErrorDetails(type=error, loc=("process", i, "mig"), input=process.mig))
        if errors:
            raise ValidationError.from_exception_data("Gpu", errors)
        self._check_places()
        self._check_mig_devices()
        return self

    def _no_such_profile(self, name: str) -> Any:
        from vgpu_harness.host.messages import suggest

        known = [row.name for row in self.model.mig]
        if not known:
            return wrong(f"{self.profile} has no MIG", "take a profile that has it, or leave mig out")
        return None if name in known else wrong("unknown MIG profile", suggest(name, known))

    def _check_places(self) -> None:
        names = [mig.profile for mig in self.mig]
        for row in self.model.mig:
            if names.count(row.name) > row.instances:
                raise wrong(
                    f"{names.count(row.name)} MIG devices {row.name}", f"write {row.instances} or fewer of them"
                )
        uuids = [mig.uuid for mig in self.mig if mig.uuid is not None]
        if len(set(uuids)) < len(uuids):
            raise wrong("two MIG devices with the same UUID", "give each its own")
        if self._placed() is None:
            raise wrong(
                f"MIG devices that do not fit together: {', '.join(names)}",
                "take fewer or smaller ones, or another start; `nvidia-smi mig -lgipp` of a real GPU shows the places",
            )

    def _check_mig_devices(self) -> None:
        rows = {row.name: row for row in self.model.mig}
        total = sum(rows[mig.profile].memory_mib for mig in self.mig)
        if total > self.memory_mib:
            raise wrong(
                f"the MIG devices have {total} MiB together, memory_mib is {self.memory_mib}",
                "take fewer or smaller ones, or raise memory_mib",
            )
        for i, mig in enumerate(self.mig):
            taken = sum(process.memory_mib for process in self.process if process.mig == i)
            if taken > rows[mig.profile].memory_mib:
                raise wrong(
                    f"the processes on mig[{i}] use {taken} MiB, a {mig.profile} has {rows[mig.profile].memory_mib}",
                    "lower their memory_mib, or take a larger MIG device",
                )
            name = mig_name(self.name, mig.profile)
            if len(name.encode()) > NAME_BYTES:
                raise wrong(
                    f"the name {name!r} of mig[{i}] is {len(name.encode())} bytes long",
                    f"give the GPU a shorter name: {NAME_BYTES} bytes are the most",
                )

    def _placed(self) -> list[MigDevice] | None:
        slices = max((row.memory_slices for row in self.model.mig), default=0)
        return place(self._wanted_migs(), slices)

    def _wanted_migs(self) -> list[tuple[MigProfile, int | None]]:
        rows = {row.name: row for row in self.model.mig}
        return [(rows[mig.profile], mig.start) for mig in self.mig]

    @property
    def mig_devices(self) -> list[MigDevice]:
        """The MIG devices by their place in memory, which is NVML's order."""
        return self._placed() or []

    @property
    def model(self) -> Profile:
        """What is fixed for this model of GPU: PCI identifiers, base address registers, attributes."""
        return profile(self.profile)

    @property
    def pci_numbers(self) -> tuple[int, int, int]:
        """Domain, bus and device."""
        return int(self.pci[0:4], 16), int(self.pci[5:7], 16), int(self.pci[8:10], 16)

    @property
    def compute_numbers(self) -> tuple[int, int]:
        """Compute capability as (major, minor)."""
        major, minor = self.compute.split(".")
        return int(major), int(minor)
