"""The gate's rules against a model of them in Python: any policy, any facts."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vgpu_harness.host import Gate as Policy
from vgpu_harness.host import Host, Tree, write_image
from vgpu_harness.host.gate import FACTS, reason_of, rule_of
from vgpu_harness.shims.inprocess import Gate

Asked = Callable[[Policy], AbstractContextManager[Gate]]
COMM_BYTES = 15

# Few letters, so that rules and facts meet; long ones, for the kernel's cut of a comm.
NAMES = st.text("ab-", min_size=1, max_size=3) | st.sampled_from(["b" * 15, "b" * 16, "b" * 20, "ab (c) d"])
TEXTS = st.builds(str.__add__, NAMES, st.sampled_from(["", "*"])) | st.just("*")
PATHS = st.builds("/{}".format, st.lists(NAMES, max_size=2).map("/".join))


def rules() -> st.SearchStrategy[Any]:
    """Entries of a list: a name, a path, or a table of some facts."""
    values = {key: PATHS if key == "path" else TEXTS for key in FACTS}
    tables = st.fixed_dictionaries({}, optional=values).filter(bool)
    return TEXTS | PATHS | tables


@st.composite
def facts(draw: st.DrawFn) -> dict[str, str]:
    """What is known of a process; a comm is at most 15 bytes long."""
    comms = NAMES.map(lambda name: name[:COMM_BYTES])
    return {
        "exe": draw(st.just("") | NAMES),
        "path": draw(st.just("") | PATHS),
        "comm": draw(st.just("") | comms),
        "arguments": "".join(f"{word}\0" for word in draw(st.lists(NAMES, max_size=3))),
        "ancestors": "".join(f"{name}\0" for name in draw(st.lists(comms, max_size=3))),
        "unit": draw(st.just("") | PATHS),
    }


def same(text: str, value: str, *, is_comm: bool = False) -> bool:
    """Is this the text that a rule has?"""
    if text.endswith("*") and value.startswith(text[:-1]):
        return True
    return value == text or (is_comm and len(value) == COMM_BYTES and text.startswith(value))


def holds(key: str, text: str, of: dict[str, str]) -> bool:
    """Has the process this fact? By the words of docs/host-file.md."""
    match key:
        case "program":
            return same(text, of["exe"]) if of["exe"] else same(text, of["comm"], is_comm=True)
        case "path" | "comm":
            return same(text, of[key], is_comm=key == "comm")
        case "argument":
            return text == "*" or any(same(text, word) for word in of["arguments"].split("\0") if word)
        case "ancestor":
            return text == "*" or any(same(text, name, is_comm=True) for name in of["ancestors"].split("\0") if name)
        case _:
            return text == "*" or any(same(text, part) for part in of["unit"].split("/") if part)


def decision(policy: Policy, of: dict[str, str]) -> tuple[str, str]:
    """What the gate has to say."""
    for which, ready in (("allow", "ready"), ("deny", "not an application")):
        for entry in getattr(policy, which):
            if all(holds(key, text, of) for key, text in rule_of(entry).asks.items()):
                return ready, reason_of(which, entry)
    return "ready", "an application"


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Asked:
    """Opens the gate of a host with some policy."""
    place: Path = tmp_path_factory.mktemp("gate")

    @contextmanager
    def of_policy(policy: Policy) -> Iterator[Gate]:
        with NamedTemporaryFile(dir=place) as file:
            image = write_image(Host(gate=policy), Tree(place, ()), file.name)
            with Gate(image) as asked:
                yield asked

    return of_policy


@given(st.lists(rules(), max_size=3), st.lists(rules(), max_size=4), st.lists(facts(), min_size=1, max_size=6))
def test_any_policy_decides_as_its_model_does(
    gate: Asked, allow: list[Any], deny: list[Any], processes: list[dict[str, str]]
) -> None:
    """Answer and reason are those of the first rule that holds, allowed ones first, for any rules and any facts."""
    policy = Policy(allow=allow, deny=deny)
    with gate(policy) as asked:
        for process in processes:
            assert asked.ask(**process) == decision(policy, process)
