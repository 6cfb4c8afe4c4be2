"""`python -m tensorlift profile`: a loader of a user's module."""

from __future__ import annotations

import json
import sys

import pytest

from tensorlift.__main__ import main

MODULE = """
import time
import tensorlift
from torch.utils.data import DataLoader

loader = DataLoader([1, 2, 3, 4], batch_size=2)
empty = DataLoader([])
seen = []

class Nested:
    loader = tensorlift.DevicePrefetcher(loader, "cpu")

def make():
    return loader

def step(batch):
    seen.append(batch.tolist())
    time.sleep(0.1)

def fail(batch):
    raise OSError("the disk is gone")
"""


@pytest.fixture(autouse=True)
def module(tmp_path, monkeypatch):
    (tmp_path / "a_program.py").write_text(MODULE)
    (tmp_path / "one_that_fails.py").write_text("import a_module_that_is_not_there")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield
    sys.modules.pop("a_program", None)


@pytest.mark.parametrize("name", ["loader", "make", "Nested.loader"])
def test_a_loader_and_a_step(name, capsys):
    assert main(["profile", f"a_program:{name}", "--step", "a_program:step"]) == 0
    assert capsys.readouterr().out.startswith("the model: Make the step faster")
    assert sys.modules["a_program"].seen == [[1, 2], [3, 4]]


def test_json(capsys):
    assert main(["profile", "a_program:loader", "--json", "--batches", "1"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["batches"] == 1
    assert sum(report["shares"]["consumer"].values()) == pytest.approx(1)


def test_a_picture(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    assert main(["profile", "a_program:loader", "--plot", "loader.png"]) == 0
    assert (tmp_path / "loader.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a_program"], "expected module:name such as train:loader, got a_program"),
        (["not_there:loader"], "not_there:loader: there is no module not_there here"),
        (["a_program.py:loader"], "a_program.py:loader: expected the name of a module, not of"),
        (["./a_program.py:loader"], "./a_program.py:loader: expected the name of a module"),
        (["a_program:other"], "a_program:other: the module has no other. Its loaders: loader, em"),
        (["json:loader"], "json:loader: the module has no loader, nor a loader. Name a function"),
        (["a_program:seen"], "loader: expected a torch.utils.data.DataLoader, or a"),
        (["a_program:empty"], "loader: expected at least one batch, got none"),
        (["a_program:loader", "--batches", "0"], "batches: expected at least 1, got 0"),
        (["a_program:loader", "--step", "a_program:seen"], "step: expected a function"),
        (["a_program:loader", "--plot", "a.txt"], "a.txt: expected a name ending in .png"),
        (["a_program:loader", "--plot", "no/a.png"], "no/a.png: cannot be written"),
    ],
)
def test_mistakes_are_a_sentence(arguments, message, capsys):
    assert main(["profile", *arguments]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith(f"tensorlift: {message}")
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_errors_of_the_users_modules_are_passed_on():
    with pytest.raises(OSError, match="the disk is gone"):
        main(["profile", "a_program:loader", "--step", "a_program:fail"])
    with pytest.raises(ModuleNotFoundError, match="a_module_that_is_not_there"):
        main(["profile", "one_that_fails:loader"])
