"""`python -m tensorlift`: full disks, closed pipes, encodings of few letters."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tensorlift.__main__ import main
from tensorlift._bench import command, harness

FULL = Path("/dev/full")
COMMANDS = [["info"], ["demo"], ["explain", "a.npy"], ["--help"], [], ["info", "--help"]]
STREAMS = ("stdout", "stderr")

needs_full = pytest.mark.skipif(not FULL.exists(), reason="has no /dev/full")


@pytest.fixture(autouse=True)
def _folder_with_an_array(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("a.npy", np.arange(6))


def exit_status(*arguments: str) -> int | str | None:
    try:
        return main(arguments)
    except SystemExit as exit_:  # of argparse
        return exit_.code


@pytest.fixture(params=[True, False], ids=["buffered", "unbuffered"])
def writer(request):
    """Opens a path or descriptor as Python opens standard output, without PYTHONUNBUFFERED or with.

    What is opened is closed at the end, for which nothing may be left in a buffer.
    """
    streams = []

    def open_(file: str | int) -> io.TextIOWrapper:
        binary = open(file, "wb", buffering=-1 if request.param else 0)  # noqa: SIM115
        streams.append(io.TextIOWrapper(binary, write_through=not request.param))
        return streams[-1]

    yield open_
    for stream in streams:
        stream.close()


@needs_full
@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_full_disk_is_one_sentence(arguments, writer, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", writer(str(FULL)))
    assert exit_status(*arguments) == 1
    assert capsys.readouterr().err == (
        "tensorlift: the output cannot be written: No space left on device\n"
    )


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_closed_pipe_is_silent(arguments, writer, monkeypatch, capsys):
    read, write = os.pipe()
    os.close(read)
    monkeypatch.setattr(sys, "stdout", writer(write))
    assert exit_status(*arguments) == 1
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_no_standard_output_is_one_sentence(arguments, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", None)
    assert exit_status(*arguments) == 1
    assert capsys.readouterr().err == (
        "tensorlift: the output cannot be written: standard output is closed\n"
    )


@pytest.mark.parametrize("arguments", [["explain", "missing.npy"], ["explain"]], ids=len)
def test_a_mistake_without_standard_error(arguments, monkeypatch, capsys):
    """The exit status tells; the sentence does not become a part of the output."""
    monkeypatch.setattr(sys, "stderr", None)
    assert exit_status(*arguments) == len(arguments) % 2 + 1
    assert capsys.readouterr().out == ""


@needs_full
@pytest.mark.parametrize(
    ("arguments", "full", "status"),
    [
        (["info"], ["stdout"], 1),
        (["info"], ["stdout", "stderr"], 1),
        (["explain"], ["stderr"], 2),
        (["explain", "missing.npy"], ["stderr"], 1),
    ],
)
def test_the_exit_status_of_the_process(arguments, full, status):
    """Which Python makes 120 where it fails to write the rest at its exit."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    with FULL.open("wb") as no_space:
        streams = {name: no_space if name in full else subprocess.PIPE for name in STREAMS}
        done = subprocess.run(
            [sys.executable, "-m", "tensorlift", *arguments],
            env=environment,
            text=True,
            **streams,
        )
    assert done.returncode == status
    assert "Traceback" not in (done.stderr or "")


@pytest.mark.parametrize("name", ["größe.npy", "数.npy"])
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_letters_that_the_encoding_does_not_have(name, encoding, monkeypatch):
    """Are escapes in the output, which is otherwise as ever."""
    np.save(name, np.arange(6))
    binary = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(binary, encoding))
    assert main(["explain", name]) == 0
    rows = binary.getvalue().decode(encoding).splitlines()
    assert rows[3].startswith(name.encode(encoding, "backslashreplace").decode(encoding) + " ")
    assert rows[3].endswith("same memory   48 B")


def test_bytes_of_a_name_that_are_no_text(capsys):
    np.save(os.fsdecode(b"\xff.npy"), np.arange(6))
    assert main(["explain", os.fsdecode(b"\xff.npy")]) == 0
    assert "'\\udcff.npy'" in capsys.readouterr().out
    assert main(["explain", os.fsdecode(b"\xff")]) == 1
    assert capsys.readouterr().err == "tensorlift: '\\udcff': No such file or directory\n"


@needs_full
@pytest.mark.parametrize("option", ["--json", "--plot"])
def test_a_full_disk_for_the_results(option, monkeypatch, capsys):
    same = harness.Case("a case", 1, {w: lambda: [torch.ones(1)] for w in ("ours", "theirs")})
    suite = harness.Suite("convert", "Is it so?", lambda settings: [lambda: same])
    monkeypatch.setattr(command, "SUITES", {"convert": suite})
    path = FULL
    if option == "--plot":  # which wants a name that tells the format
        pytest.importorskip("matplotlib")
        path = Path("full.png")
        path.symlink_to(FULL)
    assert main(["bench", "--suite", "convert", "--quick", option, str(path)]) == 1
    assert capsys.readouterr().err == (
        f"tensorlift: {path}: cannot be written: No space left on device\n"
    )


def test_a_file_for_the_results_that_may_not_be_written(monkeypatch, capsys):
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) != "a.json")
    Path("a.json").touch()
    assert main(["bench", "--quick", "--suite", "cast", "--json", "a.json"]) == 1
    assert "a.json: cannot be written" in capsys.readouterr().err
