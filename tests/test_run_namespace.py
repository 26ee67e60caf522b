"""Providers as far as they can be tried without bubblewrap: the table, the planned mounts, and every refusal."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vgpu_harness.commands import run as command
from vgpu_harness.errors import HostError, RunError
from vgpu_harness.host import Delivery, Gpu, Host, Tree, write_tree
from vgpu_harness.host.tree import Row
from vgpu_harness.run import Run, deliver, namespace, run, runner, scratch
from vgpu_harness.run import mounts as mounts_module
from vgpu_harness.run.mounts import Mount, Plan
from vgpu_harness.run.namespace import Enclosed, Namespace, why_refused
from vgpu_harness.run.observer import Image, Process
from vgpu_harness.run.provider import PROVIDERS, provider
from vgpu_harness.shims import shim_path

BUS = "/sys/bus/pci/devices"


@pytest.fixture
def planned(tmp_path: Path) -> Callable[..., list[Mount]]:
    """The mounts of a host on this machine."""

    def plan(host: Host, links: tuple[str, ...] = ()) -> list[Mount]:
        place = tmp_path / f"place{len(list(tmp_path.glob('place*')))}"
        found = Plan(place / "mounts")
        found.show(write_tree(host, place / "tree"))
        found.link(links, {"libcuda.so.1": shim_path("cuda")})
        return list(found.mounts())

    return plan


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Has os.path say that this machine has not a directory that it has."""
    real = {name: getattr(os.path, name) for name in ("isdir", "lexists")}

    def lacks(directory: str) -> None:
        for name, function in real.items():
            monkeypatch.setattr(os.path, name, lambda path, function=function: path != directory and function(path))

    yield lacks
    monkeypatch.undo()


def seen(mounts: list[Mount], path: str) -> str:
    """What a program finds at a path: the file that the last mount at or above it has there."""
    source = path
    for mount in mounts:
        if path == mount.place or path.startswith(f"{mount.place}/"):
            source = mount.source + path[len(mount.place) :]
    return source


class TestPlan:
    def test_files_are_those_of_the_tree(self, planned: Callable[..., list[Mount]]) -> None:
        """What is mounted at the places of the GPU's, the modules' and the driver's files has their content."""
        mounts = planned(Host())
        vendor = Path(seen(mounts, "/sys/devices/pci0000:00/0000:00:05.0/vendor"))
        assert vendor.read_text() == "0x10de\n"
        assert Path(seen(mounts, "/sys/module/nvidia/version")).read_text() == "580.95.05\n"
        assert "580.95.05" in Path(seen(mounts, "/proc/driver/nvidia/version")).read_text()
        assert Path(seen(mounts, "/dev/nvidiactl")).is_file()
        assert not Path(seen(mounts, "/dev/nvidia17")).exists()

    def test_a_listing_has_the_machines_entries_and_ours(self, planned: Callable[..., list[Mount]]) -> None:
        """A directory that is made anew has a place for each, and the machine's links as they are."""
        mounts = planned(Host(gpu=(Gpu(pci="0000:00:1e.0"),)))
        for directory, ours in ((BUS, {"0000:00:1e.0"}), ("/dev", {"nvidia0", "nvidiactl"})):
            made = Path(seen(mounts, directory))
            assert set(os.listdir(made)) >= {*os.listdir(directory), *ours}  # noqa: PTH208
        assert seen(mounts, "/dev/null") == "/dev/null", "the machine's own is mounted on its place, not under it"
        for link in (entry for entry in Path("/dev").iterdir() if entry.is_symlink()):
            assert (Path(seen(mounts, "/dev")) / link.name).readlink() == link.readlink()

    @pytest.mark.parametrize("many", [0, 16])
    def test_each_mount_is_made_where_there_is_a_place_for_it(
        self, planned: Callable[..., list[Mount]], monkeypatch: pytest.MonkeyPatch, many: int
    ) -> None:
        """In the order that is planned, a place is there before something is mounted at it, and is of its kind."""
        monkeypatch.setattr(mounts_module, "_MANY", many)
        addresses = ("0000:00:05.0", "0000:00:1e.0", "0001:3b:00.0")
        host = Host(gpu=tuple(Gpu(pci=address) for address in addresses))
        mounts = planned(host, ("/usr/lib64", "/usr/local/lib/ollama/deep"))
        for i, mount in enumerate(mounts):
            place = Path(seen(mounts[:i], mount.place))
            assert place.exists(), mount
            assert not place.is_symlink(), mount
            assert place.is_dir() == Path(mount.source).is_dir(), mount

    def test_ours_lies_over_the_machines(self, planned: Callable[..., list[Mount]]) -> None:
        """Where the directory around a GPU that the machine has a device for is made anew, the GPU is what is seen."""
        mounts = planned(Host(gpu=(Gpu(), Gpu(pci="0000:00:1e.0"))))
        for address in ("0000:00:05.0", "0000:00:1e.0"):
            place = f"/sys/devices/pci0000:00/{address}/device"
            assert Path(seen(mounts, place)).read_text() == "0x2331\n"

    def test_what_the_tree_hides_is_not_there(self, tmp_path: Path) -> None:
        """A row that leads nowhere hides the machine's entry, and no other."""
        plan = Plan(tmp_path / "mounts")
        plan.show(Tree(tmp_path, (Row("/dev/null", str(tmp_path / "nowhere"), whole=True),)))
        made = Path(seen(list(plan.mounts()), "/dev"))
        assert set(os.listdir(made)) == set(os.listdir("/dev")) - {"null"}  # noqa: PTH208

    def test_links_in_directories_of_the_system(self, planned: Callable[..., list[Mount]]) -> None:
        """They lead to the shim; a directory that is missing is made with those above it, and nothing on the disk."""
        mounts = planned(Host(), ("/usr/lib", "/usr/local/lib/ollama/deep"))
        for directory in ("/usr/lib", "/usr/local/lib/ollama/deep"):
            assert Path(seen(mounts, directory), "libcuda.so.1").samefile(shim_path("cuda"))
        assert set(os.listdir(seen(mounts, "/usr/lib"))) == {*os.listdir("/usr/lib"), "libcuda.so.1"}  # noqa: PTH208
        assert not Path("/usr/local/lib/ollama/deep").exists()

    def test_a_directory_that_cannot_be_made_anew(
        self, planned: Callable[..., list[Mount]], machine: Callable[[str], None]
    ) -> None:
        """/proc/driver would be needed in a /proc of the kernel's: an error says so."""
        planned(Host())
        machine("/proc/driver")
        with pytest.raises(RunError, match=r"/proc/driver.*: cannot be shown .* /proc would have to be made anew; use"):
            planned(Host())


class TestTable:
    def test_the_command_line_knows_all(self) -> None:
        """--provider takes the names of the table."""
        assert command.PROVIDERS == PROVIDERS
        assert {"preload", "namespace"} <= set(PROVIDERS)

    def test_there_is_no_other(self, tmp_path: Path) -> None:
        """A name that is none is told with those that are, before anything is made."""
        with pytest.raises(RunError, match=r"provider 'chroot': is none of 'preload', 'namespace'"):
            run(["true"], provider="chroot", directory=tmp_path / "run")  # type: ignore[arg-type]
        assert not (tmp_path / "run").exists()

    def test_preload_is_always_there(self) -> None:
        """It needs nothing, and executes the program as it is."""
        assert provider("preload").available() is None
        assert provider("preload").enclose(None) is None  # type: ignore[arg-type]

    def test_a_run_says_which_one_it_had(self, tmp_path: Path) -> None:
        """In the value and in the file; a file of an older version had the preload provider."""
        done = run(["true"], directory=tmp_path / "run", trace_size=1 << 20)
        assert (done.provider, done.to_json()["provider"]) == ("preload", "preload")
        assert Run.load(done.directory).provider == "preload"

    def test_withheld_shims_are_not_preloaded(self, tmp_path: Path) -> None:
        """Only those that are named as shims: what a user named by its path stays."""
        host = Host(delivery=Delivery(preload=("exec", "syscall", str(shim_path("syscall")))))
        found = deliver(host, tmp_path, withheld={"syscall"})
        assert found.preload == (str(shim_path("exec")), str(shim_path("syscall")))


class TestRefused:
    def test_without_bubblewrap(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """The remedy is the package's name."""
        monkeypatch.setenv("PATH", str(tmp_path))
        assert Namespace().available() == (
            "bwrap: is not installed; apt-get install bubblewrap, or use the provider preload"
        )

    @pytest.mark.parametrize(
        ("said", "remedy"),
        [
            ("bwrap: Creating new namespace failed: Operation not permitted\n", "allow user namespaces"),
            ("bwrap: No permissions to create new namespace, likely because\n", "allow user namespaces"),
            ("bwrap: setting up uid map: Permission denied", "allow user namespaces"),
            ("", "bwrap said nothing; try `bwrap --dev-bind / / true`"),
        ],
    )
    def test_what_bwrap_says_gets_a_remedy(self, monkeypatch: pytest.MonkeyPatch, said: str, remedy: str) -> None:
        """Its own words stay, and what to change comes behind."""
        monkeypatch.setattr(namespace, "_flag", lambda _: False)
        text = why_refused(said)
        assert remedy in text
        assert said.strip().removeprefix("bwrap: ") in text

    def test_apparmor_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where AppArmor keeps ordinary users from user namespaces, it is what is to be changed; root is not kept."""
        monkeypatch.setattr(namespace, "_flag", lambda path: "apparmor" in path)
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        assert "apparmor_restrict_unprivileged_userns" in why_refused("bwrap: setting up uid map: Permission denied")
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        assert "apparmor" not in why_refused("bwrap: setting up uid map: Permission denied")

    def test_a_bwrap_that_fails_is_asked_again(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """A program of that name that ends with an error is no provider, with its words; the next try is a new one."""
        script = tmp_path / "bwrap"
        script.write_text("#!/bin/sh\necho 'bwrap: no namespace today' >&2\nexit 1\n")
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        assert "no namespace today" in str(Namespace().available())
        script.write_text("#!/bin/sh\nexit 0\n")
        assert Namespace().available() is None

    def test_links_in_the_system_need_a_namespace(self, tmp_path: Path) -> None:
        """With the preload provider they would be made on the machine itself."""
        host = Host(delivery=Delivery(system_links=("/usr/lib64",)))
        with pytest.raises(RunError, match=r"delivery\.system_links: the provider preload .*provider namespace"):
            run(["true"], host, directory=tmp_path / "run")
        assert not (tmp_path / "run").exists()

    @pytest.mark.parametrize("wrong", ["usr/lib64", "/", "/proc/driver", "/sys/x", "/dev", "/usr/../lib"])
    def test_only_directories_for_libraries(self, wrong: str) -> None:
        """A host file's system_links are absolute directories of the system, none of the kernel's."""
        path_of_host = Path(os.environ["VGPU_TEST_PROGRAMS"]) / "links.toml"
        path_of_host.write_text(f'[delivery]\nsystem_links = ["{wrong}"]\n')
        with pytest.raises(HostError, match=r"system_links.*is no directory for libraries"):
            Host.load(path_of_host)


class TestEnclosed:
    """What bwrap leaves of itself in what an observer saw, and how its status is read."""

    @pytest.fixture
    def enclosed(self) -> Iterator[Enclosed]:
        """One whose program is process 12."""
        found = Enclosed([])
        found._pid = 12
        yield found
        found.close()

    @staticmethod
    def process(pid: int, *programs: str, status: int | None = None) -> Process:
        """A process that executed these."""
        images = tuple(Image(program, (), traced=True, preloaded=True) for program in programs)
        return Process(pid, 1, "", (), traced=True, preloaded=True, status=status, images=images)

    def test_bwrap_is_not_of_the_run(self, enclosed: Enclosed) -> None:
        """Its process is left out, and the program's begins with the program."""
        given = (
            self.process(11, "/usr/bin/bwrap"),
            self.process(12, "/x/libexec/vgpu-start", "/bin/sh", "/bin/cat", status=0),
            self.process(13),
            self.process(14, "/usr/bin/bwrap", "/bin/true"),
        )
        found = enclosed.processes_of_run(given)
        assert [(process.pid, [image.program for image in process.images]) for process in found] == [
            (12, ["/bin/sh", "/bin/cat"]), (13, []), (14, ["/usr/bin/bwrap", "/bin/true"]),
        ]  # fmt: skip
        assert found[0].parent == os.getpid()

    @pytest.mark.parametrize(("root", "status"), [(0, 0), (3, 3), (139, -11), (255, 255), (128, 128)])
    def test_a_status_that_was_not_seen(self, enclosed: Enclosed, root: int, status: int) -> None:
        """bwrap's 128 + n is signal n, if there is a signal n; one that was seen counts more."""
        assert enclosed.status(root, (self.process(12),)) == status
        assert enclosed.status(root, (self.process(12, status=-9),)) == -9


def test_the_tree_is_in_memory_while_the_run_lasts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is gone afterwards, wherever it was, unless it is to be kept; where there is no memory, a finding says so."""
    places: list[Path | None] = []
    real = runner.deliver

    def noted(*args: object, tree: Path | None = None, **options: object) -> object:
        places.append(tree)
        return real(*args, tree=tree, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(runner, "deliver", noted)
    done = run(["true"], directory=tmp_path / "one", trace_size=1 << 20)
    assert places[0] is not None
    assert not places[0].parent.exists()
    assert not (done.directory / "tree").exists()
    kept = run(["true"], directory=tmp_path / "two", trace_size=1 << 20, keep_tree=True)
    assert (kept.directory / "tree/sys/bus/pci/devices").is_dir()
    monkeypatch.setattr(scratch, "MEMORY", tmp_path / "none")
    monkeypatch.setattr(scratch, "is_memory", lambda _: False)
    disk = run(["true"], directory=tmp_path / "three", trace_size=1 << 20)
    assert any("has no room for it" in finding for finding in disk.findings)
    assert not list(disk.directory.glob("tree*"))
