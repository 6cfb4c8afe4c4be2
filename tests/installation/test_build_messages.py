"""What a build lacks is said in one sentence; no compiler runs, scripts stand for it."""

from __future__ import annotations

import importlib
import os
import re
from pathlib import Path

import numpy as np
import pytest

from support.build_hooks import BACKEND, BUILD, run
from support.tree import ROOT

pytest.importorskip("setuptools")

# Where the compiler would be next.
needs_numpy_2 = pytest.mark.skipif(
    np.lib.NumpyVersion(np.__version__) < "2.0.0", reason="NumPy 1 is refused before"
)

NO_HEADERS = """
    import sysconfig
    real = sysconfig.get_path
    sysconfig.get_path = lambda name: "/no/headers" if name == "include" else real(name)
"""


@pytest.fixture
def tree(tmp_path):
    """A source tree with a build folder of its own."""
    (tmp_path / "csrc").symlink_to(ROOT / "csrc")
    return tmp_path


def sentence(code: str, tree: Path, **environment: str) -> str:
    """The last line of a build that fails, which shows no traceback."""
    result = run(code, tree, **environment)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    return result.stderr.splitlines()[-1]


@pytest.fixture
def fake_compiler(tmp_path):
    """Makes a compiler that accepts the probe or refuses it, and then does what is asked for."""

    def make(probe: str = "exit 0", compile_: str = "exit 1") -> str:
        program = tmp_path / "fake c++"
        program.write_text(f'#!/bin/sh\ncase "$*" in *-fsyntax-only*) {probe};; esac\n{compile_}\n')
        program.chmod(0o755)
        return f"'{program}'"

    return make


def test_no_compiler(tree):
    assert sentence(BUILD, tree, CXX="no-such-compiler").startswith(
        "tensorlift: expected a C++20 compiler, found no program 'no-such-compiler'. Install one ("
    )


def test_an_old_compiler(tree, fake_compiler):
    complaint = "c++: error: unrecognized command line option ‘-std=c++20’"
    compiler = fake_compiler(probe=f'echo "{complaint}" >&2; exit 1')
    message = sentence(BUILD, tree, CXX=compiler)
    assert message.startswith("tensorlift: expected a C++20 compiler (GCC 11, clang 14 or newer)")
    assert f"does not compile C++20 ({complaint})" in message


def test_a_compiler_that_dies_without_a_word(tree, fake_compiler):
    assert "(exit status 5)" in sentence(BUILD, tree, CXX=fake_compiler(probe="exit 5"))


def test_no_python_headers(tree):
    message = sentence(NO_HEADERS + BUILD, tree)
    assert re.match(
        r"tensorlift: expected the C headers of Python 3\.\d+, found no Python.h in /no/headers\. "
        r"Install them \(Debian: apt install python3\.\d+-dev, ",
        message,
    )


@needs_numpy_2
@pytest.mark.parametrize(
    "end",
    [
        "echo 'c++: fatal error: Killed signal terminated program cc1plus' >&2; exit 1",
        "kill -9 $$",
    ],
)
def test_a_compiler_that_the_system_ended(end, tree, fake_compiler):
    message = sentence(BUILD, tree, CXX=fake_compiler(compile_=end))
    assert (
        "the system ended the compiler, most likely for want of memory. Set MAX_JOBS=1" in message
    )


@needs_numpy_2
def test_sources_that_do_not_compile(tree, fake_compiler):
    compiler = fake_compiler(compile_="echo 'x.cpp:1: error: a mistake' >&2; exit 1")
    result = run(BUILD, tree, CXX=compiler)
    assert result.returncode == 1
    assert "error: a mistake" in result.stdout
    assert result.stderr.splitlines()[-1] == (
        "tensorlift: the C++ sources did not compile; the compiler's own words stand above."
    )


@needs_numpy_2
@pytest.mark.parametrize("jobs", ["0", "-1", "many"])
def test_max_jobs_is_a_number_of_jobs(jobs, tree, fake_compiler):
    message = sentence(BUILD, tree, CXX=fake_compiler(), MAX_JOBS=jobs)
    assert message == f"tensorlift: expected MAX_JOBS of 1 or more, got {jobs!r}."


@pytest.fixture
def jobs(monkeypatch):
    """The backend's module, on a machine with four cores."""
    monkeypatch.syspath_prepend(BACKEND)
    monkeypatch.delenv("MAX_JOBS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(4)), raising=False)
    return importlib.import_module("tensorlift_build.jobs")


GIB = 1 << 30


@pytest.mark.parametrize(
    ("available", "expected"),
    [(None, 4), (64 * GIB, 4), (5 * GIB, 4), (5 * GIB - 1, 3), (2 * GIB, 1), (0, 1)],
)
def test_jobs_by_memory(available, expected, jobs, monkeypatch, capsys):
    monkeypatch.setattr(jobs, "available_memory", lambda: available)
    assert jobs.parallel_jobs() == expected
    said = capsys.readouterr().err
    assert len(said.splitlines()) == (expected < 4)
    if expected < 4:
        assert f"compiling with {expected} instead of 4 at a time. MAX_JOBS sets" in said


def test_one_core_with_too_little_memory_is_told(jobs, monkeypatch, capsys):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0})
    monkeypatch.setattr(jobs, "available_memory", lambda: GIB)
    assert jobs.parallel_jobs() == 1
    assert "tensorlift: 1.0 GiB of memory are available" in capsys.readouterr().err


def test_max_jobs_overrides(jobs, monkeypatch, capsys):
    monkeypatch.setattr(jobs, "available_memory", lambda: 0)
    monkeypatch.setenv("MAX_JOBS", "3")
    assert jobs.parallel_jobs() == 3
    assert capsys.readouterr().err == ""


def system(folder: Path, cgroup: str, **files: str) -> tuple[Path, Path]:
    """/proc and /sys/fs/cgroup as files: 8 GiB available, and the given control groups."""
    proc, cgroups = folder / "proc", folder / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text(f"MemTotal: 1 kB\nMemAvailable: {8 * GIB >> 10} kB\n")
    (proc / "self" / "cgroup").write_text(cgroup)
    for name, text in files.items():
        path = cgroups / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return proc, cgroups


def test_memory_without_control_groups(jobs, tmp_path):
    assert jobs.available_memory(*system(tmp_path, "")) == 8 * GIB
    assert jobs.available_memory(tmp_path / "none", tmp_path / "none") is None


def test_memory_in_a_control_group_without_a_limit(jobs, tmp_path):
    files = {"a/memory.max": "max\n", "a/memory.current": f"{GIB}\n", "a/memory.stat": "anon 1\n"}
    assert jobs.available_memory(*system(tmp_path, "0::/a\n", **files)) == 8 * GIB


def test_memory_of_the_tightest_control_group(jobs, tmp_path):
    files = {
        "a/b/memory.max": f"{6 * GIB}\n",
        "a/b/memory.current": f"{GIB}\n",
        "a/memory.max": f"{4 * GIB}\n",
        "a/memory.current": f"{3 * GIB}\n",
        "a/memory.stat": f"anon 5\ninactive_file {2 * GIB}\n",  # pages of files can be given up
    }
    assert jobs.available_memory(*system(tmp_path, "0::/a/b\n", **files)) == 3 * GIB


def test_memory_of_a_control_group_that_is_full(jobs, tmp_path):
    files = {"memory.max": f"{GIB}\n", "memory.current": f"{GIB + 4096}\n"}
    assert jobs.available_memory(*system(tmp_path, "0::/\n", **files)) == 0


def test_memory_of_a_container_with_control_groups_of_version_1(jobs, tmp_path):
    """The path is the host's; in the container its own group is the folder above."""
    files = {
        "memory/memory.limit_in_bytes": f"{2 * GIB}\n",
        "memory/memory.usage_in_bytes": f"{GIB}\n",
        "memory/memory.stat": "total_inactive_file 0\n",
    }
    listed = "5:cpu:/docker/1f\n4:memory:/docker/1f\n0::/\n"
    assert jobs.available_memory(*system(tmp_path, listed, **files)) == GIB
