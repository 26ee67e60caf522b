"""What lies in a run's directory: preload list, links, copies, edited shims, image and tree."""

from pathlib import Path
from typing import Any

import pytest
from support.compile import compile_library

from vgpu_harness.errors import ImageError, RunError, ShimError
from vgpu_harness.host import Host, check_image
from vgpu_harness.run import deliver
from vgpu_harness.shims import available, shim_path
from vgpu_harness.shims.elf import read_elf

USER_CUDA = "int cuInit(unsigned flags) { return (int)flags; } int cuCtxCreate_v3(void) { return 0; }"


def host(**delivery: Any) -> Host:
    """A host with this delivery."""
    return Host(delivery=delivery)  # type: ignore[arg-type]


@pytest.fixture
def user_shim(tmp_path: Path) -> Path:
    """A libcuda that somebody else has built."""
    return compile_library(USER_CUDA, "libcuda.so.1")


def test_the_default_host_has_preload_list_links_image_and_tree(tmp_path: Path) -> None:
    """All built shims are preloaded in order, both driver libraries are linked in the three folders."""
    found = deliver(Host(), tmp_path)
    assert found.preload == tuple(str(path) for name, path in available().items() if name != "audit")
    names = {str(link.relative_to(tmp_path)): str(target) for link, target in found.links.items()}
    assert names == {
        f"ollama/lib/ollama{place}/{file}": str(shim_path(name))
        for place in ("", "/cuda_v12", "/cuda_v13")
        for name, file in (("cuda", "libcuda.so.1"), ("nvml", "libnvidia-ml.so.1"))
    }
    for link, target in found.links.items():
        assert Path(link).samefile(target)
    check_image(found.image)
    assert (tmp_path / "tree/sys/bus/pci/devices/0000:00:05.0/vendor").read_text() == "0x10de\n"


def test_no_links_are_made_where_the_host_has_none(tmp_path: Path) -> None:
    """With an empty list the prefix is not even made."""
    found = deliver(host(links=[]), tmp_path)
    assert (found.links, found.copies) == ({}, {})
    assert not (tmp_path / "ollama").exists()


def test_copies_are_files_of_their_own(tmp_path: Path) -> None:
    """A copy has the content of the shim and another inode: the second instance that a copied libcuda.so.1 is."""
    found = deliver(host(links=[], copies=["lib/ollama"]), tmp_path)
    copy = tmp_path / "ollama/lib/ollama/libcuda.so.1"
    assert found.copies[copy] == shim_path("cuda")
    assert copy.read_bytes() == shim_path("cuda").read_bytes()
    assert not Path(copy).samefile(shim_path("cuda"))


def test_one_folder_cannot_have_both(tmp_path: Path) -> None:
    """A link and a copy of one name is a contradiction in the host."""
    with pytest.raises(RunError, match=r"lib/ollama: stands in both delivery\.links and delivery\.copies"):
        deliver(host(links=["lib/ollama"], copies=["lib/ollama"]), tmp_path)


def test_a_users_shim_takes_the_place_of_ours(tmp_path: Path, user_shim: Path) -> None:
    """It is preloaded as it was named, and the links of its soname lead to it, not to the built one."""
    found = deliver(host(preload=[str(user_shim), "nvml"]), tmp_path)
    assert found.preload == (str(user_shim), str(shim_path("nvml")))
    targets = {link.name: target for link, target in found.links.items()}
    assert targets == {"libcuda.so.1": user_shim, "libnvidia-ml.so.1": shim_path("nvml")}


@pytest.mark.parametrize("content", [None, b"not a library", b"\x7fELF\x01\x01\x01" + bytes(50)])
def test_what_ld_so_will_ignore_is_passed_on(tmp_path: Path, content: bytes | None) -> None:
    """A missing or foreign file stays in the list: that ld.so ignores it is evidence. Links lead to what there is."""
    path = tmp_path / "elsewhere" / "libcuda.so"
    if content is not None:
        path.parent.mkdir()
        path.write_bytes(content)
    (tmp_path / "run").mkdir()
    found = deliver(host(preload=[str(path)]), tmp_path / "run")
    assert found.preload == (str(path),)
    link = tmp_path / "run/ollama/lib/ollama/libcuda.so.1"
    assert found.links[link] == (shim_path("cuda") if content is None else path)


def test_a_fault_edits_a_copy_for_preload_and_links(tmp_path: Path, user_shim: Path) -> None:
    """Both ways in lead to the same edited file; the original is as it was."""
    before = user_shim.read_bytes()
    faults = [{"library": "cuda", "missing_symbol": "cuCtxCreate_v3"}, {"library": "cuda", "soname": "libcudb.so.1"}]
    described = Host(delivery={"preload": [str(user_shim)]}, faults=faults)  # type: ignore[arg-type]
    found = deliver(described, tmp_path)
    (edited,) = found.preload
    assert Path(edited).parent == tmp_path / "shims"
    assert found.links[tmp_path / "ollama/lib/ollama/libcuda.so.1"] == Path(edited)
    facts = read_elf(edited)
    assert (facts.soname, facts.exports("cuCtxCreate_v3"), facts.exports("cuInit")) == ("libcudb.so.1", False, True)
    assert user_shim.read_bytes() == before


def test_a_fault_of_a_symbol_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """The run does not start without the fault that it was asked for."""
    faults = [{"library": "cuda", "missing_symbol": "cuNothing"}]
    with pytest.raises(ShimError, match="does not define 'cuNothing'"):
        deliver(Host(faults=faults), tmp_path)  # type: ignore[arg-type]


def test_a_directory_that_ld_so_would_split_is_refused_for_edited_shims(tmp_path: Path) -> None:
    """An edited copy lies in the run's directory, so a space in that is one message; unedited, it does no harm."""
    (tmp_path / "a b").mkdir()
    faults = [{"library": "cuda", "missing_symbol": "cuInit"}]
    with pytest.raises(RunError, match="splits LD_PRELOAD"):
        deliver(Host(faults=faults), tmp_path / "a b")  # type: ignore[arg-type]
    (tmp_path / "c d").mkdir()
    assert deliver(Host(), tmp_path / "c d").preload


def test_a_host_image_is_used_as_it_is(tmp_path: Path) -> None:
    """A given image is checked, not written again; a damaged or missing one is an error."""
    image = deliver(Host(), _made(tmp_path / "first")).image
    found = deliver(image, _made(tmp_path / "second"))
    assert (found.image, found.tree) == (image, None)
    assert found.preload
    broken = tmp_path / "broken.image"
    broken.write_bytes(image.read_bytes()[:-100])
    with pytest.raises(ImageError, match=str(broken)):
        deliver(broken, _made(tmp_path / "third"))
    with pytest.raises(ImageError, match="No such file"):
        deliver(tmp_path / "nothing", _made(tmp_path / "fourth"))


def _made(path: Path) -> Path:
    path.mkdir()
    return path
