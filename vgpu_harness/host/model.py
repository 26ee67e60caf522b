"""The simulated host: its GPUs, its driver, how the shims get into a program, and what goes wrong on purpose.

Every model can be made from keyword arguments as well as from a host file; docs/host-file.md describes each key.
"""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError, field_validator, model_validator
from pydantic_core import InitErrorDetails

from vgpu_harness.host.base import Model, wrong
from vgpu_harness.host.faults import GPUS_MAX, Fault, FunctionFault, ImageFault, SymbolFault
from vgpu_harness.host.fields import MIB_MAX, Pair, matches
from vgpu_harness.host.gate import Entry
from vgpu_harness.host.gpu import Gpu, default_pci

FAULTS_MAX = 64
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


class Driver(Model):
    """The installed driver."""

    version: Annotated[str, matches(_DRIVER_VERSION, "is not a driver version", "write it as in '580.95.05'")] = (
        "580.95.05"
    )
    cuda: Annotated[str, Pair] = Field(default_factory=lambda data: _cuda_of(data["version"]))
    nvml: Annotated[str, matches(_NVML_VERSION, "is not an NVML version", "write it as in '13.580.95.05'")] = Field(
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


def _system_directory(entry: str) -> str:
    path = Path(entry)
    if not path.is_absolute() or ".." in path.parts or path.parts[1:2] in ((), ("proc",), ("sys",), ("dev",)):
        raise wrong("is no directory for libraries", "write an absolute one without '..', as in '/usr/lib64'")
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
    system_links: tuple[Annotated[str, AfterValidator(_system_directory)], ...] = Field((), strict=False)
    """Only a run with a mount namespace of its own can have them."""
    child_environment: Literal["inherit", "rebuilt"] = "inherit"
    init: Literal["first-call", "constructor"] = "first-call"
    """When a shim's start-up runs."""
    dlopen_wrapper: int | None = Field(None, ge=0, lt=2**32)
    """A library in front of dlopen: how many calls of a process it passes by before it leads to the shims."""


DENIED = (
    "sshd*", "systemd*", "(sd-*", "init", "dbus-daemon", "dbus-broker*", "polkitd", "cron", "crond", "agetty", "login",
    "su", "sudo", "udevadm", "lspci", "bash", "sh", "dash", "zsh", "fish",
)  # fmt: skip
"""Programs that the virtual GPU is not for: they start, watch or list other programs and devices."""

Family = Literal["open", "fopen", "stat", "access", "readlink", "opendir"]


class Gate(Model):
    """Which processes see the virtual GPU, and when."""

    allow: tuple[Entry, ...] = Field((), strict=False)
    """Processes that see it even if `deny` names them."""
    deny: tuple[Entry, ...] = Field(DENIED, strict=False)
    auto_init: bool = False
    calls_before: int = Field(0, ge=0, lt=2**32)
    before_gate: tuple[Family, ...] = Field((), strict=False)


def _placed(gpus: tuple[Gpu, ...]) -> tuple[Gpu, ...]:
    """Gives each GPU the address and minor number of its position, where the host names none."""
    full = []
    for i, gpu in enumerate(gpus):
        given = gpu.model_fields_set
        values = {key: value for key, value in gpu if key in given}
        values.setdefault("pci", default_pci(i))
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
    owner: dict[str, int] = {}
    for i, gpu in enumerate(gpus):
        for n, mig in enumerate(gpu.mig):
            if mig.uuid is not None and owner.setdefault(mig.uuid, i) != i:
                error = wrong(f"same UUID as a MIG device of gpu[{owner[mig.uuid]}]", "give each its own")
                found.append(InitErrorDetails(type=error, loc=(i, "mig", n, "uuid"), input=mig.uuid))
    return found


class Memory(Model):
    """How much memory of the real machine the contents of device memory may take."""

    backing_mib: int = Field(1024, ge=1, le=MIB_MAX)
    """In each process; beyond it a call answers OUT_OF_MEMORY, and the trace has the reason."""


class Host(Model):
    """A simulated host. ``Host()`` is the default: one H100 80GB HBM3 at 0000:00:05.0."""

    strict: bool = False
    """A run in which a program called a function that the shims have no model of fails."""
    driver: Driver = Driver()
    gpu: tuple[Gpu, ...] = Field((Gpu(),), strict=False)
    delivery: Delivery = Delivery()
    gate: Gate = Gate()
    memory: Memory = Memory()
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

    @model_validator(mode="after")
    def _faults_name_gpus(self) -> "Host":
        errors = []
        for i, fault in enumerate(self.faults):
            for key in ("gpu", "lost"):
                value = getattr(fault, key, None)
                if value is not None and value >= len(self.gpu):
                    error = wrong(f"the host has {len(self.gpu)} GPUs", "write the position of one, counted from 0")
                    errors.append(InitErrorDetails(type=error, loc=("faults", i, "function", key), input=value))
        if errors:
            raise ValidationError.from_exception_data("Host", errors)
        return self

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
