"""The build: which torch is found, and what a user is told where it cannot work."""

import importlib.machinery
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import tensorlift
from support.build_hooks import BACKEND, BUILD, run
from support.tree import ROOT
from tensorlift._import_checks import build_check

pytest.importorskip("setuptools")


@pytest.fixture
def fake_python(tmp_path):
    """Makes an interpreter whose torch has the given version, or none."""

    def make(version: str | None) -> str:
        site = tmp_path / "site"
        if version is not None:
            (site / "torch" / "include" / "ATen").mkdir(parents=True)
            (site / "torch" / "__init__.py").touch()
            (site / "torch" / "version.py").write_text(f"__version__ = {version!r}\n")
        site.mkdir(exist_ok=True)
        python = tmp_path / "python"
        python.write_text(
            f'#!/bin/sh\nPYTHONPATH="{site}" exec "{sys.executable}" -S "$@"\n'  # no site-packages
        )
        python.chmod(0o755)
        return str(python)

    return make


def requirements(**environment: str) -> subprocess.CompletedProcess[str]:
    code = "import tensorlift_build as b; print(b.get_requires_for_build_wheel())"
    return run(code, **environment)


def test_the_installed_torch_is_found():
    result = requirements()
    assert result.returncode == 0, result.stderr
    assert "torch" not in result.stdout
    assert f"building against torch {torch.__version__}" in result.stderr


def test_without_torch_a_supported_one_is_required(fake_python):
    result = requirements(TENSORLIFT_TORCH_PYTHON=fake_python(None))
    assert result.returncode == 0, result.stderr
    assert "torch>=2.8,<2.16" in result.stdout


def test_an_old_torch_is_one_sentence(fake_python):
    result = requirements(TENSORLIFT_TORCH_PYTHON=fake_python("2.7.1+cu128"))
    assert result.returncode == 1
    assert result.stderr.startswith(
        "tensorlift: expected torch 2.8 or newer, got torch 2.7.1+cu128"
    )
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("version", ["2.8.0", "2.15.1+cu130", "2.16.0.dev20261101", "3.0.0"])
def test_newer_torches_are_tried(fake_python, version):
    result = requirements(TENSORLIFT_TORCH_PYTHON=fake_python(version))
    assert result.returncode == 0, result.stderr
    assert f"building against torch {version}" in result.stderr


def test_an_old_setuptools_is_one_sentence(tmp_path):
    (tmp_path / "setuptools.py").write_text('__version__ = "65.5.0"')
    path = os.pathsep.join([str(tmp_path), str(BACKEND)])
    result = run("import tensorlift_build", PYTHONPATH=path)
    assert result.returncode == 1
    assert result.stderr.startswith("tensorlift: expected setuptools 77 or newer")
    assert len(result.stderr.splitlines()) == 1


def test_a_python_that_does_not_exist_is_one_sentence():
    result = requirements(TENSORLIFT_TORCH_PYTHON="/no/such/python")
    assert result.returncode == 1
    assert "cannot run /no/such/python" in result.stderr
    assert "Traceback" not in result.stderr


def test_no_torch_at_build_time_is_one_sentence(fake_python):
    result = run(BUILD, TENSORLIFT_TORCH_PYTHON=fake_python(None))
    assert result.returncode == 1
    assert "tensorlift: expected an installed torch to compile against" in result.stderr
    assert "Traceback" not in result.stderr


def test_another_build_environment_compiles_nothing_again(tmp_path):
    """Each isolated build has NumPy's headers in a folder of its own."""
    (tmp_path / "csrc").symlink_to(ROOT / "csrc")
    log = tmp_path / "compiled"
    compiler = tmp_path / "c++"
    compiler.write_text(
        f'#!/bin/sh\ncase "$*" in *-fsyntax-only*) exit 0;; esac\necho "$*" >> {log}\n'
        'while [ "$1" != -o ]; do shift; done\necho made > "$2"\n'
    )
    compiler.chmod(0o755)
    for environment in ("one", "another"):
        numpy = tmp_path / environment / "numpy"
        (numpy / "include").mkdir(parents=True)
        (numpy / "__init__.py").write_text(
            "import os, types\n__version__ = '2.0.0'\n"
            "lib = types.SimpleNamespace(NumpyVersion=str)\n"
            "def get_include(): return os.path.join(os.path.dirname(__file__), 'include')\n"
        )
        path = os.pathsep.join([str(BACKEND), str(numpy.parent)])
        result = run(BUILD, tmp_path, CXX=str(compiler), PYTHONPATH=path)
        assert result.returncode == 0, result.stdout + result.stderr
    commands = log.read_text().splitlines()
    assert len(commands) == len(set(commands)), "the same was made twice"
    assert sum(" -c " in command for command in commands) > 5
    assert not [command for command in commands if "/one/" in command or "/another/" in command]
    (link,) = tmp_path.glob("build/ninja-*/numpy")
    assert link.resolve() == numpy / "include"


def library(folder: Path, version: str) -> Path:
    path = folder / f"_C{importlib.machinery.EXTENSION_SUFFIXES[0]}"
    path.write_bytes(b"\x7fELF..TENSORLIFT_BUILT_FOR_TORCH=" + version.encode() + b"\0rest")
    return path


def test_another_torch_minor_is_one_import_error(tmp_path):
    library(tmp_path, "2.11.0+cu130")
    with pytest.raises(ImportError) as caught:
        build_check.load_native("tensorlift", tmp_path, installed="2.13.0+cpu")
    message = str(caught.value)
    assert "was compiled for torch 2.11.0+cu130, and torch 2.13.0+cpu is installed" in message
    assert f"{sys.executable} -m pip install --force-reinstall" in message


def test_another_patch_release_is_fine():
    major, minor = torch.__version__.split(".")[:2]
    folder = Path(tensorlift.__file__).parent
    build_check.load_native("tensorlift", folder, installed=f"{major}.{minor}.99+other")


def test_a_module_for_another_python_is_one_import_error(tmp_path):
    (tmp_path / "_C.cpython-399-x86_64-linux-gnu.so").touch()
    with pytest.raises(ImportError, match=r"for this Python, found \['_C.cpython-399"):
        build_check.load_native("tensorlift", tmp_path)


def test_a_module_that_does_not_load_says_so(tmp_path, monkeypatch):
    package = tmp_path / "broken_package"
    package.mkdir()
    (package / "__init__.py").touch()
    library(package, torch.__version__)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match="does not load with the torch"):
        build_check.load_native("broken_package", package)


def test_the_binary_says_what_it_was_built_for():
    import tensorlift

    version = tensorlift._C.built_for_torch
    assert version.split(".")[:2] == torch.__version__.split(".")[:2]


def test_the_sdist_holds_what_a_build_needs(tmp_path):
    code = f"""
        import tensorlift_build
        print("sdist:" + tensorlift_build.build_sdist({str(tmp_path)!r}))
    """
    result = run(code)
    assert result.returncode == 0, result.stderr
    import tarfile

    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    needed = {name for name in tracked if not name.startswith(".")}
    assert needed - names == set()
    assert not [name for name in names if name.endswith((".so", ".o", ".pyc"))]
