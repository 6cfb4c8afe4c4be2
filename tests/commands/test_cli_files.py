"""Files that the command line is given: headers are enough for it, and names may mean harm."""

from __future__ import annotations

import contextlib
import struct
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tensorlift.__main__ import main
from tensorlift._cli import files

MIB = 1 << 20


# ---- elements are not read


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 3), (0,), (4, 0, 2), (1, 5, 1), (2,) * 20])
@pytest.mark.parametrize("dtype", ["<f4", ">i8", "?", "<M8[s]", "<U3", "<U0", [("a", "u1")]])
def test_a_header_is_as_good_as_the_array(shape, order, dtype, tmp_path):
    """For explain: layout, dtype and flags are those of the array that would be read."""
    path = str(tmp_path / "a.npz")
    np.savez(path, x=np.zeros(shape, np.dtype(dtype), order))
    ((name, read),) = files.load([path])
    ((same_name, header),) = files.load([path], elements=False)
    assert name == same_name == f"{path}:x"
    assert header.strides == read.strides or 0 in shape  # where they mean nothing
    for what in ("shape", "dtype", "nbytes"):
        assert getattr(header, what) == getattr(read, what)
    for flag in ("WRITEABLE", "ALIGNED"):
        assert header.flags[flag] == read.flags[flag]


@contextlib.contextmanager
def little_memory() -> Iterator[None]:
    """Fails where more than 2 MiB are needed at one time."""
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * MIB


def header(nbytes: int) -> bytes:
    """Of an array of so many bytes."""
    text = repr({"descr": "|u1", "fortran_order": False, "shape": (nbytes,)}).encode()
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text


def archive(path: Path, compression: int, begin: bytes, zeros: int) -> str:
    """A .npz file with an array x, whose content begins so and ends in zeros."""
    with zipfile.ZipFile(path, "w", compression) as file, file.open("x.npy", "w") as member:
        member.write(begin)
        for _ in range(zeros // MIB):
            member.write(bytes(MIB))
    return str(path)


def test_explain_of_an_archive_reads_headers_alone(tmp_path, capsys):
    path = archive(tmp_path / "a.npz", zipfile.ZIP_DEFLATED, header(32 * MIB), 32 * MIB)
    with little_memory():
        assert main(["explain", path]) == 0
    assert "1 shared (32 MiB)" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["demo", "explain"])
def test_a_header_that_promises_more_than_there_is(command, tmp_path, capsys):
    path = archive(tmp_path / "a.npz", zipfile.ZIP_DEFLATED, header(1 << 31), 0)
    with little_memory():
        assert main([command, path]) == 1
    assert capsys.readouterr().err == (
        f"tensorlift: {path}:x: cannot be read: expected 2147483648 bytes of elements, as its "
        "header says, got 0\n"
    )


@pytest.mark.parametrize("suffix", ["npy", "npz"])
@pytest.mark.parametrize("command", ["demo", "explain"])
def test_a_header_that_says_it_is_long(command, suffix, tmp_path, capsys):
    begin = b"\x93NUMPY\2\0" + struct.pack("<I", 1 << 31)
    path = archive(tmp_path / "a.npz", zipfile.ZIP_DEFLATED, begin, 16 * MIB)
    if suffix == "npy":
        path = str(tmp_path / "a.npy")
        with Path(path).open("wb") as file:
            file.write(begin)
            file.truncate(1 << 32)
    with little_memory():
        assert main([command, path]) == 1
    assert "cannot be read: EOF: reading array header" in capsys.readouterr().err


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_compression_that_inflates_at_once_is_refused(compression, tmp_path, capsys):
    path = archive(tmp_path / "a.npz", compression, header(16 * MIB), 16 * MIB)
    with little_memory():
        assert main(["explain", path]) == 1
    assert "a.npz:x: is compressed in a way that NumPy does not write" in capsys.readouterr().err


def test_the_demo_asks_for_the_memory_before_it_reads(tmp_path, monkeypatch, capsys):
    path = archive(tmp_path / "a.npz", zipfile.ZIP_DEFLATED, header(16 * MIB), 16 * MIB)
    monkeypatch.setattr("tensorlift._cli.demo.available_memory", lambda: 95 * MIB)
    with little_memory():
        assert main(["demo", path]) == 1
    assert "the demo would need 96 MiB of memory, of which 95 MiB" in capsys.readouterr().err


@pytest.mark.parametrize("shape", ["(-1,)", "(1 << 62, 4)", f"({1 << 62}, {1 << 62})", "(1,) * 99"])
@pytest.mark.parametrize("command", ["demo", "explain"])
def test_a_shape_that_no_array_has(command, shape, tmp_path, capsys):
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}".encode()
    begin = b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text
    path = archive(tmp_path / "a.npz", zipfile.ZIP_STORED, begin, 0)
    assert main([command, path]) == 1
    assert ": cannot be read: " in capsys.readouterr().err


# ---- names are printed

EVIL = "x\x1b[31m\r\n\u202e\x07y"
QUOTED = repr(EVIL)[1:-1]
BENCH = ["bench", "--quick", "--suite", "cast"]


def only_text(*texts: str) -> None:
    for text in texts:
        assert all(line.isprintable() for line in text.split("\n")), ascii(text)


@pytest.mark.parametrize("command", ["demo", "explain"])
def test_names_of_arrays_and_fields_cannot_steer_the_terminal(command, tmp_path, capsys):
    path = tmp_path / "a.npz"
    fields = np.zeros(3, [(EVIL, "f4")])
    np.savez(path, **{EVIL: np.ones(3), "fields": fields, EVIL + "2": np.array(["text"])})
    assert main([command, str(path)]) == 0
    out = capsys.readouterr().out
    only_text(out)
    assert f"'{path}:{QUOTED}'" in out
    assert f"'{path}:{QUOTED}2': expected a dtype with a torch counterpart" in out
    assert len(out.partition("\nBoth")[0].splitlines()) == 8 - (command == "demo")


@pytest.mark.parametrize("command", ["demo", "explain"])
def test_names_in_errors_cannot_either(command, tmp_path, capsys):
    np.savez(tmp_path / "objects.npz", **{EVIL: np.array([None])})
    np.savez(tmp_path / (EVIL + ".npz"))
    (tmp_path / (EVIL + ".npy")).write_bytes(b"no array")
    for name in ("objects.npz", f"{EVIL}.npz", f"{EVIL}.npy", EVIL):
        assert main([command, str(tmp_path / name)]) == 1
        error = capsys.readouterr().err
        only_text(error)
        assert error.count("\n") == 1
        assert QUOTED in error


@pytest.mark.parametrize(
    "arguments",
    [
        *(["explain", "a", "--dtype", EVIL], ["explain", "a", "--operation", EVIL]),
        *(["demo", f"--{EVIL}"], [EVIL], [*BENCH, "--only", EVIL]),
        *([*BENCH, "--json", f"no/{EVIL}"], [*BENCH, "--plot", EVIL], [*BENCH, "--dtype", EVIL]),
        *([*BENCH, "--device", EVIL], [*BENCH, "--shape", EVIL]),
    ],
    ids=lambda arguments: " ".join(arguments).replace(EVIL, "EVIL"),
)
def test_a_name_given_to_an_option_cannot_either(arguments, capsys):
    with pytest.raises(SystemExit):
        raise SystemExit(main(arguments))
    captured = capsys.readouterr()
    only_text(captured.out, captured.err)
    assert "x" + QUOTED[1:] in captured.err


def test_values_of_the_environment_cannot_either(monkeypatch, capsys):
    monkeypatch.setenv("OMP_PROC_BIND", EVIL)
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    only_text(out)
    assert f"OMP_PROC_BIND={QUOTED}" in out
