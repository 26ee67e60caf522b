"""The conditions under which libraries have to be harmless: as they are deployed, and with what can be wrong then."""

import os
from dataclasses import dataclass
from pathlib import Path

from vgpu_harness.errors import ShimError
from vgpu_harness.host import Host, write_image, write_tree
from vgpu_harness.host.faults import ImageFault
from vgpu_harness.preflight.trial import Setting
from vgpu_harness.trace.create import MINIMUM_SIZE, create_trace

AS_DEPLOYED = "as deployed"

_TRACE = "/run/vgpu-preflight/trace"
_MIB = 1 << 20


@dataclass(frozen=True)
class Condition:
    """A name, and the variables and files that make it."""

    name: str
    environment: dict[str, str]
    copies: dict[str, str]


def reads_image(libraries: list[str]) -> bool:
    """Does one of the libraries look for a host image? It then has the name of the variable in it.

    Raises:
        ShimError: a library cannot be read.
    """
    try:
        return any(b"VGPU_HOST" in Path(path).read_bytes() for path in libraries)
    except OSError as error:
        raise ShimError(f"{error.filename}: cannot be read: {error.strerror}; name a shared library") from error


def conditions(libraries: list[str], directory: Path, host: Host) -> list[Condition]:
    """The conditions for these libraries: those with a host image only where one of them looks for it.

    Args:
        libraries: absolute paths.
        directory: for images, tree and traces; every user must be able to read it.
        host: what the image describes.

    Raises:
        ShimError: a library cannot be read.
        OSError: the directory cannot be written.
    """
    plain = [Condition(AS_DEPLOYED, {}, {})]
    if not reads_image(libraries):
        return plain
    tree = write_tree(host, directory / "tree")
    image = str(write_image(host, tree, directory / "host.image"))
    newer = host.model_copy(update={"faults": (*host.faults, ImageFault(image="version"))})
    refused = str(write_image(newer, tree, directory / "refused.image"))
    trace = {_TRACE: os.fspath(create_trace(directory / "trace", _MIB))}
    small = {_TRACE: os.fspath(create_trace(directory / "small", MINIMUM_SIZE))}
    both = {"VGPU_HOST": image, "VGPU_TRACE": _TRACE}
    return [
        *plain,
        Condition("host image and trace", both, trace),
        Condition("host image missing", {**both, "VGPU_HOST": "/nonexistent/host.image"}, trace),
        Condition("host image refused", {**both, "VGPU_HOST": refused}, trace),
        Condition("trace full", both, small),
        Condition("trace missing", {**both, "VGPU_TRACE": "/nonexistent/trace"}, {}),
    ]


def under(setting: Setting, condition: Condition) -> Setting:
    """A setting with what the condition adds to it."""
    environment = {**setting.environment, **condition.environment}
    return Setting(setting.keep, environment, setting.files, {**setting.copies, **condition.copies})
