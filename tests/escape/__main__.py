"""Compares the providers with the list of known escapes, or rewrites the list and the table from them."""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from escape import ratchet, table
from escape.matrix import listed, under, where_files_are_real
from vgpu_harness.run.provider import PROVIDERS


def main() -> int:
    """0: all is as listed, or was rewritten with reasons for all; 1: not."""
    parser = argparse.ArgumentParser(prog="python -m escape", description=__doc__)
    parser.add_argument("--provider", action="append", choices=PROVIDERS, help="only this one; may be repeated")
    parser.add_argument("--update", action="store_true", help="rewrite the list and docs/escapes.md")
    asked = parser.parse_args()
    probes = listed()
    text = ratchet.FILE.read_text(encoding="utf-8") if ratchet.FILE.exists() else ""
    known = ratchet.parse(text, None if asked.update else probes)
    found: list[str] = []
    with tempfile.TemporaryDirectory(prefix="vgpu-escape-") as name:
        place = Path(name)
        place.chmod(0o755)
        (place / "control").mkdir()
        control = where_files_are_real(place / "control")
        chosen: list[Any] = asked.provider or list(known) or ["preload"]
        for provider in chosen:
            results = under(provider, place / provider)
            entries = known.get(provider, {})
            found += ratchet.differences(provider, results, entries, control)
            known[provider] = ratchet.updated(entries, results, control)
    print(*found, sep="\n", end="\n" * bool(found))
    if not asked.update:
        return int(bool(found))
    ratchet.FILE.write_text(ratchet.render(known), encoding="utf-8")
    table.FILE.write_text(table.render(known, probes), encoding="utf-8")
    bare = [probe for entries in known.values() for probe, entry in entries.items() if not entry.reason]
    print(f"{ratchet.FILE}: {len(bare)} without a reason")
    return int(bool(bare))


sys.exit(main())
