"""docs/host-file.md says what the models say."""

import re
from pathlib import Path

import pytest

from vgpu_harness.errors import HostError
from vgpu_harness.host import Delivery, Driver, Gate, Gpu, GpuProcess, Host, Memory, Mig
from vgpu_harness.host.faults import FunctionFault, ImageFault, SonameFault, SymbolFault
from vgpu_harness.host.model import DENIED
from vgpu_harness.host.profile import profile_names

TEXT = (Path(__file__).parents[1] / "docs" / "host-file.md").read_text(encoding="utf-8")
TITLES = re.findall(r"^## `\[+(\w+)\]+`", TEXT, re.MULTILINE)
SECTIONS = dict(zip(TITLES, re.split(r"^## (?=`\[)", TEXT, flags=re.MULTILINE)[1:], strict=False))
EXAMPLE = re.search(r"```toml\n(.*?)```", TEXT, re.DOTALL)[1]


@pytest.mark.parametrize(
    ("section", "models"),
    [
        ("driver", [Driver]),
        ("gpu", [Gpu]),
        ("delivery", [Delivery]),
        ("gate", [Gate]),
        ("memory", [Memory]),
        ("faults", [FunctionFault, SymbolFault, SonameFault, ImageFault]),
    ],
)
def test_every_key_is_described_and_no_other(section, models):
    """The rows of a section's tables are exactly the keys of its models."""
    rows = re.findall(r"^\| `(\w+)` \|", SECTIONS[section], re.MULTILINE)
    assert sorted(rows) == sorted({key for model in models for key in model.model_fields})


@pytest.mark.parametrize(("title", "model"), [("process", GpuProcess), ("mig", Mig)])
def test_every_field_of_a_gpus_tables_is_described(title, model):
    """The rows of the tables within a GPU's are exactly the fields of their models."""
    section = SECTIONS["gpu"].partition(f"### `[[gpu.{title}]]`")[2].partition("\n### ")[0]
    rows = re.findall(r"^\| ([a-z_, ]+) \| ", section, re.MULTILINE)
    assert sorted(", ".join(rows[1:]).split(", ")) == sorted(model.model_fields)


def test_the_top_is_described():
    """Each key of a host that is no table has a row of its own before the tables."""
    top = TEXT.partition("## At the top")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \|", top, re.MULTILINE)
    assert rows == [key for key in Host.model_fields if key not in TITLES]


def test_the_example_is_a_host_file(tmp_path):
    """The page's example loads, and is the host that the page says."""
    path = tmp_path / "host.toml"
    path.write_text(EXAMPLE)
    host = Host.load(path)
    assert [gpu.pci for gpu in host.gpu] == ["0000:00:05.0", "0001:3b:00.0"]
    assert host.faults[0].result == 802
    assert host.strict
    second = host.gpu[1]
    assert (second.nvml, second.used_mib, second.mig[0].profile) == ({"TEMPERATURE": 61}, 300, "3g.40gb")


def test_the_message_is_the_real_one(tmp_path):
    """The page's error message is the one that a wrong file gives."""
    path = tmp_path / "host.toml"
    path.write_text(EXAMPLE.replace("reserved_mib = 400", "memroy_mib = 80"))
    with pytest.raises(HostError) as caught:
        Host.load(path)
    quoted = re.search(r"```text\n(.*?)\n```", TEXT, re.DOTALL)[1]
    assert str(caught.value).removeprefix(f"{tmp_path}/") == quoted


def test_defaults_are_those_of_the_models():
    """The page names the profiles, the denied programs and the links as the models have them."""
    assert re.findall(r"`([^`]+)`", re.search(r"The default of `deny`:(.*?)\n\n", TEXT, re.DOTALL)[1]) == list(DENIED)
    assert all(f'"{name}"' in SECTIONS["gpu"] for name in profile_names())
    links = ", ".join(f'"{link}"' for link in Delivery().links)
    assert f"`[{links}]`" in SECTIONS["delivery"]
