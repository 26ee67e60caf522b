"""How the shims get into a program: which files are preloaded, which links and copies lie in the run's directory."""

import os
import shutil
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

from vgpu_harness.errors import ImageError, RunError, ShimError
from vgpu_harness.host import Host, Tree, check_image, write_image, write_tree
from vgpu_harness.host.image import device_targets
from vgpu_harness.run.environment import check_preload_entry
from vgpu_harness.shims.paths import available, variant_path

LINK_NAMES = {"cuda": "libcuda.so.1", "nvml": "libnvidia-ml.so.1"}
"""The file names under which programs look for the two libraries of the driver."""

PREFIX = "ollama"
"""Folder of a run that stands for a client's installation prefix: the host's links and copies are below it."""


@dataclass(frozen=True)
class Delivered:
    """What lies in a run's directory.

    Attributes:
        directory: the run's own.
        preload: the entries of LD_PRELOAD, in order; what a user named stands here as it was named.
        links: links that were made, each with the library it leads to.
        copies: copies of libraries that were made in their place.
        library_path: the host's additions to LD_LIBRARY_PATH.
        served: the two libraries of the driver, by the file names under which programs look for them.
        image: the host image.
        tree: the tree of virtual files; None if a host image was given.
        host: the host; None if a host image was given.
    """

    directory: Path
    preload: tuple[str, ...]
    links: dict[Path, Path]
    copies: dict[Path, Path]
    library_path: tuple[str, ...]
    served: dict[str, Path]
    image: Path
    tree: Tree | None
    host: Host | None


def _soname_of(path: str) -> str | None:
    """DT_SONAME of a library that a user named, None if it is not there or is no library."""
    from vgpu_harness.shims.elf import read_elf

    try:
        return read_elf(path).soname
    except ShimError:
        return None


def _libraries(host: Host, withheld: Container[str]) -> tuple[list[str], dict[str, str]]:
    """The preload list with short names resolved, but for those withheld, and which of its paths serves as which shim.

    A user's shim serves as the one whose file name its DT_SONAME is, or, failing that, whose short name is in the name
    of its file. Where none of the list does, the links lead to the built shim: links are a delivery of their own.
    """
    built = {name: str(path) for name, path in available().items()}
    preload: list[str] = []
    serving: dict[str, str] = {}
    for entry in host.delivery.preload:
        if "/" not in entry:
            if entry in built and entry not in withheld:
                preload.append(built[entry])
                serving.setdefault(entry, built[entry])
            continue
        preload.append(entry)
        soname, file_name = _soname_of(entry), Path(entry).name
        for name in ("exec", "syscall", *LINK_NAMES):
            if Path(entry).is_file() and (soname == LINK_NAMES.get(name, "") or name in file_name):
                serving.setdefault(name, entry)
                break
    for name, path in built.items():
        serving.setdefault(name, path)
    return preload, serving


def _edited(host: Host, directory: Path, serving: dict[str, str]) -> dict[str, Path]:
    """Copies of the shims that the host's faults change, by the path of the original."""
    from vgpu_harness.host.faults import SonameFault, SymbolFault
    from vgpu_harness.shims.edit import copy_library, hide_symbol, set_soname

    edited: dict[str, Path] = {}
    for fault in host.faults:
        if not isinstance(fault, (SymbolFault, SonameFault)):
            continue
        original = serving.get(fault.library)
        if original is None:
            raise ShimError(
                f"faults: library {fault.library!r}: there is no such shim to change; name one in delivery.preload"
            )
        if original not in edited:
            (directory / "shims").mkdir(exist_ok=True)
            edited[original] = copy_library(original, directory / "shims" / Path(original).name)
        if isinstance(fault, SymbolFault):
            hide_symbol(edited[original], fault.missing_symbol)
        else:
            set_soname(edited[original], fault.soname)
    return edited


def _variants(host: Host, directory: Path, used: dict[str, Path]) -> list[str]:
    """What is preloaded behind the shims because the host asks for the ways of other shims."""
    from vgpu_harness.shims.edit import copy_library
    from vgpu_harness.shims.wrapper import fill_in

    more: list[str] = []
    if host.delivery.init == "constructor":
        more.append(str(variant_path("early")))
    if host.delivery.dlopen_wrapper is not None:
        place = directory / "dlopen"
        place.mkdir()
        for name, library in used.items():
            (place / LINK_NAMES[name]).symlink_to(library)
        copy = copy_library(variant_path("dlopen"), place / "libvgpu-dlopen.so")
        fill_in(copy, host.delivery.dlopen_wrapper, place)
        more.append(str(copy))
    return more


def deliver(
    host: Host | str | os.PathLike[str],
    directory: str | os.PathLike[str],
    *,
    tree: Path | None = None,
    withheld: Container[str] = (),
) -> Delivered:
    """Lays out what the shims need in a run's directory.

    Args:
        host: the host, or the path of a host image, which is then used as it is with the default delivery.
        directory: the run's own; it exists.
        tree: where the tree goes; `tree` in the directory for None.
        withheld: short names of shims that are not preloaded, whatever the host has.

    Raises:
        ImageError: the image cannot be used, or its tree is gone.
        ShimError: a fault asks for an edit that cannot be made.
        RunError: a path cannot be preloaded, or the directory cannot be written.
    """
    directory = Path(directory).absolute()
    if isinstance(host, Host):
        return _deliver(host, directory, tree or directory / "tree", None, withheld)
    image = Path(host).absolute()
    try:
        check_image(image)
        _check_tree(image)
    except OSError as error:
        raise ImageError(f"{image}: cannot be read: {error.strerror}; give a host file or a host image") from error
    return _deliver(Host(), directory, directory / "tree", image, withheld)


def _check_tree(image: Path) -> None:
    """Refuses an image whose devices lead to files that are gone: it would hide what it is to show."""
    for target in device_targets(image):
        if not Path(target).exists():
            raise ImageError(
                f"{image}: its tree is gone ({target}): that of a run is removed at its end; give the host file, or "
                "have the run keep its tree (keep_tree=True, --keep)"
            )


def _deliver(host: Host, directory: Path, at_tree: Path, given: Path | None, withheld: Container[str]) -> Delivered:
    preload, serving = _libraries(host, withheld)
    edited = _edited(host, directory, serving)
    used = {name: Path(edited.get(serving[name], serving[name])) for name in LINK_NAMES if name in serving}
    preload = [str(edited.get(path, path)) for path in preload]
    links: dict[Path, Path] = {}
    copies: dict[Path, Path] = {}
    try:
        preload = [check_preload_entry(path) for path in [*preload, *_variants(host, directory, used)]]
        for folders, made, by_copy in ((host.delivery.links, links, False), (host.delivery.copies, copies, True)):
            for place in folders:
                folder = directory / PREFIX / place
                folder.mkdir(parents=True, exist_ok=True)
                for name, library in used.items():
                    at = folder / LINK_NAMES[name]
                    if at in links:
                        raise RunError(f"{place}: stands in both delivery.links and delivery.copies; keep one")
                    if at.is_symlink() or at.exists():
                        raise RunError(f"{at}: is there already; give a directory without it")
                    if by_copy:
                        shutil.copyfile(library, at)
                    else:
                        at.symlink_to(library)
                    made[at] = library
        tree = None
        if given is None:
            tree = write_tree(host, at_tree)
            given = write_image(host, tree, directory / "host.image")
    except OSError as error:
        place = str(error.filename or directory)
        raise RunError(
            f"{place}: cannot be written: {error.strerror}; free some space, or choose another place"
        ) from error
    used_host = host if tree is not None else None
    served = {LINK_NAMES[name]: library for name, library in used.items()}
    return Delivered(
        directory, tuple(preload), links, copies, host.delivery.library_path, served, given, tree, used_host
    )
