"""The build's hooks under several pips, up to the metadata: no compiler runs.

Some pips (25.0 to 26.2) answer every metadata look-up of a hook from the backend's folder, whatever
name is asked for. Metadata of ours beside the backend would make setuptools' version our own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from support.tree import NOT_COPIED, ROOT

pytestmark = pytest.mark.long

PIPS = ["24.0", "25.0", "26.2", "newest"]


def download(requirement: str, folder: Path) -> Path:
    """The wheel of a requirement, or a skip where no package index is reached."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--retries=0"]
    command += ["--timeout=20", "--only-binary=:all:", "--dest", str(folder), requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"cannot download {requirement}: {done.stderr.strip().splitlines()[-1]}")
    (wheel,) = folder.glob("*.whl")
    return wheel


def write_empty_wheel(folder: Path, name: str, version: str) -> None:
    """A wheel with metadata alone: enough to be asked for and installed."""
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")


@pytest.fixture(scope="module")
def index(tmp_path_factory) -> Path:
    """A folder with what the build asks for; the hooks up to the metadata use setuptools alone."""
    folder: Path = tmp_path_factory.mktemp("index")
    download("setuptools>=77", folder)
    write_empty_wheel(folder, "ninja", "1.13.0")
    write_empty_wheel(folder, "numpy", "2.0.0")
    return folder


def files_of(tree: Path) -> set[str]:
    names = {str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_file()}
    return {name for name in names if not name.startswith("build/")}


@pytest.mark.parametrize("version", PIPS)
def test_pip_installs_three_times_in_one_clone(version, index, tmp_path):
    wheel = download("pip" if version == "newest" else f"pip=={version}", tmp_path)
    pip = tmp_path / "pip"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(pip)
    clone = tmp_path / "clone"
    shutil.copytree(ROOT, clone, ignore=shutil.ignore_patterns(*NOT_COPIED))
    before = files_of(clone)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "PYTHONPATH"))}
    environment = kept | {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_FIND_LINKS": str(index),
        "PIP_NO_INDEX": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "TENSORLIFT_TORCH_PYTHON": sys.executable,
    }
    command = [sys.executable, str(pip / "pip"), "install", "--dry-run", "--no-deps"]
    command += ["--ignore-installed"]
    for what in (["."], ["."], ["."], ["-e", "."]):
        done = subprocess.run(
            [*command, *what],
            cwd=clone,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
        assert "Would install tensorlift-" in done.stdout
    assert files_of(clone) - before == set(), "written into the source tree"
