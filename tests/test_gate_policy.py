"""The gate's rules as they are written and as pure functions: what each names, and what decides."""

import re
from pathlib import Path
from typing import Any

import pytest

from vgpu_harness._wire import ffi, lib
from vgpu_harness.errors import HostError, ImageError
from vgpu_harness.host import Gate, Host, Tree, check_image, write_image
from vgpu_harness.host.gate import FACTS, Rule
from vgpu_harness.shims.inprocess import Gate as Asked

PROCESS = {
    "exe": "python3.11",
    "path": "/usr/bin/python3.11",
    "comm": "ray::Worker",
    "arguments": "serve\0--port=80\0-c\0",
    "ancestors": "ollama_llama_se\0sshd\0systemd\0",
    "unit": "/system.slice/ollama.service/worker",
}
"""The facts of one process, as they are gathered."""

NAMES_IT = [
    "python3.11", "python*", "*", "/usr/bin/python3.11", "/usr/bin/*", "/*",
    {"program": "python3.11"}, {"path": "/usr/*"}, {"comm": "ray::Worker"}, {"comm": "ray*"}, {"comm": "*"},
    {"argument": "serve"}, {"argument": "--port*"}, {"argument": "-c"}, {"argument": "*"},
    {"ancestor": "sshd"}, {"ancestor": "sys*"}, {"ancestor": "ollama_llama_server"}, {"ancestor": "*"},
    {"unit": "ollama.service"}, {"unit": "system.slice"}, {"unit": "work*"}, {"unit": "*"},
    {"program": "python*", "argument": "serve", "unit": "ollama.service", "ancestor": "sshd"},
]  # fmt: skip
NAMES_ANOTHER = [
    "python3", "ython3.11", "python3.11x", "ollama*", "/usr/bin/python3", "/bin/*", "/usr/bin/python3.11/x",
    {"program": "ray::Worker"}, {"path": "/usr"}, {"comm": "python3.11"}, {"comm": "ray::"}, {"comm": "Worker*"},
    {"argument": "python3.11"}, {"argument": "--port"}, {"argument": "erve"}, {"argument": "serve --port=80"},
    {"ancestor": "python3.11"}, {"ancestor": "ray*"}, {"ancestor": "ollama_llama_s"}, {"ancestor": "d"},
    {"unit": "ollama"}, {"unit": "slice"}, {"unit": "ollama.service.d"},
    {"program": "python*", "argument": "serve", "unit": "nginx.service"}, {"program": "ollama", "argument": "serve"},
]  # fmt: skip


@pytest.fixture
def written(tmp_path: Path) -> Any:
    """Writes the image of a host with this policy; answers its path."""

    def write(**policy: Any) -> Path:
        return write_image(Host(gate=Gate(**policy)), Tree(tmp_path, ()), tmp_path / "host.image")

    return write


def test_a_rule_names_what_it_asks_for(written: Any) -> None:
    """Each rule alone denies the process that has all of its facts, and no other; allowed, it wins over a denial."""
    for rule in NAMES_IT + NAMES_ANOTHER:
        with Asked(written(deny=[rule])) as gate:
            assert gate.is_application_process(**PROCESS) == (rule in NAMES_ANOTHER), rule
        with Asked(written(deny=["*"], allow=[rule])) as gate:
            assert gate.is_application_process(**PROCESS) == (rule in NAMES_IT), rule


def test_a_fact_that_is_not_known_holds_for_no_rule_but_the_star(written: Any) -> None:
    """Without its fact a rule names nobody, and the one that leaves everything open everybody."""
    for key in ("program", "path", "comm", "argument", "ancestor", "unit"):
        text = "/bin/*" if key == "path" else "x*"
        with Asked(written(deny=[{key: text}])) as gate:
            assert gate.is_application_process(exe=""), key
        if key != "path":
            with Asked(written(deny=[{key: "*"}])) as gate:
                assert not gate.is_application_process(exe=""), key


def test_the_reason_is_the_rule_that_decided(written: Any) -> None:
    """The first rule that names the process is quoted, allowed ones before denied ones; without one there is none."""
    policy = {
        "allow": [{"argument": "no", "unit": "ollama.service"}, {"argument": "serve", "unit": "ollama.service"}],
        "deny": ["lspci", {"ancestor": "sshd"}, {"argument": "serve"}, "/opt/*"],
    }
    with Asked(written(**policy)) as gate:
        assert gate.ask(**PROCESS).reason == (
            'an application: gate.allow names the argument "serve" and the unit "ollama.service"'
        )
        elsewhere = PROCESS | {"unit": "/"}
        assert gate.ask(**elsewhere).reason == 'not an application: gate.deny names the ancestor "sshd"'
        alone = elsewhere | {"ancestors": ""}
        assert gate.ask(**alone).reason == 'not an application: gate.deny names the argument "serve"'
        assert gate.ask(exe="lspci").reason == 'not an application: gate.deny names the program "lspci"'
        moved = {"exe": "x", "path": "/opt/x"}
        assert gate.ask(**moved).reason == 'not an application: gate.deny names the path "/opt/*"'
        assert gate.ask(exe="x") == ("ready", "an application")


def test_raised_privileges_beat_every_rule(written: Any) -> None:
    """AT_SECURE is refused though an allowed unit names the process."""
    with Asked(written(allow=["*", {"unit": "*"}])) as gate:
        assert gate.ask(**PROCESS, secure=True).ready == "not an application"
        assert gate.ask(**PROCESS).ready == "ready"


def test_only_what_the_rules_ask_for_is_wanted(written: Any) -> None:
    """The facts to gather are those of the rules: none but the program's name for the default policy."""
    policies = [
        ({}, {"PROGRAM"}),
        ({"deny": []}, set()),
        ({"deny": ["a", "/b"], "allow": []}, {"PROGRAM", "PATH"}),
        ({"deny": [{"argument": "a"}], "allow": [{"unit": "b", "comm": "c"}]}, {"ARGUMENT", "UNIT", "COMM"}),
        ({"deny": [{"ancestor": "a"}]}, {"ANCESTOR"}),
    ]
    for policy, wanted in policies:
        with Asked(written(**policy)) as gate:
            bits = sum(1 << getattr(lib, f"VGPU_RULE_{name}") for name in wanted)
            assert lib.vgpu_gate_wants(gate.process.image) == bits


END = "'*' stands only at its end"
SLASH, ALL = f"without '/'; {END}", f"{END}, may be all"
WRONG = {
    "a/b": "is not the full path of a program, got 'a/b'; let it begin with '/'",
    "a*b": "is not the name of a program, got 'a*b'; write its file name, or its full path; '*' stands only at its end",
    "": "is not the name of a program, got ''; write its file name",
    7: 'is no rule, got 7; write a program\'s name in quotes, or a table as in { argument = "runner" }',
}


def test_a_wrong_rule_is_one_error_with_place_and_remedy() -> None:
    """A list with nine wrong entries gives nine lines, each with its place, its value and what to write."""
    tables: list[Any] = [
        {"argumnt": "x"},
        {},
        {"unit": "a/b"},
        {"comm": 5},
        {"path": "x"},
        {"argument": "a*b"},
    ]
    with pytest.raises(HostError) as caught:
        Gate(allow=["fine", {"unit": "fine"}], deny=[*WRONG, *tables])
    lines = str(caught.value).splitlines()
    for i, text in enumerate(WRONG.values()):
        assert lines[i].startswith(f"Gate: deny[{i}]: {text}")
    assert [line.removeprefix("Gate: deny") for line in lines[len(WRONG) :]] == [
        "[4].argumnt: unknown key, got 'x'; did you mean 'argument'?",
        "[5]: a rule that asks for nothing; give it one or more of program, path, comm, argument, ancestor, unit",
        f"[6].unit: is not one component of a control group, got 'a/b'; write it as in 'ollama.service', {SLASH}",
        "[7].comm: must be a string, got 5; write it in quotes",
        f"[8].path: is not the full path of a program, got 'x'; let it begin with '/'; {END}",
        f"[9].argument: is not a word of a command line, got 'a*b'; write one word, or how it begins; {ALL}",
    ]


def test_a_host_file_with_rules_is_read_and_written(tmp_path: Path) -> None:
    """Strings and tables of a host file arrive, and the host that is written loads to an equal one."""
    file = tmp_path / "host.toml"
    file.write_text('[gate]\nallow = ["lspci", "/opt/*", { argument = "runner", unit = "ollama.service" }]\n')
    host = Host.load(file)
    assert host == Host(gate=Gate(allow=["lspci", "/opt/*", {"unit": "ollama.service", "argument": "runner"}]))
    file.write_text(host.dump())
    assert Host.load(file) == host
    assert host.gate.deny == Gate().deny


def test_an_image_whose_rules_leave_the_text_is_refused(written: Any) -> None:
    """A rule's text or reason outside of the image's text, or a table outside of the file, is a damaged image."""
    path = written(allow=[{"argument": "a"}], deny=["b"])
    sound = path.read_bytes()
    check_image(path)
    span = ffi.offsetof("struct vgpu_image", "gate") + ffi.offsetof("struct vgpu_gate_policy", "allow")
    row = int.from_bytes(sound[span : span + 4], "little")
    places = [row + 4 * lib.VGPU_RULE_ARGUMENT, row + ffi.offsetof("struct vgpu_rule", "reason"), span, span + 4]
    for at in places:
        path.chmod(0o644)
        path.write_bytes(sound[:at] + (len(sound) + 8).to_bytes(4, "little") + sound[at + 4 :])
        with pytest.raises(ImageError, match="damaged"):
            check_image(path)


def test_the_page_of_the_host_file_has_each_fact_and_its_example_loads(tmp_path: Path) -> None:
    """docs/host-file.md describes exactly the facts of a rule, and its rules are some that a host file may have."""
    page = (Path(__file__).parents[1] / "docs" / "host-file.md").read_text(encoding="utf-8")
    section = page.partition("## `[gate]`")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (\w+) \| the |^\| (\w+) \| one ", section, re.MULTILINE)
    assert [first or second for first, second in rows] == list(FACTS)
    file = tmp_path / "host.toml"
    file.write_text(section.partition("```toml\n")[2].partition("```")[0])
    gate = Host.load(file).gate
    assert gate.allow[2] == Rule(program="python3*", argument="vllm")
    assert gate.deny == ("*", Rule(ancestor="sshd"), Rule(unit="user@*"))
