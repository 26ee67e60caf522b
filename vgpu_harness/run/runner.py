"""Running one program on the simulated host."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

from vgpu_harness.errors import HostError, RunError, ShimError
from vgpu_harness.host import Host, is_image
from vgpu_harness.run.child import Child, Observe, RefusedError
from vgpu_harness.run.delivery import Delivered, deliver
from vgpu_harness.run.environment import build_environment, kept
from vgpu_harness.run.program import Program, check_program
from vgpu_harness.run.provider import Provider, ProviderName
from vgpu_harness.run.provider import provider as find_provider
from vgpu_harness.run.result import SUMMARY_FILE, Run, read_stream
from vgpu_harness.run.scratch import scratch
from vgpu_harness.run.strict import wants_strict, why_not_strict
from vgpu_harness.run.verify import find_out
from vgpu_harness.run.witness import ObserveFiles, Watch
from vgpu_harness.shims.build import check_fresh
from vgpu_harness.shims.paths import shim_path
from vgpu_harness.trace import DEFAULT_SIZE, create_trace, release_unused

_SHOWN = 3
"""So many paths that went past the shims are named in an error; the files of the run have all."""


class NotMappedError(RunError):
    """The program ran, and none of the preloaded shims was ever mapped into one of its processes."""


class NotStrictError(RunError):
    """On a strict host, a program called a function that the shims have no model of."""


def load_host(host: Host | str | os.PathLike[str] | None) -> Host | Path:
    """What is meant by a host: the default one, a value, a host file, or the path of a host image.

    Raises:
        HostError: the file cannot be read or is wrong.
    """
    if host is None:
        return Host()
    if isinstance(host, Host):
        return host
    path = Path(host)
    try:
        return path.absolute() if is_image(path) else Host.load(path)
    except OSError as error:
        raise HostError(f"{path}: cannot be read: {error.strerror}; give a host file or a host image") from error


def _admitted(host: Host, program: Program) -> Host:
    """The host with the program let through its gate, unless the host's own list is what keeps it out."""
    name = program.binary.name
    if "deny" in host.gate.model_fields_set or name in host.gate.allow or "*" in name:
        return host
    gate = host.gate.model_copy(update={"allow": (*host.gate.allow, name)})
    return host.model_copy(update={"gate": gate})


def prepare_directory(directory: str | os.PathLike[str] | None) -> tuple[Path, frozenset[str] | None]:
    """The run's own directory, readable by its user only; a new temporary one for None.

    Returns:
        The directory, and the names that were in it before; None if it was made here.

    Raises:
        RunError: it cannot be made, or has a run already.
    """
    before: frozenset[str] | None = None
    try:
        if directory is None:
            path = Path(tempfile.mkdtemp(prefix="vgpu-run-"))
        else:
            path = Path(directory).absolute()
            if path.is_dir():
                before = frozenset(os.listdir(path))  # noqa: PTH208 - names are wanted
                taken = before & {SUMMARY_FILE, "tree", "host.image"}
                if taken:
                    raise RunError(f"{path}: has the {min(taken)} of a run already; give a new directory")
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.chmod(0o700)
        for name in ("home", "tmp"):
            (path / name).mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise RunError(f"{error.filename}: cannot be made: {error.strerror}; give another directory") from error
    return path, before


def _remove_new(path: Path, before: frozenset[str] | None) -> None:
    """Takes a run's directory back to what it was before `prepare_directory`."""
    if before is None:
        shutil.rmtree(path, ignore_errors=True)
        return
    for entry in path.iterdir():
        if entry.name not in before:
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink()


def _start_in(cwd: str | os.PathLike[str] | None) -> Path:
    """The directory to start in, absolute.

    Raises:
        RunError: this process's own has been removed.
    """
    try:
        return Path(cwd).absolute() if cwd is not None else Path.cwd()
    except OSError as error:
        raise RunError(f"the current directory: {error.strerror}; change to one that is there") from error


def _check_proc() -> None:
    """Processes are seen and ended by what /proc says of them.

    Raises:
        RunError: it is not there, or is that of other process numbers than this process's (a new PID namespace).
    """
    try:
        number = Path("/proc/self").readlink().name
    except OSError:
        number = ""
    if number != str(os.getpid()):
        raise RunError(
            "/proc: does not show this process; mount it (mount -t proc proc /proc), also in a new PID namespace"
        )


def _words(argv: Sequence[str | os.PathLike[str]], timeout: float, observe: str, observe_files: str) -> list[str]:
    """The command line; the arguments are checked that need no look at anything else."""
    words = [os.fspath(word) for word in argv]
    if not words:
        raise RunError("no program: the command line is empty; give a program")
    if not timeout > 0:
        raise RunError(f"timeout {timeout}: is not above 0; give seconds")
    if observe not in {"auto", "ptrace", "sampled"}:
        raise RunError(f"observe {observe!r}: is none of 'auto', 'ptrace', 'sampled'; give one of them")
    if observe_files not in get_args(ObserveFiles):
        names = ", ".join(map(repr, get_args(ObserveFiles)))
        raise RunError(f"observe_files {observe_files!r}: is none of {names}; give one of them")
    return words


def run(
    argv: Sequence[str | os.PathLike[str]],
    host: Host | str | os.PathLike[str] | None = None,
    *,
    directory: str | os.PathLike[str] | None = None,
    timeout: float = 60.0,
    env: Mapping[str, str] | None = None,
    audit: bool = True,
    trace: str | os.PathLike[str] | None = None,
    trace_size: int = DEFAULT_SIZE,
    admit: bool = True,
    input: str | bytes | None = None,  # noqa: A002 - named as in subprocess.run
    library_path: Sequence[str | os.PathLike[str]] = (),
    cwd: str | os.PathLike[str] | None = None,
    check_mapped: bool = True,
    check_strict: bool = True,
    pass_streams: bool = False,
    observe: Observe = "auto",
    observe_files: ObserveFiles = "auto",
    provider: ProviderName = "preload",
    keep_tree: bool = False,
) -> Run:
    """Runs a program on the simulated host and waits until it and all it started are gone.

    Args:
        argv: the program, by path or by a name in PATH, and its arguments.
        host: the simulated host: a value, a host file, a host image; None is the default host.
        directory: where the run's files go; a new temporary directory for None. It is kept.
        timeout: seconds after which the run is ended; math.inf for none.
        env: variables on top of the built environment; nothing else but PATH, LANG, LC_*, TERM, TZ is inherited.
        audit: have the auditor record what is mapped.
        trace: the trace file; `trace` in the run's directory for None.
        trace_size: its size in bytes.
        admit: let the program through the host's gate even if its name is on the default deny list.
        input: what it reads from its standard input; nothing for None.
        library_path: directories for LD_LIBRARY_PATH, before those of the host.
        cwd: directory to start in; this process's own for None.
        check_mapped: raise if none of the shims was ever mapped.
        check_strict: raise if the host is strict, and a function without a model was called.
        pass_streams: the program has this process's standard streams; nothing is captured.
        observe: how its processes are seen: "ptrace" is all of them, "sampled" is by looking at /proc, "auto" the first
            where it is allowed. See docs/processes.md.
        observe_files: who looks for programs that go past the preloaded file shim: "watch" is on the machine's own
            files, by fanotify(7) where that is allowed, or by inotify(7), "notification" is by its system calls, "auto"
            that for a static or Go program, which is run to be told of, and a watch for others.
        provider: how it is shown the host's files; see docs/providers.md.
        keep_tree: the tree lies in the run's directory, and stays; otherwise in memory, as long as the run lasts.

    Raises:
        HostError, ImageError, ProgramError, ShimError, TraceError, RunError: a problem that was found before the start.
        RefusedError: `observe` is "ptrace", and the kernel refuses that.
        NotStartedError: the kernel refused to execute the program.
        NotMappedError: see `check_mapped`; also of a static program, where the provider is preload.
        NotStrictError: see `check_strict`.
    """
    words = _words(argv, timeout, observe, observe_files)
    shown_by = find_provider(provider)
    check_fresh()
    _check_proc()
    start_in = _start_in(cwd)
    described = load_host(host)
    # The program is checked with the PATH it will have; the lists of libraries do not matter for that.
    told_of = shown_by.shows_static or observe_files in {"auto", "notification"}
    program = check_program(words[0], build_environment(Path("/"), extra=env), start_in, static=told_of)
    _check_links(described, provider, shown_by)
    if admit and isinstance(described, Host):
        described = _admitted(described, program)
    auditors = [str(shim_path("audit"))] if audit else []
    path, before = prepare_directory(directory)
    with contextlib.ExitStack() as stack:
        try:
            trace_path = create_trace(trace if trace is not None else path / "trace", trace_size)
            tree, note = _place_of_tree(described, path, stack, keep=keep_tree)
            delivered = deliver(described, path, tree=tree, withheld=shown_by.withheld)
            environment = build_environment(
                path,
                host_image=delivered.image,
                trace=trace_path,
                preload=delivered.preload,
                audit=auditors,
                library_path=[*(os.fspath(entry) for entry in library_path), *delivered.library_path],
                extra=env,
            )
            around = shown_by.enclose(delivered)
            # What the other providers show, nobody goes past.
            witness: ObserveFiles = "none" if shown_by.shows_static else observe_files
            rows = delivered.tree.rows if delivered.tree is not None else None
            watch = stack.enter_context(Watch(delivered.image, witness, rows, program))
            enclosure = stack.enter_context(around) if around is not None else watch.enclosure
        except BaseException:
            _remove_new(path, before)
            raise
        child = Child(
            words, program, environment, directory=path, trace=trace_path, cwd=start_in, observe=observe,
            enclosure=enclosure,
        )  # fmt: skip
        try:
            child.run(timeout, input=input, pass_streams=pass_streams)
        except (RefusedError, ShimError):
            _remove_new(path, before)
            raise
    release_unused(trace_path)
    result = _result(child, delivered, environment, audit, provider=provider, shows_static=shown_by.shows_static)
    result = replace(
        result,
        bypassed=watch.found(result.processes, result.trace.records),
        witness=watch.witness,
        blind=None if shown_by.shows_static else watch.blind,
    )
    notes = [words for words in (note, None if shown_by.shows_static else watch.finding) if words is not None]
    notes += enclosure.findings() if enclosure is not None else ()
    result = replace(result, findings=(*result.findings, *notes))
    if wants_strict(described):
        result = replace(result, not_strict=why_not_strict(result.trace))
    result.write()
    if check_mapped and result.unmapped is not None:
        past = "".join(f"; {seen}" for seen in result.bypassed[:_SHOWN] if seen.is_of_run)
        raise NotMappedError(f"{program.path}: {result.unmapped}{past}; the files of the run are in {path}")
    if check_strict and result.not_strict is not None:
        raise NotStrictError(f"{program.path}: {result.not_strict}; the files of the run are in {path}")
    return result


def _check_links(host: Host | Path, name: str, shown_by: Provider) -> None:
    """Links in the system's own directories need a provider that can put them there without a change to the system."""
    if isinstance(host, Host) and host.delivery.system_links and not shown_by.system_links:
        raise RunError(
            f"delivery.system_links: the provider {name} would have to change {host.delivery.system_links[0]} itself; "
            "use the provider namespace, or leave them out"
        )


def _place_of_tree(
    host: Host | Path, directory: Path, stack: contextlib.ExitStack, *, keep: bool
) -> tuple[Path | None, str | None]:
    """Where the tree of a run goes, and what its user should hear of that."""
    if keep or not isinstance(host, Host):
        return None, None
    place, in_memory = stack.enter_context(scratch(directory))
    note = f"{place.parent}: the tree lay there, as /dev/shm has no room for it; files are opened more slowly"
    return place / "tree", None if in_memory else note


def _result(
    child: Child,
    delivered: Delivered,
    environment: dict[str, str],
    audit: bool,
    *,
    provider: str,
    shows_static: bool,
) -> Run:
    path = child.directory
    run_ = Run(
        argv=child.words,
        returncode=child.returncode,
        stdout=read_stream(path / "stdout"),
        stderr=read_stream(path / "stderr"),
        duration=child.duration,
        directory=path,
        trace_path=child.trace,
        timed_out=child.timed_out,
        pid=child.pid,
        preload=delivered.preload,
        links={str(at): str(library) for at, library in delivered.links.items()},
        environment=kept(environment),
        processes=child.processes,
        observed=child.observed,
        reaped=child.reaped,
        audit=audit,
        provider=provider,
    )
    return find_out(run_, child.program, shows_static=shows_static)
