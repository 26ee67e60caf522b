"""Which libraries are tested, and which simulated host they show."""

from dataclasses import dataclass
from pathlib import Path

from vgpu_harness.conformance.rule import ApiName
from vgpu_harness.errors import ShimError
from vgpu_harness.host import Host


@dataclass(frozen=True)
class Subject:
    """A library that is tested.

    Attributes:
        path: the file.
        host: the simulated host that it shows; None for a foreign library.
        adaptable: whether rules may have it show another host: it is a shim of this package, and nobody chose a host.
        foreign: it is no shim of this installation.
    """

    path: Path
    host: Host | None
    adaptable: bool = False
    foreign: bool = False


def subject(api: ApiName, library: Path | None, host: Host | None) -> Subject:
    """What is tested for an API.

    Args:
        api: the API.
        library: the library; None for the shim of this package.
        host: the host that it shows. None: the default one for the shims of this package, none for any other library.

    Raises:
        ShimError: there is no such library.
    """
    from vgpu_harness.shims import shim_path

    own = shim_path(api)
    path = own if library is None else library.absolute()
    try:
        is_file = path.is_file()
    except OSError as error:
        raise ShimError(f"{path}: cannot be read: {error.strerror}; check its permissions and its folder's") from error
    if not is_file:
        raise ShimError(f"{path}: is not a file; give the path of a lib{'cuda' if api == 'cuda' else 'nvidia-ml'}.so.1")
    if path.samefile(own):
        return Subject(path, host or Host(), adaptable=host is None)
    return Subject(path, host, foreign=True)


def subjects(cuda: Path | None, nvml: Path | None, host: Host | None) -> dict[ApiName, Subject]:
    """The library for each API that is tested: those that are given, or the shims of both if none is.

    Args:
        cuda: a libcuda.
        nvml: a libnvidia-ml.
        host: the simulated host that they show, see `subject`.

    Raises:
        ShimError: a library is missing.
    """
    given: dict[ApiName, Path | None] = {"cuda": cuda, "nvml": nvml}
    one = any(given.values())
    return {api: subject(api, path, host) for api, path in given.items() if path is not None or not one}
