"""Fetches files of Debian packages without installing anything: ``debian.py FOLDER COMPONENT PACKAGE=FILE...``.

apt works in a folder of its own: its own sources list, lists, cache and state. The mirror and the keyring are those of
the system's sources. Nothing of the packages but those files is kept, and no script of theirs runs.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SUITE = "bookworm"
"""Debian 12, whose driver is of the branch 535."""

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_TARGET = "$(REPO_URI) $(RELEASE) $(COMPONENT)"


def mirror() -> str:
    """The system's own Debian mirror."""
    command = ["apt-get", "indextargets", "--format", _TARGET, "Created-By: Packages"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    for line in found.splitlines():
        uri, release, component = line.split()
        if component == "main" and uri.rstrip("/").endswith("/debian") and "-" not in release:
            return uri
    raise SystemExit("the system's sources name no Debian mirror; run this on Debian, or in a container of it")


def fetch(folder: Path, component: str, packages: dict[str, str]) -> None:
    """Puts one file of each package into a folder, which then has all or is not there.

    Args:
        folder: where to.
        component: of the archive: "contrib", "non-free".
        packages: the name of the file that is wanted, by the package's name; a link to it is kept as a link.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="debian-", dir=folder.parent) as directory:
        place = Path(directory)
        for part in ("lists/partial", "cache/archives/partial", "state", "packages", "unpacked", "files"):
            (place / part).mkdir(parents=True)
        (place / "status").touch()
        (place / "sources.list").write_text(f"deb [signed-by={KEYRING}] {mirror()} {SUITE} {component}\n")
        settings = {
            "Dir::Etc::sourcelist": place / "sources.list",
            "Dir::Etc::sourceparts": "-",
            "Dir::State": place / "state",
            "Dir::State::lists": place / "lists",
            "Dir::State::status": place / "status",
            "Dir::Cache": place / "cache",
            "APT::Sandbox::User": "",
            "Acquire::Languages": "none",
        }
        apt = ["apt-get", "-q", *(word for key, value in settings.items() for word in ("-o", f"{key}={value}"))]
        subprocess.run([*apt, "update"], timeout=300, check=True)
        subprocess.run([*apt, "download", *packages], cwd=place / "packages", timeout=300, check=True)
        for package in (place / "packages").glob("*.deb"):
            print(package.name)
            subprocess.run(["dpkg-deb", "-x", package, place / "unpacked"], timeout=120, check=True)
        for name in packages.values():
            (real,) = {path.resolve() for path in (place / "unpacked").rglob(name) if path.is_file()}
            shutil.copy(real, place / "files" / real.name)
            if real.name != Path(name).name:
                (place / "files" / Path(name).name).symlink_to(real.name)
        (place / "files").chmod(0o755)
        (place / "files").replace(folder)


if __name__ == "__main__":
    target = Path(sys.argv[1]).absolute()
    if not target.is_dir():
        fetch(target, sys.argv[2], dict(word.split("=") for word in sys.argv[3:]))
    print(*sorted(path.name for path in target.iterdir()))
