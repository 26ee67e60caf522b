"""The client's own answer: the devices of its final lines, and the PCI address of each.

Generations B and C log the address. Generation A's log has none: there it is what the traced calls of the client's
process answered, the device being the one whose UUID the client logs.
"""

from vgpu_harness.discovery.evidence import Evidence

Device = dict[str, str | None]

_FIELDS = ("id", "library", "compute", "driver", "total", "available")


def devices_of(e: Evidence) -> list[Device]:
    """The CUDA devices of the final lines, in their order; a value is the log's own text, None if it has none."""
    devices: list[Device] = []
    for line in e.log.final:
        fields = line.fields
        if fields.get("library", "").lower() != "cuda":
            continue
        device: Device = {key: fields.get(key) for key in _FIELDS}
        if e.facts.generation == "a":
            device |= {"name": fields.get("name"), "variant": fields.get("variant")}
            device["pci_id"] = traced_address(e, fields.get("id", ""))
        else:
            device |= {"name": fields.get("description"), "libdirs": fields.get("libdirs")}
            device["pci_id"] = fields.get("pci_id") or None
        if e.facts.generation == "c":
            device["filter_id"] = fields.get("filter_id")
        devices.append(device)
    return devices


def driver_address(e: Evidence, device: Device) -> str | None:
    """What the driver answered, in the trace, for a device of the client's answer."""
    if e.facts.generation == "c":
        return _address_of_ordinal(e, device.get("filter_id") or device["id"] or "")
    return traced_address(e, device["id"] or "")


def _address_of_ordinal(e: Evidence, ordinal: str) -> str | None:
    """What cuDeviceGet answered for `ordinal` in a process that saw all devices: the second pass hides the others."""
    counts = {r.pid: r.outputs[0] for r in e.calls("cuDeviceGetCount") if r.result == 0 and r.outputs}
    most = max(counts.values(), default=0)
    gets = [r for r in e.calls("cuDeviceGet") if r.result == 0 and r.text and counts.get(r.pid) == most]
    return next((r.text for r in gets if str(r.inputs[0]) == ordinal), None) if ordinal.isdecimal() else None


def traced_address(e: Evidence, uuid: str) -> str | None:
    """What cuDeviceGet answered for the ordinal whose cuDeviceGetUuid answered `uuid`, in the same process.

    Where no call tells the UUID (generation A then logs the id "0"), a single device is meant.
    """
    gets = [r for r in e.calls("cuDeviceGet") if r.result == 0 and r.text]
    for named in e.calls("cuDeviceGetUuid", all_versions=True):
        if named.text == uuid:
            return next((r.text for r in gets if r.pid == named.pid and r.inputs[:1] == named.inputs[:1]), None)
    addresses = {r.text for r in gets}
    return addresses.pop() if len(addresses) == 1 else None
