"""Programs that cannot be run under preloaded libraries are refused before the start, each with its reason."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from support.compile import compile_program

from vgpu_harness.errors import ProgramError
from vgpu_harness.run.program import check_program

PROGRAM = "int main(void) { return 0; }"
BARE = "void _start(void) { for (;;) { } }"
PATH = {"PATH": "/usr/bin:/bin"}


def check(name: str | Path, cwd: Path = Path("/")) -> Path:
    """The program that would be started."""
    return check_program(str(name), PATH, cwd).path


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder with a good program `fine` in it."""
    shutil.copy(compile_program(PROGRAM, "fine"), tmp_path / "fine")
    return tmp_path


def script(path: Path, first_line: str) -> Path:
    """An executable script."""
    path.write_text(f"{first_line}\nexit 0\n")
    path.chmod(0o755)
    return path


def test_a_dynamic_program_is_taken(here: Path) -> None:
    """By path, by a path relative to where it is started, by name in PATH, and through a link."""
    (here / "link").symlink_to("fine")
    assert check(here / "fine") == here / "fine"
    assert check("./fine", here) == here / "fine"
    assert check("true").name == "true"
    assert check_program("./link", PATH, here).binary == (here / "fine").resolve()
    with pytest.raises(ProgramError, match="no such program in PATH"):
        check("fine", here)


@pytest.mark.parametrize("name", ["no-such-program-anywhere", ""])
def test_an_unknown_name_is_refused(name: str) -> None:
    """The name is quoted."""
    with pytest.raises(ProgramError, match=f"'{name}': no such program in PATH; check the spelling or give its path"):
        check(name)


def test_missing_folders_and_files_without_permission_are_refused(here: Path) -> None:
    """Not there, a folder, not executable: three reasons."""
    (here / "data").write_bytes((here / "fine").read_bytes())
    for name, problem in (
        ("nothing", "cannot be found: No such file or directory"),
        ("", "is a directory; give the program in it"),
        ("data", "is not executable; chmod"),
        ("fine/x", "cannot be found: Not a directory"),
    ):
        with pytest.raises(ProgramError, match=problem):
            check(here / name if name else here)


@pytest.mark.parametrize("flags", [("-static",), ("-static-pie",)])
def test_a_static_program_is_refused(flags: tuple[str, ...]) -> None:
    """Nothing can be preloaded where no dynamic linker runs."""
    with pytest.raises(ProgramError, match=r"is a static program: no dynamic linker runs.*link it dynamically"):
        check(compile_program(PROGRAM, "static", *flags))


def test_a_32_bit_program_is_refused() -> None:
    """The shims are 64-bit libraries; ld.so of the other class would ignore them with one line and exit status 0."""
    program = compile_program(
        BARE, "narrow", "-m32", "-nostdlib", "-static", "-fno-pic", "-no-pie", "-fno-stack-protector"
    )
    with pytest.raises(ProgramError, match="is a 32-bit program for 386; the shims are 64-bit x86-64 libraries"):
        check(program)


def test_a_program_for_another_machine_is_refused(here: Path) -> None:
    """Even if the kernel could run it by an emulator, our libraries are not for that one."""
    with (here / "fine").open("r+b") as file:
        file.seek(18)
        file.write((183).to_bytes(2, "little"))
    with pytest.raises(ProgramError, match="is a 64-bit program for AARCH64"):
        check(here / "fine")


def test_a_missing_dynamic_linker_is_named(here: Path) -> None:
    """Execve would answer "No such file" for a program that is there."""
    program = compile_program(PROGRAM, "lost", "-Wl,--dynamic-linker=/nowhere/ld.so")
    with pytest.raises(ProgramError, match=r"asks for the dynamic linker /nowhere/ld\.so, which is not there"):
        check(program)
    assert subprocess.run(["test", "-x", program], check=False).returncode == 0


def test_the_interpreter_of_a_script_is_checked(here: Path) -> None:
    """A script is what its interpreter is: taken, missing, static; a script of a script too."""
    static = compile_program(PROGRAM, "static", "-static")
    assert check(script(here / "good", "#! /bin/sh -e")) == here / "good"
    assert check_program(str(here / "good"), PATH, here).binary == Path("/bin/sh").resolve()
    assert check(script(here / "second", f"#!{here}/good"))
    for line, problem in (
        (f"#!{here}/nothing", "the interpreter of .*bad cannot be found"),
        (f"#!{static}", "is a static program"),
        (f"#!{here}/bad", "scripts call each other"),
        ("exit 3", "is neither an ELF program nor a script"),
        ("", "is neither an ELF program nor a script"),
    ):
        with pytest.raises(ProgramError, match=problem):
            check(script(here / "bad", line))


def test_a_set_user_id_program_is_warned_about(here: Path) -> None:
    """It may run, but ld.so takes the shims out of it; without the bit there is nothing to say."""
    assert check_program(str(here / "fine"), PATH, here).findings == ()
    Path(here / "fine").chmod(0o4755)
    (finding,) = check_program(str(here / "fine"), PATH, here).findings
    assert "set-user-ID" in finding
    assert "run a copy without that bit" in finding


def test_a_damaged_program_is_refused(here: Path) -> None:
    """An ELF header and nothing behind it is a ProgramError, as every program that cannot be run."""
    os.truncate(here / "fine", 70)
    with pytest.raises(ProgramError, match="is not a sound ELF file"):
        check(here / "fine")
