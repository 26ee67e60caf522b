"""The README is true: its commands, its example of a broken host, its example of tests."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from vgpu_harness.cli import vgpu_harness

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language, in order."""
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_broken_host_stops_where_it_says(tmp_path: Path) -> None:
    """The host file that the README writes stops discovery at S0, with exit status 1, in all three generations."""
    write, discover = next(block for block in blocks("console") if "printf" in block).splitlines()
    subprocess.run(["sh", "-c", write], cwd=tmp_path, check=True)
    words = [*discover.split()[1:], "--trace-size", "1M"]
    command = [sys.executable, "-m", "vgpu_harness", *words]
    done = subprocess.run(
        command, cwd=tmp_path, env={"TMPDIR": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    assert done.stdout.count("STOP S0") == 3


def test_its_tests_pass(pytester: pytest.Pytester) -> None:
    """The example of tests passes as it stands."""
    pytester.makepyfile(blocks("python")[0])
    pytester.runpytest_subprocess("-p", "no:cacheprovider", timeout=120).assert_outcomes(passed=2)


def test_a_false_example_would_fail(pytester: pytest.Pytester) -> None:
    """The same example with another code fails: the test above can fail."""
    pytester.makepyfile(blocks("python")[0].replace("code == 1", "code == 0"))
    pytester.runpytest_subprocess("-p", "no:cacheprovider", timeout=120).assert_outcomes(passed=1, failed=1)


def test_it_names_every_command() -> None:
    """Each command of the program stands in the table, and no other."""
    named = {words.split()[0] for words in re.findall(r"^\| `vgpu-harness ([^`]*)`", README, flags=re.MULTILINE)}
    assert named == set(vgpu_harness.list_commands(None))


def test_its_links_lead_somewhere() -> None:
    """Each file that it links to is there; a copy of the tests without the checkout has docs/ only."""
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if link.startswith("docs/")]
    assert len(links) >= 4
    assert [link for link in links if not (ROOT / link).is_file()] == []
