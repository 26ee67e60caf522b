"""Host files: reading, the messages of wrong ones, and writing."""

import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vgpu_harness.errors import HostError
from vgpu_harness.host import Delivery, Driver, Gate, Gpu, Host
from vgpu_harness.host.load import line_of


@pytest.fixture
def refused(tmp_path):
    """Loads a text that must be refused; answers the message's lines without the directory."""

    def load(text):
        path = tmp_path / "host.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(HostError) as caught:
            Host.load(path)
        return str(caught.value).replace(f"{tmp_path}/", "").splitlines()

    return load


WHOLE = """\
# a host with everything
[driver]
version = "575.51.03"

[[gpu]]
pci = "0000:00:05.0"

[[gpu]]
profile = "a100-80gb-sxm4"
pci = "0001:3b:00.0"
uuid = "GPU-00000000-0000-0000-0000-00000000000a"
memory_mib = 40960

[delivery]
preload = ["cuda", "/opt/shims/libmine.so"]
child_environment = "rebuilt"

[gate]
before_gate = ["open", "fopen"]

[[faults]]
function = "cuInit"
result = 802
after = 1
delay = 2

[[faults]]
library = "cuda"
soname = "libcudb.so.1"
"""


def test_a_whole_file_is_read(tmp_path):
    """Every section of a host file arrives in the Host."""
    path = tmp_path / "host.toml"
    path.write_text(WHOLE)
    host = Host.load(path)
    assert host.driver.cuda == "12.9"
    assert [gpu.pci for gpu in host.gpu] == ["0000:00:05.0", "0001:3b:00.0"]
    assert (host.gpu[1].memory_mib, host.gpu[1].compute) == (40960, "8.0")
    assert host.delivery.preload == ("cuda", "/opt/shims/libmine.so")
    assert host.gate.before_gate == ("open", "fopen")
    assert (host.faults[0].result, host.faults[0].delay) == (802, 2.0)
    assert host.faults[1].soname == "libcudb.so.1"


def test_an_empty_file_is_the_default_host(tmp_path):
    """Everything in a host file is optional."""
    (tmp_path / "host.toml").write_text("")
    assert Host.load(tmp_path / "host.toml") == Host()


def test_an_unknown_key_is_named_with_line_value_and_remedy(refused):
    """A misspelt key is reported with file, line, place, value and the key that was meant."""
    lines = refused(WHOLE.replace("memory_mib = 40960", "memroy_mib = 80"))
    assert lines == ["host.toml:12: gpu[1].memroy_mib: unknown key, got 80; did you mean 'memory_mib'?"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[driver]\nversion = 580\n", "host.toml:2: driver.version: must be a string, got 580; write it in quotes"),
        (
            "\n[[gpu]]\nmemory_mib = 80.0\n",
            "host.toml:3: gpu[0].memory_mib: must be an integer, got 80.0; write it without quotes",
        ),
        (
            "[gate]\nauto_init = 1\n",
            "host.toml:2: gate.auto_init: must be true or false, got 1; write it without quotes",
        ),
        ("[gate]\nallow = 'ollama'\n", "host.toml:2: gate.allow: must be a list, got 'ollama'; write it in [ ]"),
        ("[gpu]\nminor = 1\n", "host.toml:1: gpu: must be a list of tables; write [[gpu]]"),
        ("driver = 3\n", "host.toml:1: driver: must be a table, got 3; write [driver] and its keys below"),
        ("[gpus]\nminor = 1\n", "host.toml:1: gpus: unknown key, got {'minor': 1}; did you mean 'gpu'?"),
        (
            "[zebra]\n",
            "host.toml:1: zebra: unknown key, got {}; known are delivery, driver, faults, gate, gpu, memory, strict",
        ),
        (
            "[[gpu]]\n[[gpu]]\npci = '0000:00:05.0'\n",
            "host.toml:3: gpu[1].pci: same PCI address as gpu[0], got '0000:00:05.0'; give each GPU its own",
        ),
        (
            "[[gpu]]\nminor = 1\n\n[[gpu]]\n",
            "host.toml:4: gpu[1].minor: same minor number as gpu[0], got 1; give each GPU its own",
        ),
        (
            "[[gpu]]\n\n[[gpu]]\nmemory_mib = 1\n",
            (
                "host.toml:3: gpu[1]: used_mib 0 + reserved_mib 480 exceed memory_mib 1; "
                "lower used_mib or reserved_mib, or raise memory_mib"
            ),
        ),
        (
            "[[faults]]\nfunction = 'cuInit'\nresutl = 3\n",
            "host.toml:3: faults[0].resutl: unknown key, got 3; did you mean 'result'?",
        ),
        (
            "[[faults]]\nfunction = 'cuInit'\nresult = 'x'\n",
            "host.toml:3: faults[0].result: must be an integer, got 'x'; write it without quotes",
        ),
        (
            "[[faults]]\nlibrary = 'cuda'\n",
            "host.toml:1: faults[0]: a fault of no known kind; give it one of function, missing_symbol, soname, image",
        ),
        ("[[faults]]\nmissing_symbol = 'cuInit'\n", "host.toml:1: faults[0].library: missing; add it"),
        ("a = 1\na = 2\n", "host.toml:2: not TOML: Cannot overwrite a value; see https://toml.io"),
        ("[driver\n", "host.toml:1: not TOML: Expected ']' at the end of a table declaration; see https://toml.io"),
        ("[gate]\nallow = [\n\n", "host.toml:3: not TOML: Invalid value; see https://toml.io"),
        (b"a = 1\nb = '\xff'\n", "host.toml:2: is not UTF-8; save the file in UTF-8, as TOML demands"),
    ],
)
def test_a_wrong_file_is_one_clear_message(refused, text, words):
    """Each wrong file gives one line with file, line number, key, value and remedy."""
    assert refused(text) == [words]


def test_all_errors_of_a_file_come_at_once_in_its_order(refused):
    """Two wrong values in different sections are both named, by line."""
    lines = refused("[[gpu]]\npci = 'here'\n[driver]\nversion = 580\n[gate]\nauto_init = 'no'\n")
    assert [line.split(": ")[:2] for line in lines] == [
        ["host.toml:2", "gpu[0].pci"],
        ["host.toml:4", "driver.version"],
        ["host.toml:6", "gate.auto_init"],
    ]


def test_a_missing_file_is_named(tmp_path):
    """A host file that does not exist is named, with what to do."""
    with pytest.raises(HostError) as caught:
        Host.load(tmp_path / "none.toml")
    assert str(caught.value) == (
        f"{tmp_path}/none.toml: no such host file; create it (an empty file is the default host)"
    )


def test_a_directory_is_no_host_file(tmp_path):
    """A directory in place of a host file is named as one."""
    with pytest.raises(HostError) as caught:
        Host.load(tmp_path)
    assert str(caught.value) == f"{tmp_path}: is a directory, not a host file; name the file in it"


@pytest.mark.parametrize("text", [WHOLE, WHOLE.replace("\n", "\n\n"), WHOLE.replace("\n", "\r\n")])
def test_line_of_finds_every_key(text):
    """The line found for a key is the line that the key is written on, for every key of a file."""
    data = tomllib.loads(text)
    lines = text.splitlines()
    found = 0
    for section, tables in data.items():
        for i, table in enumerate(tables if isinstance(tables, list) else [tables]):
            for key in table:
                place = (section, i, key) if isinstance(tables, list) else (section, key)
                assert lines[line_of(text, place) - 1].startswith(f"{key} = ")
                found += 1
    assert found == len([line for line in lines if " = " in line])


def test_line_of_a_missing_key_is_none():
    """A key that is not in the file has no line."""
    assert line_of(WHOLE, ("driver", "cuda")) is None
    assert line_of(WHOLE, ("gpu", 2)) is None


text = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"]), min_size=1, max_size=12).filter(
    str.isprintable
)
gpus = st.builds(
    Gpu,
    profile=st.sampled_from(["h100-80gb-hbm3", "a100-80gb-sxm4"]),
    name=text,
    serial=text.filter(lambda words: len(words.encode()) <= 31),
    compute=st.sampled_from(["7.5", "9.0", "12.1"]),
    memory_mib=st.integers(2000, 2**24),
    used_mib=st.integers(0, 1000),
)
faults = st.one_of(
    st.fixed_dictionaries(
        {"function": st.sampled_from(["cuInit", "open"]), "result": st.integers(-(2**31), 2**31 - 1)}
    ),
    st.fixed_dictionaries({"function": st.just("nvmlInit_v2"), "delay": st.floats(0.001, 3600)}),
    st.just({"library": "nvml", "missing_symbol": "nvmlInit_v2"}),
    st.just({"library": "cuda", "soname": "libcudb.so.1"}),
)
hosts = st.builds(
    Host,
    driver=st.builds(Driver, version=st.sampled_from(["570.1", "580.95.05", "590.48.01"])),
    gpu=st.lists(gpus, min_size=1, max_size=8),
    delivery=st.builds(Delivery, preload=st.permutations(["cuda", "nvml"]), library_path=st.just(["/opt/a b"])),
    gate=st.builds(
        Gate, auto_init=st.booleans(), allow=st.lists(st.sampled_from(["ollama*", "x y", 'a"b']), max_size=2)
    ),
    faults=st.lists(faults, max_size=3),
)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(host=hosts)
def test_a_dumped_host_loads_to_an_equal_one(tmp_path_factory, host):
    """Writing a host and reading it again gives the same host, whatever is in it."""
    path = tmp_path_factory.getbasetemp() / "dumped.toml"
    path.write_text(host.dump(), encoding="utf-8")
    assert Host.load(path) == host


def test_unequal_hosts_are_unequal(tmp_path):
    """The comparison of the test above sees a difference in a single value."""
    path = tmp_path / "host.toml"
    path.write_text(Host().dump().replace("81559", "81558"))
    assert Host.load(path) != Host()
