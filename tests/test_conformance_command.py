"""`vgpu-harness conform`: what it prints, and its exit status."""

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support.compile import compile_library

from vgpu_harness.cli import vgpu_harness
from vgpu_harness.conformance import sandbox
from vgpu_harness.conformance.rule import all_rules
from vgpu_harness.shims import shim_path

# A libcuda of a machine without a GPU, which says a wrong text, and has nothing else.
LIBRARY = """
int cuInit(unsigned flags);
int cuInit(unsigned flags) { return flags == 0 ? 100 : 1; }
int cuDriverGetVersion(int *version);
int cuDriverGetVersion(int *version) { if (version == 0) return 1; *version = VERSION; return 0; }
int cuGetErrorString(int code, const char **text);
int cuGetErrorString(int code, const char **text) { *text = code == 0 ? "fine" : "bad"; return 0; }
"""


def call(*words: object) -> Result:
    """Runs the command."""
    return CliRunner().invoke(vgpu_harness, ["conform", *map(str, words)])


def library(version: int = 12020) -> Path:
    """The library above."""
    return compile_library(LIBRARY, "libcuda.so.1", f"-DVERSION={version}")


def can_sandbox() -> bool:
    """Does the kernel let this user make the sandbox?"""
    return subprocess.run(sandbox.command(["/bin/true"]), capture_output=True, check=False, timeout=30).returncode == 0


def test_our_shims_pass() -> None:
    """Exit status 0; passed rules are counted, and listed with --all."""
    listed = call("--rule", "cuda_errors.*", "--all")
    assert listed.exit_code == 0
    assert listed.output.splitlines() == [
        *(f"passed   {name}" for name in all_rules() if name.startswith("cuda_errors.")),
        "4 passed",
    ]


def test_json_has_an_object_for_each_rule() -> None:
    """With the rule, where it comes from, the verdict and the calls."""
    done = call("--rule", "the_version_needs_no_init", "--rule", "*.the_version_needs_no_init", "--json")
    (found,) = json.loads(done.stdout)
    assert done.exit_code == 0
    assert set(found) == {
        "schema", "rule", "api", "functions", "says", "source", "gpu", "verdict", "message", "calls", "seconds"
    }  # fmt: skip
    assert (found["schema"], found["rule"], found["verdict"]) == (1, "cuda_init.the_version_needs_no_init", "passed")
    assert found["calls"][0] == {
        "function": "cuDriverGetVersion", "arguments": ["NULL"], "answer": 1, "outputs": []
    }  # fmt: skip


def test_the_list_tries_nothing() -> None:
    """--list says of each rule what it is and where it comes from; as JSON too."""
    text = call("--list", "--rule", "cuda_errors.texts_of_codes")
    assert (text.exit_code, text.output.splitlines()) == (0, [
        "cuda_errors.texts_of_codes",
        "  cuGetErrorString answers NVIDIA's words, before any initialisation.",
        "  functions: cuGetErrorString  (needs no GPU)",
        "  source:    read from 535.261.03 by cuGetErrorName and cuGetErrorString",
    ])  # fmt: skip
    found = json.loads(call("--list", "--json").stdout)
    assert [entry["rule"] for entry in found] == list(all_rules())
    assert all(entry["schema"] == 1 and "verdict" not in entry for entry in found)


def test_a_foreign_library_runs_in_the_sandbox() -> None:
    """A broken rule is 1, with its source and calls; where no sandbox can be made, that is 2 and says what to do."""
    done = call("--cuda", library(), "--rule", "cuda_errors.texts_of_codes")
    if not can_sandbox():
        assert done.exit_code == 2
        assert "--no-sandbox" in done.stderr
        done = call("--cuda", library(), "--rule", "cuda_errors.texts_of_codes", "--no-sandbox")
    assert done.exit_code == 1
    assert done.stdout.splitlines() == [
        "failed   cuda_errors.texts_of_codes",
        "         rule:   cuGetErrorString answers NVIDIA's words, before any initialisation.",
        "         source: read from 535.261.03 by cuGetErrorName and cuGetErrorString",
        "         found:  the text of 0 is 'fine', not 'no error'",
        "           cuGetErrorString(0, &char *) = 0 [" + done.stdout.partition("= 0 [")[2].partition("]")[0] + "]",
        "1 failed",
    ]


def test_a_library_behind_a_closed_folder(tmp_path: Path) -> None:
    """What only this user can reach is still found by the user of the sandbox."""
    closed = tmp_path / "closed"
    (closed / "lib").mkdir(parents=True)
    shutil.copy(library(), closed / "lib")
    closed.chmod(0o700)
    done = call("--cuda", closed / "lib" / "libcuda.so.1", "--rule", "cuda_init.the_version_needs_no_init")
    assert (done.exit_code, done.output) == (0, "1 passed\n") if can_sandbox() else done.exit_code == 2


def test_a_library_behind_a_link(tmp_path: Path) -> None:
    """A link that leads to another folder is followed before the sandbox hides where it leads."""
    (tmp_path / "real").mkdir()
    shutil.copy(library(), tmp_path / "real")
    link = tmp_path / "libcuda.so.1"
    link.symlink_to(tmp_path / "real" / "libcuda.so.1")
    done = call("--cuda", link, "--rule", "cuda_init.the_version_needs_no_init")
    assert (done.exit_code, done.output) == (0, "1 passed\n") if can_sandbox() else done.exit_code == 2


@pytest.mark.parametrize("parent", ["/tmp", "/var/tmp"])
def test_in_the_sandbox_a_host_is_shown_wherever_it_is_written(monkeypatch: pytest.MonkeyPatch, parent: str) -> None:
    """A TMPDIR that only this user may search, and a umask that gives others nothing, do not hide the host there."""
    old = os.umask(0o077)
    try:
        with tempfile.TemporaryDirectory(dir=parent) as folder:
            Path(folder).chmod(0o755)
            place = Path(folder, "below")
            place.mkdir()
            monkeypatch.setattr(tempfile, "tempdir", str(place))
            copy = Path(folder, "libcuda.so.1")
            shutil.copy(shim_path("cuda"), copy)
            copy.chmod(0o755)
            (place / "host.toml").touch()
            done = call("--cuda", copy, "--host", place / "host.toml", "--rule", "cuda_init.devices_are_counted")
    finally:
        os.umask(old)
    if can_sandbox():
        assert (done.exit_code, done.output) == (0, "1 passed\n")
    else:
        assert done.exit_code == 2


def test_what_cannot_be_tried_is_said_once() -> None:
    """Rules that need a GPU are "not run" and rules of what is not exported "missing", each reason on one line."""
    words = (
        "--no-sandbox",
        "--cuda",
        library(),
        "--rule",
        "*cuDriverGetVersion",
        "--rule",
        "cuda_errors.names_of_codes",
    )
    done = call(*words, "--rule", "cuda_init.init_again")
    assert done.exit_code == 1
    assert done.stdout.splitlines() == [
        "missing  1 rules: does not export cuGetErrorName",
        "not run  2 rules: no GPU (cuInit answers 100)",
        "1 passed, 1 missing, 2 not run",
    ]
    assert call(*words, "--allow-missing").exit_code == 0


def test_controls() -> None:
    """--controls has, as JSON, an object for each lie; a library that is not ours cannot be made to lie."""
    done = call("--controls", "--rule", "nvml_errors.*", "--json")
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert [(entry["lie"], entry["outcome"]) for entry in found] == [
        ("silence", "noticed"), ("success", "noticed"), ("value", "no effect")
    ]  # fmt: skip
    refused = call("--controls", "--no-sandbox", "--cuda", library(), "--rule", "cuda_init.the_version_needs_no_init")
    assert refused.exit_code == 2
    assert "controls need our own shims" in refused.stderr


def test_rules_of_ones_own(tmp_path: Path) -> None:
    """A file of rules is tried along with those of this package, and its lax rule is found by --controls."""
    file = tmp_path / "mine.py"
    file.write_text(
        "from vgpu_harness.conformance.rule import Cuda, rule\n"
        '@rule("cuInit", source="none", gpu=True)\n'
        "def of_mine(cuda: Cuda) -> None:\n"
        '    """It initialises."""\n'
        "    cuda.init()\n"
    )
    assert call("--rules", file, "--rule", "mine.*").output == "1 passed\n"
    lax = call("--rules", file, "--rule", "mine.*", "--controls")
    assert lax.exit_code == 1
    assert lax.output.splitlines() == [
        "not noticed  cuInit: silence; mine.of_mine",
        "not noticed  cuInit: success; mine.of_mine",
        "1 functions lied: 2 not noticed, 1 no effect",
    ]
    from vgpu_harness.conformance import rule

    rule._rules.pop("mine.of_mine")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--rule", "nothing-*"), "no rule is named nothing-*; see --list"),
        (("--cuda", "/no/such/lib"), "/no/such/lib: is not a file"),
        (("--host", "/no/such/host"), "/no/such/host: no such host file"),
        (("--rules", "/no/such/rules.py"), "/no/such/rules.py: its rules cannot be read"),
        (("--against", "/no/such/recording"), "/no/such/recording: cannot be read"),
        (("--record", "/tmp"), "/tmp: cannot be written: it is a directory"),
        (("--record", "r", "--list"), "--record and --against try no rules"),
        (("--timeout", "0"), "0.1"),
    ],
)
def test_wrong_usage_exits_2(words: tuple[str, ...], message: str) -> None:
    """The message names the value and what to do."""
    done = call(*words)
    assert (done.exit_code, message in done.stderr) == (2, True), done.stderr


def test_a_host_file_is_what_the_shims_show(tmp_path: Path) -> None:
    """Exact values are compared with the host of --host; a host whose driver fails has no GPU."""
    file = tmp_path / "host.toml"
    file.write_text('[driver]\nversion = "550.54.14"\n')
    assert call("--host", file, "--rule", "cuda_init.*version*").exit_code == 0
    file.write_text('[[faults]]\nfunction = "cuInit"\nresult = 100\n')
    done = call("--host", file, "--rule", "cuda_init.init_again")
    assert (done.exit_code, "not run  1 rules: no GPU (cuInit answers 100)" in done.stdout) == (1, True)


def test_a_copy_of_a_shim_is_a_foreign_library(tmp_path: Path) -> None:
    """Without a host of ours it has no GPU; with --host it shows that one."""
    copy = tmp_path / "libcuda.so.1"
    shutil.copy(shim_path("cuda"), copy)
    words = ("--no-sandbox", "--cuda", copy, "--rule", "cuda_init.devices_are_counted")
    assert "no GPU (cuInit answers 100)" in call(*words).stdout
    host = tmp_path / "host.toml"
    host.touch()
    assert call(*words, "--host", host).output == "1 passed\n"


NVML = """
int nvmlInit_v2(void);
int nvmlInit_v2(void) { return 9; }
int nvmlSystemGetCudaDriverVersion(int *version);
int nvmlSystemGetCudaDriverVersion(int *version) { return version == 0 ? WRONG : 1; }
"""


def test_a_recording_and_what_differs_from_it(tmp_path: Path) -> None:
    """--record keeps the answers; --against is 0 for the same library, and 1 for one that answers otherwise."""
    kept = tmp_path / "recording.json"
    nvml = compile_library(NVML, "libnvidia-ml.so.1", "-DWRONG=2")
    done = call("--no-sandbox", "--nvml", nvml, "--record", kept)
    assert done.exit_code == 0, done.output
    same = call("--no-sandbox", "--nvml", nvml, "--against", kept)
    assert (same.exit_code, same.output.splitlines()[0]) == (0, "nvml codes: 8 of 8 agree (100.00 %)")
    other = compile_library(NVML, "libnvidia-ml.so.1", "-DWRONG=3")
    different = call("--no-sandbox", "--nvml", other, "--against", kept, "--json")
    assert different.exit_code == 1
    found = [(entry["function"], entry["recorded"], entry["now"]) for entry in json.loads(different.stdout)]
    assert found == [("nvmlSystemGetCudaDriverVersion", 2, 3)] * 2  # before and after the initialisation
    nothing = call("--no-sandbox", "--cuda", library(), "--against", kept)
    assert (nothing.exit_code, "has recorded nvml, and there is a library for cuda" in nothing.stderr) == (2, True)
    unwritable = call("--nvml", nvml, "--record", tmp_path / "no" / "file")
    assert (unwritable.exit_code, "cannot be written" in unwritable.stderr) == (2, True)
