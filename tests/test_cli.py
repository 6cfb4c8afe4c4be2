"""`python -m tensorlift`: works, helps, and never shows a traceback for a user's mistake."""

import subprocess
import sys

import numpy as np
import torch

import tensorlift
from tensorlift.__main__ import main


def test_demo_without_files(capsys):
    assert main(["demo"]) == 0
    out = capsys.readouterr().out
    assert "negative stride" in out
    assert "foreign byte order" in out
    assert "Both paths agree on 11 tensors." in out


def test_demo_with_files(tmp_path, capsys):
    np.save(tmp_path / "a.npy", np.arange(6).reshape(2, 3))
    np.savez(tmp_path / "b.npz", x=np.ones(3, ">f4"), y=np.array(["text"]))
    assert main(["demo", str(tmp_path / "a.npy"), str(tmp_path / "b.npz")]) == 0
    out = capsys.readouterr().out
    assert "b.npz:x" in out
    assert "foreign byte order" in out
    assert "arrays[2]: expected a dtype with a torch counterpart, got <U4" in out
    assert "Both paths agree on 2 tensors." in out


def test_demo_with_nan(tmp_path, capsys):
    np.save(tmp_path / "nan.npy", np.array([1, np.nan]))
    assert main(["demo", str(tmp_path / "nan.npy")]) == 0
    assert "Both paths agree on 1 tensors." in capsys.readouterr().out


def test_mistakes_are_one_line(tmp_path, capsys):
    (tmp_path / "bad.npy").write_bytes(b"no array")
    (tmp_path / "bad.npz").write_bytes(b"no zip")
    np.save(tmp_path / "objects.npy", np.array([None]), allow_pickle=True)
    np.save(tmp_path / "text.npy", np.array(["a"]))
    (tmp_path / "worse.npz").write_bytes(b"PK\3\4 no zip")
    for name in ("worse.npz", "missing.npy", "bad.npy", "bad.npz", "objects.npy", "text.npy"):
        assert main(["demo", str(tmp_path / name)]) == 1
        captured = capsys.readouterr()
        assert captured.err.startswith("tensorlift: ")
        assert len(captured.err.splitlines()) == 1


def test_info(capsys):
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    for fact in (tensorlift.__version__, torch.__version__, np.__version__, "threads"):
        assert fact in out


def test_as_a_program():
    def run(*arguments):
        command = [sys.executable, "-m", "tensorlift", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert tensorlift.__version__ in run("--version").stdout
    helped = run("--help")
    assert helped.returncode == 0
    assert "examples:" in helped.stdout
    assert run("no-such-command").returncode == 2
    assert run().returncode == 2
    assert run("demo", "missing.npy").returncode == 1
