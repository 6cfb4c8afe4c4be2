"""`python -m tensorlift`: works, helps, and never shows a traceback for a user's mistake."""

import contextlib
import json
import pickle
import signal
import subprocess
import sys
import threading
from functools import partial

import numpy as np
import pytest
import torch

import tensorlift
from tensorlift.__main__ import main
from tensorlift._cli import demo as _demo


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
    assert "b.npz:y: expected a dtype with a torch counterpart, got <U4" in out
    assert "Both paths agree on 2 tensors." in out


def test_demo_with_nan(tmp_path, capsys):
    np.save(tmp_path / "nan.npy", np.array([1, np.nan]))
    assert main(["demo", str(tmp_path / "nan.npy")]) == 0
    assert "Both paths agree on 1 tensors." in capsys.readouterr().out


def broken(folder, name):
    """A file of that name with something wrong in it."""
    path = folder / name
    match name:
        case "bad.npy" | "bad.npz":
            path.write_bytes(b"no array")
        case "empty.npy":
            path.touch()
        case "worse.npz":
            path.write_bytes(b"PK\3\4 no zip")
        case "header.npy" | "elements.npy":
            np.save(path, np.arange(4))
            path.write_bytes(path.read_bytes()[: 40 if name == "header.npy" else -1])
        case "member.npz":
            np.savez(path, x=np.arange(100))
            path.write_bytes(path.read_bytes().replace(bytes(np.arange(8, 9)), b"12345678"))
        case "objects.npy":
            np.save(path, np.array([None]), allow_pickle=True)
        case "objects.npz":
            np.savez(path, x=np.array([None]))
        case "pickle.npy":
            path.write_bytes(pickle.dumps([1, 2]))
        case "weights.pt":
            torch.save({"a": torch.ones(3)}, path)
        case "none.npz":
            np.savez(path)
        case "folder":
            path.mkdir()
    return path


BROKEN = {
    "missing.npy": "No such file or directory",
    "folder": "Is a directory",
    "bad.npy": "is no array in a format of NumPy",
    "bad.npz": "is no array in a format of NumPy",
    "empty.npy": "is no array in a format of NumPy",
    "worse.npz": "cannot be read: File is not a zip file",
    "header.npy": "cannot be read: ",
    "elements.npy": "cannot be read: ",
    "member.npz": "cannot be read: ",
    "objects.npy": "holds Python objects",
    "objects.npz": "objects.npz:x: holds Python objects",
    "pickle.npy": "is no array in a format of NumPy",
    "weights.pt": "is no array in a format of NumPy",
    "none.npz": "there is no array in it",
}


@pytest.mark.parametrize("command", ["demo", "explain"])
@pytest.mark.parametrize(("name", "reason"), BROKEN.items())
def test_a_broken_file_is_one_sentence(command, name, reason, tmp_path, capsys):
    assert main([command, str(broken(tmp_path, name))]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("tensorlift: ")
    assert reason in captured.err
    assert captured.err.count("\n") == 1


class Trap:
    """Tells when it is unpickled."""

    def __reduce__(self):
        return pytest.fail, ("this was unpickled",)


def test_nothing_is_unpickled(tmp_path):
    np.save(tmp_path / "trap.npy", np.array([Trap()], object), allow_pickle=True)
    np.savez(tmp_path / "trap.npz", x=np.array([Trap()], object))
    (tmp_path / "pickle.npy").write_bytes(pickle.dumps(Trap()))
    for name in ("trap.npy", "trap.npz", "pickle.npy"):
        assert main(["explain", str(tmp_path / name)]) == 1


def test_demo_of_what_cannot_be_converted(tmp_path, capsys):
    np.save(tmp_path / "text.npy", np.array(["a"]))
    assert main(["demo", str(tmp_path / "text.npy")]) == 1
    assert capsys.readouterr().err == "tensorlift: none of these arrays can be converted\n"


def test_explain(tmp_path, capsys):
    np.save(tmp_path / "a.npy", np.arange(6).reshape(2, 3))
    np.save(tmp_path / "empty.npy", np.zeros((0, 3), np.float32))
    np.savez(tmp_path / "b.npz", x=np.ones(3, ">f4"), y=np.array(["text"]))
    files = [str(tmp_path / name) for name in ("a.npy", "b.npz", "empty.npy")]
    assert main(["explain", *files]) == 0
    headline, *rows = capsys.readouterr().out.splitlines()
    assert headline == "4 arrays: 2 shared (48 B), 1 copied (12 B), 1 rejected"
    assert rows[2].split()[-5:] == ["shared", "same", "memory", "48", "B"]
    assert "foreign byte order" in rows[3]
    assert "rejected" in rows[4]
    assert rows[-1].startswith(f"{tmp_path / 'b.npz'}:y: expected a dtype with a torch counterpart")


def test_explain_with_a_dtype(tmp_path, capsys):
    np.save(tmp_path / "a.npy", np.arange(6))
    for name in ("float32", "torch.float32"):
        assert main(["explain", str(tmp_path / "a.npy"), "--dtype", name]) == 0
        assert "int64 -> float32  copied   cast" in capsys.readouterr().out
    with pytest.raises(SystemExit) as exit_:
        main(["explain", str(tmp_path / "a.npy"), "--dtype", "nn"])
    assert exit_.value.code == 2
    assert "expected a dtype of torch such as float32, got 'nn'" in capsys.readouterr().err


def test_explain_takes_or_refuses_every_dtype_of_torch(tmp_path, capsys):
    """As from_numpy does; a refusal is one of the command line, with its sentence."""
    np.save(tmp_path / "a.npy", np.arange(6))
    refused = set()
    for name in sorted(n for n in dir(torch) if isinstance(getattr(torch, n), torch.dtype)):
        with pytest.raises(SystemExit) as exit_:
            raise SystemExit(main(["explain", str(tmp_path / "a.npy"), "--dtype", name]))
        if exit_.value.code != 0:
            assert exit_.value.code == 2
            assert "error: argument --dtype: expected a dtype of " in capsys.readouterr().err
            refused.add(name)
    assert {"qint8", "quint4x2"} <= refused
    assert refused.isdisjoint({"float16", "int64", "complex32", "bfloat16"})


def test_explain_of_a_batch_names_files(tmp_path, capsys):
    a, b = str(tmp_path / "a.npy"), str(tmp_path / "b.npy")
    np.save(a, np.ones((2, 3)))
    np.save(b, np.ones((2, 4)))
    assert main(["explain", a, b, "--operation", "stack"]) == 0
    assert f"{b}: expected shape (2, 3) like {a}, got (2, 4)" in capsys.readouterr().out


def test_explain_maps_a_file_larger_than_memory(tmp_path, capsys):
    path = tmp_path / "large.npy"
    with path.open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (1 << 38,)}
        np.lib.format.write_array_header_1_0(file, header)
        try:
            file.truncate(file.tell() + (1 << 40))
        except OSError:
            pytest.skip("this file system has no sparse files of 1 TiB")
    assert main(["explain", str(path)]) == 0
    assert "1 shared (1 TiB)" in capsys.readouterr().out
    if sys.platform == "linux":
        assert main(["demo", str(path)]) == 1
        assert "the demo would need 6 TiB of memory" in capsys.readouterr().err


TOPICS = (
    *("tensorlift", "torch", "numpy", "python", "system", "processor", "threads", "accelerator"),
    *("compiler", "cpu flags", "cpu capability", "libc", "memory", "shared memory"),
    *("sharing strategy", "limits", "environment", "torch build", "torch threads"),
)


def test_info(capsys, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("A_SECRET", "do not print")
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    for fact in (tensorlift.__version__, torch.__version__, np.__version__, *TOPICS):
        assert fact in out
    assert "OMP_NUM_THREADS=3" in out
    assert "do not print" not in out


def test_info_as_json(capsys):
    assert main(["info", "--json"]) == 0
    known = json.loads(capsys.readouterr().out)
    assert set(known) == set(TOPICS)
    assert all(isinstance(fact, (str, list)) for fact in known.values())
    if sys.platform == "linux":
        assert "unknown" not in known.values()
        assert "GCC" in known["compiler"] or "clang" in known["compiler"]


def test_interrupted(monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(_demo, "run", interrupt)
    assert main(["demo"]) == 130
    assert capsys.readouterr().err == ""


@contextlib.contextmanager
def killed_after(seconds, process):
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@pytest.mark.skipif(sys.platform == "win32", reason="has no signals of this kind")
def test_ctrl_c_while_it_measures():
    command = [sys.executable, "-m", "tensorlift", "bench", "--suite", "cast"]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    # Whoever runs tests in the background may have made their children ignore it.
    options["preexec_fn"] = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(command, **options) as process, killed_after(60, process):
        for line in process.stdout:
            if line.startswith("cast: "):
                break
        for _ in range(5):  # one that arrives inside of C code may be lost there
            process.send_signal(signal.SIGINT)
            try:
                _, err = process.communicate(timeout=10)
            except subprocess.TimeoutExpired:
                continue
            break
        else:
            process.kill()
            pytest.fail("not interrupted")
    assert process.returncode == 130
    assert err == ""


@pytest.mark.parametrize("command", [[], ["demo"], ["explain"], ["bench"], ["info"]])
def test_help_has_examples_and_exit_codes(command, capsys):
    with pytest.raises(SystemExit) as exit_:
        main([*command, "--help"])
    assert exit_.value.code == 0
    out = capsys.readouterr().out
    assert "examples:\n  python -m tensorlift " in out
    assert "exit status: 0 done; 1 " in out
    assert max(map(len, out.splitlines())) <= 100


@pytest.mark.parametrize("command", ["demo", "explain a.npy", "bench", "info"])
def test_a_wrong_option_shows_the_usage_of_its_command(command, capsys):
    with pytest.raises(SystemExit) as exit_:
        main([*command.split(), "--colour"])
    assert exit_.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"usage: python -m tensorlift {command.split()[0]} ")
    assert error.endswith("error: unrecognized arguments: --colour\n")


def test_as_a_program():
    def run(*arguments):
        command = [sys.executable, "-m", "tensorlift", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert tensorlift.__version__ in run("--version").stdout
    assert run("no-such-command").returncode == 2
    assert run("demo", "missing.npy").returncode == 1


def test_without_a_command_it_helps(capsys):
    assert main([]) == 0
    out = capsys.readouterr().out
    assert out.startswith("usage: python -m tensorlift ")
    assert out.count("\n  python -m tensorlift ") == 2  # examples
