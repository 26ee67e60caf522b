"""Preflight: are these libraries safe in the /etc/ld.so.preload of a machine like this one?"""

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vgpu_harness.errors import RunError, ShimError
from vgpu_harness.host import Host
from vgpu_harness.preflight import judge
from vgpu_harness.preflight.boot import SYSTEMD, boot
from vgpu_harness.preflight.conditions import AS_DEPLOYED, Condition, conditions, under
from vgpu_harness.preflight.enclosure import followed, visible
from vgpu_harness.preflight.programs import FIRST, PROGRAMS, Program
from vgpu_harness.preflight.report import Report, Step
from vgpu_harness.preflight.stage import HANGS
from vgpu_harness.preflight.trial import PRELOAD_FILE, SYSTEM_PATH, Boot, Outcome, Setting, try_programs

PathLike = str | os.PathLike[str]

BOOT = "systemd"
READABLE = "readable"
STEPS = (READABLE, BOOT, *(program.name for program in PROGRAMS))
"""Names of all steps."""

_BOOT_TIMES = 3
"""A start of systemd may take so many times as long as a program."""


def checked(libraries: Iterable[PathLike]) -> list[str]:
    """The absolute paths of libraries.

    Raises:
        ShimError: one is not a file.
        RunError: there is none, or a path cannot stand in /etc/ld.so.preload.
    """
    paths = [os.path.abspath(path) for path in libraries]  # noqa: PTH100 - no link is followed
    if not paths:
        raise RunError("no library was named; name those that are to go into /etc/ld.so.preload")
    for path in paths:
        if any(character.isspace() or character in ":#" for character in path):
            raise RunError(
                f"{path!r}: ld.so splits {PRELOAD_FILE} at white space and colons, and ends a line at '#'; "
                "use a path without them"
            )
        if "$" in path:
            raise RunError(f"{path!r}: ld.so takes $ for the start of $LIB, $ORIGIN or $PLATFORM; name the file itself")
        if not os.path.isfile(path):  # noqa: PTH113 - Path's raises where folders cannot be searched
            raise ShimError(f"{path}: is not a file; name a shared library")
    return paths


@dataclass
class _Checker:
    """The state of one preflight."""

    libraries: list[str]
    programs: list[Program]
    with_boot: bool
    timeout: float
    setting: Setting

    def __post_init__(self) -> None:
        self.steps: list[Step] = []
        self.blamed: dict[str, tuple[str, ...]] = {}
        self.root = os.geteuid() == 0
        self.plain: list[dict[str, Outcome]] = []
        self.plain_boot: Boot | None = None
        self.no_boot: str | None = None
        self.given_up: str | None = None

    def run(self, found: list[Condition]) -> None:
        """Everything: without the libraries, and under each condition."""
        usable = self._without()
        for condition in found:
            if self.given_up is not None:
                self.steps.append(Step("all", condition.name, "not run", self.given_up))
                continue
            self._under(condition, usable)

    def _without(self) -> list[Program]:
        """Tries everything without the libraries; answers the programs by which something can be said."""
        path = self.setting.environment.get("PATH", SYSTEM_PATH)
        here: list[Program] = []
        for program in self.programs:
            absent = program.absent(path)
            if program.root and not self.root:
                self._not_run(program.name, "it needs root", vital=program.vital)
            elif absent is not None:
                self._not_run(program.name, f"{absent} is not installed", vital=program.vital)
            else:
                here.append(program)
        self.plain = [try_programs(self.setting, here, self.timeout) for _ in range(2)]
        usable = []
        for program in here:
            outcome = self.plain[0].get(program.name, Outcome(f"{FIRST} fails, or {HANGS} programs hang"))
            reason = judge.unusable(program, outcome)
            if reason is None and program.name in self.plain[1]:
                usable.append(program)
            else:
                self._not_run(program.name, reason or "it does not start each time", vital=program.vital)
        if self.with_boot:
            self._boot_without()
        return usable

    def _boot_without(self) -> None:
        if not self.root:
            self.no_boot = "it needs root"
        elif not Path(SYSTEMD).is_file():
            self.no_boot = "systemd is not installed"
        else:
            self.plain_boot = boot(self.setting, self.timeout * _BOOT_TIMES)
            self.no_boot = judge.boot_unusable(self.plain_boot)
        if self.no_boot is not None:
            self._not_run(BOOT, self.no_boot)

    def _not_run(self, name: str, reason: str, condition: str = AS_DEPLOYED, *, vital: bool = True) -> None:
        self.steps.append(Step(name, condition, "not run", reason, vital=vital))

    def _under(self, condition: Condition, usable: list[Program]) -> None:
        setting = under(self.setting, condition)
        tried = try_programs(setting.with_libraries(self.libraries), usable, self.timeout)
        untried = [program for program in usable if program.name not in tried]
        if untried:
            what = "no program starts" if len(tried) == 1 else f"{HANGS} programs hang"
            self.given_up = f"{what} with the libraries ({condition.name})"
            for program in untried:
                self._not_run(program.name, self.given_up, condition.name)
        troubled, changed = self._troubled([each for each in usable if each.name in tried], tried), []
        if troubled:
            changed = self._unsteady([each for each, _ in troubled.values() if each.check != "changes"])
        if changed:
            again = try_programs(setting.with_libraries(self.libraries), changed, self.timeout)
            tried |= again
            troubled = {name: both for name, both in troubled.items() if name not in again}
            troubled |= self._troubled([program for program in changed if program.name in again], again)
        self._blame(troubled, setting)
        for program in (each for each in usable if each.name in tried):
            if program.name in troubled:
                self._failed(program.name, condition.name, troubled[program.name][1])
            else:
                reason = judge.remark(program, [each[program.name] for each in self.plain], tried[program.name])
                step = Step(program.name, condition.name, "passed", reason, vital=program.vital)
                self.steps.append(replace(step, noticed=bool(reason) and program.check == "changes"))
        if self.with_boot and self.no_boot is None and self.plain_boot is not None:
            self._boot_under(condition, setting)

    def _troubled(self, programs: list[Program], tried: dict[str, Outcome]) -> dict[str, tuple[Program, judge.Trouble]]:
        found = {program.name: (program, self._trouble(program, tried[program.name])) for program in programs}
        return {name: (program, trouble) for name, (program, trouble) in found.items() if trouble is not None}

    def _unsteady(self, programs: list[Program]) -> list[Program]:
        """Which programs have come to do something else without the libraries, too: a machine does not stand still.

        What they do now is what they are compared to from now on.
        """
        now = try_programs(self.setting, programs, self.timeout) if programs else {}
        changed = [
            each
            for each in programs
            if each.name in now
            and judge.unusable(each, now[each.name]) is None
            and self._trouble(each, now[each.name], []) is not None
        ]
        if changed:
            self.plain = [{**plain, **try_programs(self.setting, changed, self.timeout)} for plain in self.plain]
        return changed

    def _trouble(self, program: Program, outcome: Outcome, libraries: list[str] | None = None) -> judge.Trouble | None:
        plain = [outcomes[program.name] for outcomes in self.plain]
        return judge.trouble(program, plain, outcome, self.libraries if libraries is None else libraries)

    def _boot_under(self, condition: Condition, setting: Setting) -> None:
        if self.plain_boot is None:
            return
        tried = boot(setting.with_libraries(self.libraries), self.timeout * _BOOT_TIMES)
        found = judge.boot_trouble(self.plain_boot, tried, self.libraries)
        if found is None:
            self.steps.append(Step(BOOT, condition.name, "passed", f"basic.target after {tried.seconds:.1f} s"))
            return
        if BOOT not in self.blamed:
            self.blamed[BOOT] = self._blame_boot(setting)
        self._failed(BOOT, condition.name, found)

    def _blame_boot(self, setting: Setting) -> tuple[str, ...]:
        """Which libraries keep systemd from its target, each alone; those that harm programs, if that is known."""
        known = {path for paths in self.blamed.values() for path in paths}
        if known or len(self.libraries) == 1:
            return tuple(path for path in self.libraries if path in known) or tuple(self.libraries)
        alone = [
            path
            for path in self.libraries
            if self.plain_boot is not None
            and judge.boot_trouble(
                self.plain_boot, boot(setting.with_libraries([path]), self.timeout * _BOOT_TIMES), [path]
            )
        ]
        return tuple(alone or self.libraries)

    def _blame(self, troubled: dict[str, tuple[Program, judge.Trouble]], setting: Setting) -> None:
        """Finds out which library does it, by trying each alone; all of them, where none does it alone."""
        new = {name: both for name, both in troubled.items() if name not in self.blamed}
        for name in [name for name, (_, found) in new.items() if found.libraries]:
            self.blamed[name] = new.pop(name)[1].libraries
        if not new:
            return
        culprits: dict[str, list[str]] = {name: [] for name in new}
        for path in self.libraries if len(self.libraries) > 1 else ():
            alone = try_programs(setting.with_libraries([path]), [program for program, _ in new.values()], self.timeout)
            for name, outcome in alone.items():
                if self._trouble(new[name][0], outcome, [path]):
                    culprits[name].append(path)
        for name, paths in culprits.items():
            self.blamed[name] = tuple(paths or self.libraries)

    def _failed(self, name: str, condition: str, found: judge.Trouble) -> None:
        libraries = self.blamed[name]
        self.steps.append(Step(name, condition, "failed", found.what, found.evidence, libraries, found.remedy))


def _readable(libraries: Sequence[str]) -> Step:
    """Whether every user can load the libraries: a program of one who cannot says so on stderr at each start."""
    closed: dict[str, str] = {}
    for path in libraries:
        places = [Path(place) for place in followed(path)]
        for place in (*places, *(folder for each in places for folder in each.parents)):
            wanted = stat.S_IXOTH if place.is_dir() else stat.S_IROTH
            if not place.stat().st_mode & wanted:
                closed[path] = f"{place}: mode {stat.S_IMODE(place.stat().st_mode):o}"
    if not closed:
        return Step(READABLE, AS_DEPLOYED, "passed")
    return Step(
        READABLE, AS_DEPLOYED, "failed", "not every user may read the library, so each program of theirs complains",
        tuple(closed.values()), tuple(closed), "put it where all may read it, as in /usr/lib64, mode 644 or 755",
    )  # fmt: skip


def preflight(
    libraries: Iterable[PathLike],
    *,
    without: Iterable[str] = (),
    host: Host | None = None,
    timeout: float = 10.0,
    setting: Setting | None = None,
    programs: Sequence[Program] = PROGRAMS,
) -> Report:
    """Tries libraries in the /etc/ld.so.preload of an enclosure; the machine itself is not touched.

    Args:
        libraries: paths, in the order of the file.
        without: names of steps to leave out; the answer says so.
        host: what the host image describes, where a library looks for one; the default host for None.
        timeout: seconds that each program may take; systemd three times as many.
        setting: what the enclosure has beside.
        programs: which to try.

    Raises:
        ShimError: a library is not a file.
        RunError: no enclosure can be made, or a name or a path is wrong.
    """
    paths = checked(libraries)
    unwanted = tuple(without)
    unknown = [name for name in unwanted if name not in STEPS]
    if unknown:
        raise RunError(f"there is no step {unknown[0]!r}; the steps are: {', '.join(STEPS)}")
    with contextlib.ExitStack() as stack:
        try:
            name = stack.enter_context(tempfile.TemporaryDirectory(prefix="vgpu-preflight-"))
            place = Path(name)
            place.chmod(0o755)
            found = conditions(paths, place, host or Host())
        except OSError as error:
            raise RunError(
                f"{error.filename or tempfile.gettempdir()}: no place for images and traces: {error.strerror}; "
                "make room there, or let TMPDIR name another folder"
            ) from error
        base = setting or Setting()
        base = replace(base, keep=(*base.keep, name, *visible(paths)))
        chosen = [program for program in programs if program.name not in unwanted]
        checker = _Checker(paths, chosen, BOOT not in unwanted, timeout, base)
        if READABLE not in unwanted:
            checker.steps.append(_readable(paths))
        checker.run(found)
    return Report(tuple(paths), tuple(checker.steps), unwanted)
