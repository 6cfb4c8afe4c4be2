"""Whoever has to install again is given a command that builds what was installed, from its source.

The package's name is on no index: a command that names it there would run whatever a stranger puts
under that name.
"""

from __future__ import annotations

import json
import re
import sys
from importlib import metadata

import pytest

from support.tree import ROOT
from tensorlift._import_checks import reinstall

PIP = f"{sys.executable} -m pip install --force-reinstall --no-cache-dir --no-deps"


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Makes a record of an installation, as an installer leaves it."""

    def make(installer: str = "pip\n", **direct_url: object) -> None:
        info = tmp_path / "tensorlift-0.1.0.dist-info"
        info.mkdir()
        (info / "INSTALLER").write_text(installer)
        if direct_url:
            (info / "direct_url.json").write_text(json.dumps(direct_url))
        monkeypatch.setattr(metadata, "distribution", lambda name: metadata.PathDistribution(info))

    return make


def test_the_folder_that_it_was_built_from(installed, tmp_path):
    clone = tmp_path / "a clone"
    clone.mkdir()
    installed(url=clone.as_uri(), dir_info={})
    assert reinstall.reinstall_command().endswith(f": {PIP} '{clone}'")


def test_an_editable_one_stays_editable(installed, tmp_path):
    installed(url=tmp_path.as_uri(), dir_info={"editable": True})
    assert reinstall.reinstall_command().endswith(f": {PIP} -e {tmp_path}")


def test_uv_installs_again_what_uv_installed(installed, tmp_path):
    installed(installer="uv", url=tmp_path.as_uri(), dir_info={})
    command = f"uv pip install --python {sys.executable} --reinstall --no-deps {tmp_path}"
    assert reinstall.reinstall_command().endswith(f": {command}")


@pytest.mark.parametrize("url", ["dist/tensorlift-0.1.0-py3-none-any.whl", "no_longer_there"])
def test_a_wheel_or_a_folder_that_is_gone_cannot_be_built_again(url, installed, tmp_path):
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist" / "tensorlift-0.1.0-py3-none-any.whl").touch()
    installed(url=(tmp_path / url).as_uri(), archive_info={})
    assert reinstall.reinstall_command().endswith(f", in a clone of its repository: {PIP} .")


def test_without_a_record(installed, monkeypatch):
    installed()
    assert reinstall.reinstall_command().endswith(f", in a clone of its repository: {PIP} .")

    def missing(name: str) -> metadata.Distribution:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    assert reinstall.reinstall_command().endswith(f", in a clone of its repository: {PIP} .")


def test_nothing_says_to_install_the_name_from_an_index():
    by_name = re.compile(r"""pip install(\s+-\S+)*\s+["']?tensorlift(?![\w/.])""")
    assert by_name.search('pip install "tensorlift[bench]"')
    files = [*ROOT.glob("*.md"), *(ROOT / "benchmarks").rglob("*.md")]
    files += [*(ROOT / "python").rglob("*.py"), *(ROOT / "python").rglob("*.md")]
    assert len(files) > 50
    for path in files:
        assert (found := by_name.search(path.read_text())) is None, f"{path}: {found}"
