"""What counts as harm: the end and the streams of a program, compared with how it was without the libraries."""

import pytest

from vgpu_harness.preflight import boot, judge
from vgpu_harness.preflight.programs import Program
from vgpu_harness.preflight.trial import Boot, Outcome

PROGRAM = Program("cat", ("cat",))
DAEMON = Program("cron", ("cron",), alive=1.0)
FINE = Outcome(status=0, stdout="one\ntwo\n", seconds=(0.1,))


@pytest.mark.parametrize(
    ("tried", "kind", "evidence"),
    [
        (Outcome(status=-11, seconds=(0.1,)), "crash", "with: killed by SIGSEGV"),
        (Outcome(status=1, stderr="no\n", seconds=(0.1,)), "status", "stderr: no"),
        (Outcome(timed_out=True, seconds=(5.0,)), "hang", "with: was ended after 5.0 s"),
        (Outcome(crowd=401, seconds=(1.0,)), "crowd", "with: was ended when there were 401 processes"),
        (Outcome(status=0, stdout="one\n", seconds=(0.1,)), "output", "-two"),
        (Outcome(status=0, stdout="one\ntwo\n", stderr="hello\n"), "output", "+hello"),
        (Outcome(status=0, stdout="one\r\ntwo\n"), "output", "only the ends of lines differ"),
    ],
)
def test_each_kind_of_harm_is_told(tried: Outcome, kind: str, evidence: str) -> None:
    """Each difference has its kind, a remedy, and what was seen."""
    found = judge.trouble(PROGRAM, [FINE, FINE], tried, ["/a.so"])
    assert found is not None
    assert (found.kind, found.remedy) == (kind, judge.REMEDIES[kind])
    assert evidence in found.evidence


def test_no_difference_is_no_harm() -> None:
    """The control: the same end and the same streams are none, however long it took."""
    assert judge.trouble(PROGRAM, [FINE, FINE], Outcome(status=0, stdout="one\ntwo\n", seconds=(3.0,)), []) is None


def test_output_counts_only_if_it_is_the_same_each_time() -> None:
    """A program that never writes the same twice is judged by its end, and that is said."""
    other = Outcome(status=0, stdout="three\n")
    tried = Outcome(status=0, stdout="four\n")
    assert judge.trouble(PROGRAM, [FINE, other], tried, []) is None
    assert "only its end was compared" in judge.remark(PROGRAM, [FINE, other], tried)
    assert judge.remark(PROGRAM, [FINE, FINE], FINE) == ""
    assert judge.trouble(PROGRAM, [FINE, other], Outcome(status=1, stdout="four\n"), []) is not None


def test_a_program_that_does_not_work_anyway_says_nothing() -> None:
    """What fails without the libraries is not run, with the reason; what works is."""
    assert judge.unusable(PROGRAM, FINE) is None
    assert "killed by SIGABRT: oh" in str(judge.unusable(PROGRAM, Outcome(status=-6, stderr="well\noh\n")))
    assert "cannot be started" in str(judge.unusable(PROGRAM, Outcome(missing="cat: Permission denied")))
    assert judge.unusable(DAEMON, Outcome(stayed=True, seconds=(1.0,))) is None
    assert judge.unusable(DAEMON, Outcome(status=0, seconds=(0.1,))) is not None


def test_a_daemon_has_to_stay() -> None:
    """A daemon that ends, with whatever status, is harmed."""
    stayed = Outcome(stayed=True, seconds=(1.0,))
    assert judge.trouble(DAEMON, [stayed, stayed], stayed, []) is None
    found = judge.trouble(DAEMON, [stayed, stayed], Outcome(status=0, seconds=(0.2,)), [])
    assert found is not None
    assert found.kind == "status"


def test_the_loader_names_the_library_itself() -> None:
    """ld.so's messages, as glibc 2.36 writes them, name the library and the reason."""
    left_out = (
        "ERROR: ld.so: object '/l/libbad.so' from /etc/ld.so.preload cannot be preloaded "
        "(wrong ELF class: ELFCLASS32): ignored.\n"
    )
    found = judge.trouble(
        PROGRAM, [FINE, FINE], Outcome(status=0, stdout=FINE.stdout, stderr=left_out), ["/l/libbad.so"]
    )
    assert found is not None
    assert (found.kind, found.libraries) == ("absent", ("/l/libbad.so",))
    refused = "cat: error while loading shared libraries: libx.so: cannot open shared object file: No such file\n"
    found = judge.trouble(PROGRAM, [FINE, FINE], Outcome(status=127, stderr=refused), ["/l/libbad.so"])
    assert found is not None
    assert (found.kind, found.what) == ("absent", "the loader refuses to start it")


MAPS = "7f00-7f01 r--p 00000000 fe:00 1                     /l/libgood.so\n7ffc-7ffd rw-p 00000000 00:00 0   [stack]\n"


def test_a_library_has_to_be_in_the_memory_of_process_1() -> None:
    """systemd that reaches its target without the library proves nothing."""
    good = Boot(done=True, report=f"active\n\n{MAPS}", seconds=1.0)
    assert judge.boot_trouble(good, good, ["/l/libgood.so"]) is None
    found = judge.boot_trouble(good, good, ["/l/libgood.so", "/l/libother.so"])
    assert found is not None
    assert found.libraries == ("/l/libother.so",)


def test_a_unit_that_fails_now_is_harm() -> None:
    """Units that fail with the libraries alone count; those that fail here anyway do not."""
    plain = Boot(done=True, report="active\na.mount loaded failed failed A\n\n", seconds=1.0)
    more = Boot(done=True, report="active\na.mount loaded failed failed A\nb.service loaded failed failed B\n\n")
    assert judge.boot_trouble(plain, plain, []) is None
    found = judge.boot_trouble(plain, more, [])
    assert found is not None
    assert found.what == "units fail: b.service"


@pytest.mark.parametrize(
    ("tried", "how"),
    [
        (Boot(ended=True, console="Caught <SEGV>\nfine\n", seconds=0.2), "with: process 1 ended"),
        (Boot(console="Caught <SEGV>, freezing.\n", seconds=30.0), "with: not reached in 30 s"),
        (Boot(done=True, report="inactive\n\n", seconds=2.0), "with: not reached in 2 s"),
    ],
)
def test_a_machine_that_does_not_start_is_harm(tried: Boot, how: str) -> None:
    """Whether process 1 ended, hangs, or went on without its target, it is told with the console's last words."""
    plain = Boot(done=True, report="active\n\n", seconds=1.0)
    found = judge.boot_trouble(plain, tried, [])
    assert found is not None
    assert how in found.evidence
    assert judge.boot_unusable(tried) is not None
    assert judge.boot_unusable(plain) is None


def test_the_last_words_are_those_that_matter() -> None:
    """Of a console, the lines that tell of a failure are shown; its end, where none does."""
    assert boot.last_words("Failed to start\nfine\nfine\nfine\nfine\n") == ["Failed to start"]
    assert boot.last_words("a\nb\n\nc\nd\n") == ["b", "c", "d"]
