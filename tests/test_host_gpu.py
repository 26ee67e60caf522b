"""What a host file says of one GPU beside its identity: NVML's properties, processes, MIG devices."""

import os

import pytest

from vgpu_harness._wire import ffi, lib
from vgpu_harness.errors import HostError
from vgpu_harness.host import Gpu, Host, Memory, Tree, is_image, write_image
from vgpu_harness.host.image import is_strict
from vgpu_harness.host.properties import property_ids, text_ids

MIB = 1 << 20


@pytest.fixture
def opened(tmp_path):
    """Writes a host's image and maps it with the shims' reader."""
    mapped = []

    def open_image(host):
        out = ffi.new("struct vgpu_image **")
        image = write_image(host, Tree(tmp_path, ()), tmp_path / f"{len(mapped)}.image")
        assert lib.vgpu_image_open(os.fsencode(image), out) == ffi.NULL
        mapped.append(out[0])
        return out[0]

    yield open_image
    for image in mapped:
        lib.vgpu_image_close(image)


def text(value):
    """A C string as a str, None for NULL."""
    return None if value == ffi.NULL else ffi.string(value).decode()


class TestProperties:
    def value(self, image, name, index=0):
        """What C reads of a number of the first GPU; None: it does not have it."""
        out = ffi.new("int64_t *")
        there = lib.vgpu_image_property(image, lib.vgpu_image_gpu(image, 0), property_ids()[name], index, out)
        return out[0] if there else None

    def several(self, image, name):
        """All that C reads of one kind."""
        count = ffi.new("uint32_t *")
        rows = lib.vgpu_image_properties(image, lib.vgpu_image_gpu(image, 0), property_ids()[name], count)
        return [rows[i].value for i in range(count[0])]

    def text_of(self, image, name, index=0):
        """What C reads of a text."""
        return text(lib.vgpu_image_gpu_text(image, lib.vgpu_image_gpu(image, 0), text_ids()[name], index))

    def test_the_names_are_those_of_the_list(self):
        """Python has the names of properties.def without a list of its own."""
        assert (property_ids()["BRAND"], property_ids()["CLOCK_MAX"], text_ids()["VBIOS"]) == (1, 10, 1)
        assert property_ids().keys().isdisjoint(text_ids())

    def test_each_form_of_a_value(self, opened):
        """A number, a list, a table of index and value, an even series and texts arrive; an empty list takes away."""
        gpu = Gpu(
            nvml={
                "TEMPERATURE": 61,
                "MEMORY_CLOCKS": [9001, 405],
                "TEMPERATURE_THRESHOLD": {"1": 90, 7: 70},
                "GRAPHICS_CLOCKS": {"high": 100, "low": 69, "step": 15},
                "ECC": [],
                "VBIOS": "1.2.3",
                "INFOROM": {1: "9.9"},
            }
        )
        image = opened(Host(gpu=[gpu]))
        assert self.value(image, "TEMPERATURE") == 61
        assert self.several(image, "MEMORY_CLOCKS") == [9001, 405]
        assert [self.value(image, "TEMPERATURE_THRESHOLD", i) for i in (0, 1, 7, 6)] == [95, 90, 70, None]
        assert self.several(image, "GRAPHICS_CLOCKS") == [100, 85, 70]
        assert self.value(image, "ECC") is None
        assert (self.text_of(image, "VBIOS"), self.text_of(image, "INFOROM"), self.text_of(image, "INFOROM", 1)) == (
            "1.2.3",
            "2.1",
            "9.9",
        )

    def test_without_a_word_the_profile_holds(self, opened):
        """The same properties are the profile's where the host says nothing."""
        image = opened(Host())
        assert [self.value(image, name) for name in ("TEMPERATURE", "ECC", "MIG")] == [31, 1, 0]
        assert self.several(image, "GRAPHICS_CLOCKS")[:2] == [1980, 1965]
        assert self.text_of(image, "VBIOS") == "96.00.99.00.01"
        assert self.value(image, "BAR1_TOTAL") == 131072 * MIB

    def test_rows_are_in_order(self, opened):
        """By id, then by index, as the reader's comment says."""
        image = opened(Host(gpu=[Gpu(nvml={"TEMPERATURE": {3: 1, 0: 2}})]))
        gpu = lib.vgpu_image_gpu(image, 0)
        rows = ffi.cast("struct vgpu_property *", ffi.cast("char *", image) + gpu.properties.offset)
        keys = [(rows[i].id, rows[i].index) for i in range(gpu.properties.count)]
        assert keys == sorted(set(keys))

    @pytest.mark.parametrize(
        ("table", "message"),
        [
            ({"TEMPERATUR": 1}, "nvml.TEMPERATUR: unknown property, got 1; did you mean 'TEMPERATURE'?"),
            ({"QQQQQQQQ": 1}, "unknown property, got 1; see csrc/vgpu/properties.def for those that there are"),
            (
                {"BRAND": "x"},
                "is not a number, got 'x'; write an integer, a list of them, or a table of index and integer",
            ),
            ({"BRAND": True}, "nvml.BRAND: is not a number, got True"),
            ({"GRAPHICS_CLOCKS": [1] * 65537}, "nvml.GRAPHICS_CLOCKS: has too many entries"),
            ({"GRAPHICS_CLOCKS": {"high": 2**62, "low": 0, "step": 1}}, "has too many entries; write 65536 or fewer"),
            ({"BRAND": 2**63}, "nvml.BRAND: too large, got 9223372036854775808; write 4294967295 or less"),
            ({"VBIOS": 1}, "nvml.VBIOS: is not a text, got 1; write printable text in quotes"),
            ({"VBIOS": "x" * 256}, "nvml.VBIOS: is too long"),
            ({"CLOCK": {"x": 1}}, "nvml.CLOCK: 'x' is not an index; write a number from 0 to 65535 as key"),
            ({"CLOCK": {"high": 1, "low": 2, "step": 1}}, "nvml.CLOCK: is not a falling series"),
        ],
    )
    def test_a_wrong_property_is_named(self, table, message):
        """The error has the key, the value and what to write."""
        with pytest.raises(HostError) as caught:
            Gpu(nvml=table)
        assert message in str(caught.value)


class TestProcesses:
    def test_processes_arrive(self, opened):
        """Each field of a process that uses the GPU is read by C; "self" is 0."""
        gpu = Gpu(
            process=[
                {"pid": 4711, "name": "/usr/bin/train", "kind": "mps", "memory_mib": 300, "sm": 70, "memory": 5},
                {"kind": "graphics", "encoder": 3, "decoder": 4, "sm": 50},
            ]
        )
        image = opened(Host(gpu=[gpu]))
        row = lib.vgpu_image_gpu(image, 0)
        rows = lib.vgpu_image_processes(image, row)
        assert row.processes.count == 2
        assert [(rows[i].pid, rows[i].kind, rows[i].used // MIB, rows[i].mig) for i in range(2)] == [
            (4711, lib.VGPU_PROCESS_MPS, 300, 0),
            (0, lib.VGPU_PROCESS_GRAPHICS, 0, 0),
        ]
        assert [(rows[i].sm, rows[i].memory, rows[i].encoder, rows[i].decoder) for i in range(2)] == [
            (70, 5, 0, 0),
            (50, 0, 3, 4),
        ]
        assert [text(lib.vgpu_image_text(image, rows[i].name)) for i in range(2)] == ["/usr/bin/train", "python3"]
        assert row.memory_used == 300 * MIB
        properties = TestProperties()
        assert [properties.value(image, f"UTILIZATION_{what}") for what in ("GPU", "MEMORY", "ENCODER", "DECODER")] == [
            100,
            5,
            3,
            4,
        ]

    def test_what_the_host_says_of_the_whole_holds(self, opened):
        """Memory in use and utilisation may be more than what the processes take."""
        gpu = Gpu(process=[{"memory_mib": 300, "sm": 10}], used_mib=500, nvml={"UTILIZATION_GPU": 37})
        image = opened(Host(gpu=[gpu]))
        assert lib.vgpu_image_gpu(image, 0).memory_used == 500 * MIB
        assert TestProperties().value(image, "UTILIZATION_GPU") == 37

    @pytest.mark.parametrize(
        ("keys", "message"),
        [
            (
                {"process": [{"memory_mib": 300}], "used_mib": 200},
                "the processes use 300 MiB, used_mib is 200; raise used_mib, or leave it out: then it is their sum",
            ),
            ({"process": [{"sm": 101}]}, "process[0].sm: too large, got 101; write 100 or less"),
            ({"process": [{"pid": 0}]}, "process[0].pid"),
            ({"process": [{"kind": "x"}]}, "process[0].kind: unknown value, got 'x'; known are compute, graphics, mps"),
            ({"process": [{"mig": 0}]}, "process[0].mig: there are 0 MIG devices, got 0"),
            ({"process": [{"memory_mib": 99999}]}, "exceed memory_mib 81559"),
            (
                {"process": [{"memory_mib": 9000, "mig": 1}, {"memory_mib": 1000, "mig": 1}]}
                | {"mig": [{"profile": "3g.40gb"}, {"profile": "1g.10gb"}]},
                "the processes on mig[1] use 10000 MiB, a 1g.10gb has 9984; lower their memory_mib, or take a larger",
            ),
        ],
    )
    def test_wrong_processes_are_named(self, keys, message):
        """The error has place, value and remedy."""
        with pytest.raises(HostError) as caught:
            Gpu(**keys)
        assert message in str(caught.value)


class TestMig:
    def devices(self, image):
        """The MIG devices of the first GPU as C reads them."""
        row = lib.vgpu_image_gpu(image, 0)
        return [lib.vgpu_image_migs(image, row)[i] for i in range(row.migs.count)]

    def test_devices_arrive_by_place(self, opened):
        """The largest are placed first; the reader has them by place, with name, sizes and numbers of their profile."""
        uuid = "MIG-00112233-4455-6677-8899-aabbccddeeff"
        gpu = Gpu(
            mig=[{"profile": "1g.10gb", "uuid": uuid}, {"profile": "3g.40gb"}, {"profile": "1g.20gb"}],
            process=[{"pid": 1, "mig": 0, "memory_mib": 1}],
        )
        image = opened(Host(gpu=[gpu]))
        rows = self.devices(image)
        assert [(row.start, row.size, row.compute_slices, row.gpu_instance) for row in rows] == [
            (0, 4, 3, 1),
            (4, 2, 1, 5),
            (6, 1, 1, 13),
        ]
        assert [text(row.name) for row in rows][2] == "NVIDIA H100 80GB HBM3 MIG 1g.10gb"
        assert [(row.profile, row.compute_profile, row.compute_instance) for row in rows] == [
            (2, 2, 0),
            (9, 0, 0),
            (0, 0, 0),
        ]
        assert [(row.multiprocessors, row.memory // MIB) for row in rows] == [(60, 40448), (26, 20096), (16, 9984)]
        assert bytes(rows[2].uuid).hex() == uuid.removeprefix("MIG-").replace("-", "")
        assert len({bytes(row.uuid) for row in rows}) == 3
        assert lib.vgpu_image_processes(image, lib.vgpu_image_gpu(image, 0))[0].mig == 3
        assert TestProperties().value(image, "MIG") == 1

    def test_profiles_arrive(self, opened):
        """What GPU instances there can be is in the image, MIG devices or not; a GPU without MIG has none."""
        image = opened(Host(gpu=[Gpu(profile="a30-24gb"), Gpu(profile="t4-16gb")]))
        row = lib.vgpu_image_gpu(image, 0)
        rows = [lib.vgpu_image_mig_profiles(image, row)[i] for i in range(row.mig_profiles.count)]
        assert [(text(lib.vgpu_image_text(image, one.name)), one.id, one.profile, one.starts) for one in rows] == [
            ("1g.6gb", 14, 0, 0b1111),
            ("1g.6gb+me", 21, 7, 0b1111),
            ("2g.12gb", 5, 1, 0b101),
            ("2g.12gb+me", 6, 8, 0b101),
            ("4g.24gb", 0, 3, 0b1),
        ]
        assert (row.migs.count, lib.vgpu_image_gpu(image, 1).mig_profiles.count) == (0, 0)

    def test_a_place_that_is_given_is_kept(self, opened):
        """`start` holds, and what has none goes around it."""
        image = opened(Host(gpu=[Gpu(mig=[{"profile": "1g.10gb"}, {"profile": "1g.10gb", "start": 0}])]))
        assert [row.start for row in self.devices(image)] == [0, 1]

    @pytest.mark.parametrize(
        ("keys", "message"),
        [
            ({"mig": [{"profile": "1g.5gb"}]}, "mig[0].profile: unknown MIG profile, got '1g.5gb'; did you mean"),
            (
                {"mig": [{"profile": "1g.5gb"}], "profile": "t4-16gb"},
                "t4-16gb has no MIG, got '1g.5gb'; take a profile",
            ),
            ({"mig": [{"profile": "4g.40gb"}] * 2}, "2 MIG devices 4g.40gb; write 1 or fewer of them"),
            ({"mig": [{"profile": "7g.80gb"}, {"profile": "1g.10gb"}]}, "do not fit together: 7g.80gb, 1g.10gb"),
            ({"mig": [{"profile": "2g.20gb", "start": 1}]}, "do not fit together: 2g.20gb"),
            (
                {"mig": [{"profile": "1g.10gb", "uuid": "GPU-1"}]},
                "mig[0].uuid: is not a MIG device's UUID, got 'GPU-1'",
            ),
            (
                {"mig": [{"profile": "1g.10gb", "uuid": "MIG-00112233-4455-6677-8899-aabbccddeeff"}] * 2},
                "two MIG devices with the same UUID",
            ),
            (
                {"mig": [{"profile": "1g.10gb"}], "name": "\u00e9" * 42},
                "of mig[0] is 96 bytes long; give the GPU a shorter name: 95 bytes are the most",
            ),
        ],
    )
    def test_wrong_devices_are_named(self, keys, message):
        """The error says what does not fit."""
        with pytest.raises(HostError) as caught:
            Gpu(**keys)
        assert message in str(caught.value)


class TestHost:
    def test_memory_and_strict_arrive(self, opened):
        """The bound on real memory is in bytes; it is 1 GiB if nothing is said."""
        assert opened(Host()).memory.backing == 1 << 30
        image = opened(Host(memory=Memory(backing_mib=64), strict=True))
        assert (image.memory.backing, image.strict) == (64 * MIB, 1)

    def test_an_image_is_asked_whether_it_is_strict(self, tmp_path):
        """The harness has it from the image too; an image that the shims refuse is not strict."""
        images = [
            write_image(Host(strict=strict, faults=faults), Tree(tmp_path, ()), tmp_path / f"{i}.image")
            for i, (strict, faults) in enumerate([(True, ()), (False, ()), (True, ({"image": "truncated"},))])
        ]
        assert [is_strict(image) for image in images] == [True, False, False]
        assert all(is_image(image) for image in images)

    def test_all_of_it_survives_a_host_file(self, tmp_path):
        """A host with processes, MIG devices and properties is the same after dump and load."""
        gpu = Gpu(
            nvml={"TEMPERATURE_THRESHOLD": {1: 90}, "MEMORY_CLOCKS": [1, 2], "ECC": [], "VBIOS": "x"},
            mig=[{"profile": "1g.10gb"}, {"profile": "3g.40gb", "start": 4}],
            process=[{"pid": 4711, "mig": 1, "memory_mib": 20}, {}],
        )
        faults = [
            {"function": "cuInit", "crash": True, "program": "a*", "thread": "main", "after": 1, "times": 2},
            {"function": "nvmlDeviceGetName", "text": "x", "gpu": 0},
            {"function": "cuInit", "lost": 0},
        ]
        host = Host(gpu=[gpu], strict=True, memory=Memory(backing_mib=5), faults=faults)
        path = tmp_path / "host.toml"
        path.write_text(host.dump(), encoding="utf-8")
        assert Host.load(path) == host


class TestDamage:
    """Tables that point outside of the file, in an image that is sound otherwise."""

    HOST = Host(
        gpu=[Gpu(mig=[{"profile": "1g.10gb"}], process=[{}])],
        faults=[{"function": "cuInit", "result": 1, "program": "a", "thread": "b"}],
    )

    @pytest.fixture
    def data(self, tmp_path):
        """The bytes of the image of a host that has all tables."""
        return bytearray(write_image(self.HOST, Tree(tmp_path, ()), tmp_path / "image").read_bytes())

    def check(self, data):
        """What the shims' reader says of these bytes, None if they are sound."""
        return text(lib.vgpu_image_check(ffi.from_buffer(data), len(data)))

    def at(self, data, kind, span):
        """The first object of a table."""
        return ffi.cast(f"{kind} *", ffi.from_buffer("char[]", data) + span.offset)

    def gpu(self, data):
        """The first GPU's row."""
        return self.at(data, "struct vgpu_gpu", ffi.from_buffer("struct vgpu_image *", data).gpus)

    def test_the_sound_one_passes(self, data):
        """Without a change there is no reason to refuse it."""
        assert self.check(data) is None

    @pytest.mark.parametrize("table", ["attributes", "properties", "texts", "processes", "migs", "mig_profiles"])
    @pytest.mark.parametrize("change", [{"offset": 2**31}, {"count": 2**31}, {"offset": 4}])
    def test_a_table_elsewhere_is_damage(self, data, table, change):
        """A table that begins or ends outside of the file, or where its rows cannot stand, is refused."""
        span = getattr(self.gpu(data), table)
        for key, value in change.items():
            setattr(span, key, value + (span.offset | 1 if value == 4 else 0))
        assert self.check(data) == "damaged: a GPU's tables lie outside of the file"

    @pytest.mark.parametrize(
        ("table", "kind", "field", "reason"),
        [
            ("texts", "struct vgpu_text", "text", "a GPU's text lies outside of the text"),
            ("processes", "struct vgpu_gpu_process", "name", "a process's name lies outside of the text"),
            ("mig_profiles", "struct vgpu_mig_profile", "name", "a MIG profile's name lies outside of the text"),
        ],
    )
    def test_a_text_elsewhere_is_damage(self, data, table, kind, field, reason):
        """So is a row whose text is not in the text."""
        setattr(self.at(data, kind, getattr(self.gpu(data), table)), field, 2**31)
        assert self.check(data) == f"damaged: {reason}"

    @pytest.mark.parametrize("field", ["function", "program", "thread"])
    def test_a_faults_text_elsewhere_is_damage(self, data, field):
        """So is a fault whose function, program or thread is not there."""
        fault = self.at(data, "struct vgpu_fault", ffi.from_buffer("struct vgpu_image *", data).faults)
        setattr(fault, field, 2**31)
        assert "lies outside of the text" in self.check(data)

    def test_a_fault_for_no_gpu_is_damage(self, data):
        """So is a fault for a GPU that the image does not have."""
        fault = self.at(data, "struct vgpu_fault", ffi.from_buffer("struct vgpu_image *", data).faults)
        fault.gpu = 1 + ffi.from_buffer("struct vgpu_image *", data).gpus.count
        assert self.check(data) == "damaged: a fault is for a GPU that is not there"

    def test_a_name_without_an_end_is_damage(self, data):
        """So is a MIG device whose name runs on."""
        row = self.at(data, "struct vgpu_mig_device", self.gpu(data).migs)
        ffi.memmove(row.name, b"x" * lib.VGPU_NAME_SIZE, lib.VGPU_NAME_SIZE)
        assert self.check(data) == "damaged: a MIG device's name does not end"
