"""Builds a free-threaded Python from the distribution's source package: Debian, about 10 minutes.

The interpreter is kept, and used again. `TENSORLIFT_CPYTHON_SOURCE` names an archive of CPython's
source to take instead.
"""

from __future__ import annotations

import os
import re
import subprocess
import tarfile
from pathlib import Path

# Of Debian, by their roles: which of them has the newest source of that version changes.
_SUITES = ("unstable", "testing", "stable")


def _archive_of_debian() -> tuple[str, str]:
    """Where this system's packages come from, and the key that signs them."""
    folder = Path("/etc/apt")
    for file in [*sorted(folder.glob("sources.list.d/*.sources"))]:
        first = file.read_text().strip().split("\n\n")[0]
        fields = dict(re.findall(r"^([A-Za-z-]+): (.*)$", first, re.MULTILINE))
        if "main" in fields.get("Components", "") and "debian" in fields.get("Signed-By", ""):
            return fields["URIs"].split()[0], fields["Signed-By"]
    for line in (folder / "sources.list").read_text().splitlines():
        if found := re.match(r"deb (?:\[.*\] )?(\S+) \S+ .*main", line):
            return found[1], "/usr/share/keyrings/debian-archive-keyring.gpg"
    raise FileNotFoundError("no Debian archive in apt's sources")


def _download(package: str, folder: Path) -> Path:
    """The archive of the package's source, of the first suite that gives it."""
    uri, key = _archive_of_debian()
    lists = folder / "lists"
    (lists / "partial").mkdir(parents=True, exist_ok=True)
    sources = folder / "sources"
    sources.mkdir(exist_ok=True)
    options = [
        *("-o", f"Dir::Etc::sourceparts={sources}", "-o", "Dir::Etc::sourcelist=/dev/null"),
        *("-o", f"Dir::State::lists={lists}"),
    ]
    for suite in _SUITES:
        (sources / "python.sources").write_text(
            f"Types: deb-src\nURIs: {uri}\nSuites: {suite}\nComponents: main\nSigned-By: {key}\n"
        )
        for old in folder.glob(f"{package}_*"):
            old.unlink()
        commands = (["update"], ["source", "--download-only", package])
        done = [
            subprocess.run(
                ["apt-get", *options, "-q", *command], cwd=folder, check=False
            ).returncode
            for command in commands
        ]
        if done == [0, 0]:
            return next(folder.glob(f"{package}_*.orig.tar.?z"))
    raise FileNotFoundError(f"no suite of {', '.join(_SUITES)} gives the source of {package}")


def build_free_threaded(version: str, build: Path, *, thread_sanitizer: bool = False) -> Path:
    """The interpreter of a version like "3.13t" in a folder, built where it was not yet.

    Args:
        version: of Python.
        build: the folder for it, and for its source.
        thread_sanitizer: compiled with ThreadSanitizer, for tests/run_with_thread_sanitizer.py.

    Raises:
        OSError, subprocess.CalledProcessError: no source is to be had, or it does not build.
    """
    name = f"python{version}" + ("-tsan" if thread_sanitizer else "")
    prefix = build / name
    python = prefix / "bin" / f"python{version}"
    if python.exists():
        return python
    downloads = build / f"python{version}-download"
    downloads.mkdir(parents=True, exist_ok=True)
    package = f"python{version.removesuffix('t')}"
    given = os.environ.get("TENSORLIFT_CPYTHON_SOURCE")
    there = [Path(given)] if given else [*downloads.glob(f"{package}_*.orig.tar.?z")]
    archive = there[0] if there else _download(package, downloads)
    folder = build / f"{name}-source"
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    source = next(path for path in folder.glob("Python-*") if path.is_dir())
    options = ["--with-thread-sanitizer"] if thread_sanitizer else []
    for command in (
        ["./configure", "-q", "--disable-gil", f"--prefix={prefix}", *options],
        ["make", "-s", f"-j{os.cpu_count()}"],
        ["make", "-s", "install"],
    ):
        subprocess.run(command, cwd=source, check=True)
    return python
