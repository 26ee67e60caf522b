"""The simulated host: its GPUs, its driver, how the shims get into a program, and what goes wrong on purpose.

Every model can be made from keyword arguments as well as from a host file; docs/host-file.md describes each key.
"""

import re
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import NAMESPACE_URL, uuid5

from pydantic import AfterValidator, Field, ValidationError, field_validator, model_validator
from pydantic_core import InitErrorDetails

from vgpu_harness.host.base import Model, wrong
from vgpu_harness.host.faults import Fault, FunctionFault, ImageFault, SymbolFault
from vgpu_harness.host.profile import DEFAULT_PROFILE, Profile, profile, profile_names

GPUS_MAX = 8
FAULTS_MAX = 64
NAME_BYTES = 95
SERIAL_BYTES = 31
MINOR_MAX = 247
"""Highest N of /dev/nvidiaN (NV_MINOR_DEVICE_NUMBER_REGULAR_MAX of NVIDIA's open-gpu-kernel-modules)."""
MIB_MAX = 2**24
"""16 TiB: far above any GPU, far below what overflows 64 bits of bytes."""

PRELOAD_ORDER = ("exec", "syscall", "cuda", "nvml")
"""Short names of the shims, in the order in which they are preloaded."""

# The CUDA version that a driver branch brought (release notes of the CUDA toolkit, table "CUDA Toolkit and
# Corresponding Driver Versions").
_CUDA_OF_BRANCH = {
    525: "12.0", 530: "12.1", 535: "12.2", 545: "12.3", 550: "12.4", 555: "12.5", 560: "12.6", 565: "12.7", 570: "12.8",
    575: "12.9", 580: "13.0", 590: "13.1",
}  # fmt: skip

_DRIVER_VERSION = re.compile(r"[1-9]\d{2,3}\.\d{1,3}(\.\d{1,3})?", re.ASCII)
_NVML_VERSION = re.compile(r"\d{1,3}(\.\d{1,4}){2,3}", re.ASCII)
_PAIR = re.compile(r"(\d{1,2})\.(\d{1,2})", re.ASCII)
_PCI = re.compile(r"([0-9a-f]{4}):([0-9a-f]{2}):([01][0-9a-f])(?:\.([0-7]))?", re.ASCII)
_UUID = re.compile(r"GPU-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)


def _pci_address(text: str) -> str:
    found = _PCI.fullmatch(text.lower())
    if not found:
        raise wrong("is not a PCI address", "write domain:bus:device.function in hexadecimal, as in '0000:00:05.0'")
    if found[4] not in (None, "0"):
        raise wrong("is not a GPU's PCI address: a GPU is function 0", f"write '{text.lower()[:-1]}0'")
    return f"{found[1]}:{found[2]}:{found[3]}.0"


def _uuid(text: str) -> str:
    lower = "GPU-" + text[4:].lower() if text.startswith("GPU-") else text
    if not _UUID.fullmatch(lower):
        raise wrong("is not a GPU's UUID", "write GPU- and 8-4-4-4-12 hexadecimal digits")
    return lower


def _label(limit: int) -> AfterValidator:
    """Text that fits a C buffer: not empty, at most `limit` bytes of UTF-8, no control character."""

    def check(text: str) -> str:
        if not text or not text.isprintable():
            raise wrong("is empty or has a control character", "write printable text")
        try:
            size = len(text.encode())
        except UnicodeEncodeError:
            raise wrong("is not text", "write characters that UTF-8 has") from None
        if size > limit:
            raise wrong(f"is {size} bytes long", f"write {limit} bytes or fewer")
        return text

    return AfterValidator(check)


def _matches(pattern: re.Pattern[str], problem: str, remedy: str) -> AfterValidator:
    def check(text: str) -> str:
        if not pattern.fullmatch(text):
            raise wrong(problem, remedy)
        return text

    return AfterValidator(check)


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


def _default_pci(i: int) -> str:
    return f"0000:00:{5 + i:02x}.0"


Pair = _matches(_PAIR, "is not two numbers", "write major.minor, as in '9.0'")
PciAddress = Annotated[str, AfterValidator(_pci_address)]
GpuUuid = Annotated[str, AfterValidator(_uuid)]
Mib = Annotated[int, Field(ge=0, le=MIB_MAX)]


class Gpu(Model):
    """One GPU. Sizes are in MiB. What is not given comes from the profile, or is derived from the PCI address."""

    profile: Annotated[str, AfterValidator(_known_profile)] = DEFAULT_PROFILE
    pci: PciAddress = _default_pci(0)
    uuid: GpuUuid = Field(default_factory=lambda data: default_uuid(data["pci"]))
    nvml_uuid: GpuUuid = Field(default_factory=lambda data: data["uuid"])
    name: Annotated[str, _label(NAME_BYTES)] = Field(default_factory=_of_profile("name"))
    compute: Annotated[str, Pair] = Field(default_factory=_of_profile("compute"))
    memory_mib: Annotated[int, Field(ge=1, le=MIB_MAX)] = Field(default_factory=_of_profile("memory_mib"))
    reserved_mib: Mib = Field(default_factory=_of_profile("reserved_mib"))
    used_mib: Mib = 0
    serial: Annotated[str, _label(SERIAL_BYTES)] = Field(default_factory=lambda data: default_serial(data["pci"]))
    minor: int = Field(0, ge=0, le=MINOR_MAX)

    @model_validator(mode="after")
    def _memory_adds_up(self) -> "Gpu":
        if self.used_mib + self.reserved_mib > self.memory_mib:
            raise wrong(
                f"used_mib {self.used_mib} + reserved_mib {self.reserved_mib} exceed memory_mib {self.memory_mib}",
                "lower used_mib or reserved_mib, or raise memory_mib",
            )
        return self

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


class Driver(Model):
    """The installed driver."""

    version: Annotated[str, _matches(_DRIVER_VERSION, "is not a driver version", "write it as in '580.95.05'")] = (
        "580.95.05"
    )
    cuda: Annotated[str, Pair] = Field(default_factory=lambda data: _cuda_of(data["version"]))
    nvml: Annotated[str, _matches(_NVML_VERSION, "is not an NVML version", "write it as in '13.580.95.05'")] = Field(
        default_factory=lambda data: f"{data['cuda'].partition('.')[0]}.{data['version']}"
    )

    @field_validator("version")
    @classmethod
    def _of_this_age(cls, version: str) -> str:
        if int(version.partition(".")[0]) < min(_CUDA_OF_BRANCH):
            raise wrong("is a driver before CUDA 12", "write 525.60.13 or a newer one")
        return version

    @property
    def cuda_number(self) -> int:
        """As cuDriverGetVersion answers it: 1000 * major + 10 * minor."""
        major, minor = self.cuda.split(".")
        return 1000 * int(major) + 10 * int(minor)


def _cuda_of(version: str) -> str:
    branch = int(version.partition(".")[0])
    return _CUDA_OF_BRANCH[max(known for known in _CUDA_OF_BRANCH if known <= branch)]


def _preloadable(entry: str) -> str:
    if "/" not in entry:
        if entry not in PRELOAD_ORDER:
            from vgpu_harness.host.messages import suggest

            raise wrong(
                "is not the short name of a shim", f"{suggest(entry, PRELOAD_ORDER)}; or write an absolute path"
            )
    elif not Path(entry).is_absolute():
        raise wrong("is a relative path", "write an absolute one: programs change their directory")
    elif set(entry) & set(" :"):
        # ld.so(8): the list may be separated by spaces or colons, and there is no escaping for either separator.
        raise wrong("has a space or colon, at which ld.so splits LD_PRELOAD", "copy the file to a path without them")
    return entry


def _inside(entry: str) -> str:
    path = Path(entry)
    if not entry or path.is_absolute() or ".." in path.parts or path == Path():
        raise wrong(
            "does not stay inside the run's directory", "write a relative directory without '..', as in 'lib/ollama'"
        )
    return entry


def _search_directory(entry: str) -> str:
    if not Path(entry).is_absolute() or ":" in entry or ";" in entry:
        raise wrong("cannot be part of LD_LIBRARY_PATH", "write an absolute directory without ':' and ';'")
    return entry


Inside = Annotated[str, AfterValidator(_inside)]


class Delivery(Model):
    """How the shims get into a program."""

    preload: tuple[Annotated[str, AfterValidator(_preloadable)], ...] = Field(PRELOAD_ORDER, strict=False)
    links: tuple[Inside, ...] = Field(("lib/ollama", "lib/ollama/cuda_v12", "lib/ollama/cuda_v13"), strict=False)
    copies: tuple[Inside, ...] = Field((), strict=False)
    library_path: tuple[Annotated[str, AfterValidator(_search_directory)], ...] = Field((), strict=False)
    child_environment: Literal["inherit", "rebuilt"] = "inherit"


_PROGRAM = re.compile(r"[^/*\x00-\x1f]{1,254}\*?")
Program = Annotated[
    str, _matches(_PROGRAM, "is not the name of a program", "write a file name without '/'; '*' stands only at its end")
]
DENIED = (
    "sshd*", "systemd*", "(sd-*", "init", "dbus-daemon", "dbus-broker*", "polkitd", "cron", "crond", "agetty", "login",
    "su", "sudo", "udevadm", "lspci", "bash", "sh", "dash", "zsh", "fish",
)  # fmt: skip
"""Programs that the virtual GPU is not for: they start, watch or list other programs and devices."""

Family = Literal["open", "fopen", "stat", "access", "readlink", "opendir"]


class Gate(Model):
    """Which processes see the virtual GPU, and when."""

    allow: tuple[Program, ...] = Field((), strict=False)
    deny: tuple[Program, ...] = Field(DENIED, strict=False)
    auto_init: bool = False
    calls_before: int = Field(0, ge=0, lt=2**32)
    before_gate: tuple[Family, ...] = Field((), strict=False)


def _placed(gpus: tuple[Gpu, ...]) -> tuple[Gpu, ...]:
    """Gives each GPU the address and minor number of its position, where the host names none."""
    full = []
    for i, gpu in enumerate(gpus):
        given = gpu.model_fields_set
        values = {key: value for key, value in gpu if key in given}
        values.setdefault("pci", _default_pci(i))
        values.setdefault("minor", i)
        full.append(Gpu.model_construct(given, **dict(Gpu(**values))))
    return tuple(full)


def _duplicates(gpus: tuple[Gpu, ...]) -> list[InitErrorDetails]:
    found = []
    for key, what in (("pci", "PCI address"), ("uuid", "UUID"), ("nvml_uuid", "NVML UUID"), ("minor", "minor number")):
        first: dict[Any, int] = {}
        for i, gpu in enumerate(gpus):
            value = getattr(gpu, key)
            other = first.setdefault(value, i)
            # Two derived values are the same because two addresses are: one error says it.
            given = gpu.model_fields_set | gpus[other].model_fields_set
            if other != i and key in given:
                error = wrong(f"same {what} as gpu[{other}]", "give each GPU its own")
                found.append(InitErrorDetails(type=error, loc=(i, key), input=value))
    return found


class Host(Model):
    """A simulated host. ``Host()`` is the default: one H100 80GB HBM3 at 0000:00:05.0."""

    driver: Driver = Driver()
    gpu: tuple[Gpu, ...] = Field((Gpu(),), strict=False)
    delivery: Delivery = Delivery()
    gate: Gate = Gate()
    faults: tuple[Fault, ...] = Field((), strict=False)

    @field_validator("gpu")
    @classmethod
    def _gpus_differ(cls, gpus: tuple[Gpu, ...]) -> tuple[Gpu, ...]:
        if not 1 <= len(gpus) <= GPUS_MAX:
            raise wrong(f"{len(gpus)} GPUs", f"write 1 to {GPUS_MAX} of them; leave [[gpu]] out for the default one")
        gpus = _placed(gpus)
        if errors := _duplicates(gpus):
            raise ValidationError.from_exception_data("Host", errors)
        return gpus

    @field_validator("faults")
    @classmethod
    def _faults_fit(cls, faults: tuple[Fault, ...]) -> tuple[Fault, ...]:
        functions = sum(isinstance(fault, FunctionFault) for fault in faults)
        # cuGetProcAddress has to be told of these
        hidden = sum(isinstance(fault, SymbolFault) and fault.library == "cuda" for fault in faults)
        if functions + hidden > FAULTS_MAX:
            raise wrong(
                f"{functions} faults of functions and {hidden} missing symbols of the CUDA shim are too many",
                f"write {FAULTS_MAX} or fewer together",
            )
        if sum(isinstance(fault, ImageFault) for fault in faults) > 1:
            raise wrong("more than one image fault", "an image is wrong in one way: keep one")
        return faults

    @classmethod
    def load(cls, path: str | Path) -> "Host":
        """Reads a host file (TOML).

        Raises:
            HostError: the file cannot be read or is wrong; all errors at once, a line each, with file, line, key,
                value and remedy.
        """
        from vgpu_harness.host.load import load

        return load(path)

    def dump(self) -> str:
        """The host as the text of a host file, every key written out; it loads to an equal host."""
        from vgpu_harness.host.load import dump

        return dump(self)
