"""`python -m tensorlift bench`: checks before it times, hides no loss, draws what it found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from support.tree import ROOT
from tensorlift.__main__ import main
from tensorlift._bench import batch, command, harness, plots, report, samples
from tensorlift._cli import terminal, written

RESULTS = sorted((ROOT / "benchmarks" / "results").glob("*.json"))


def case(**ways) -> harness.Case:
    return harness.Case("a case", 1, ways)


def result(ratio: float, **more) -> harness.Result:
    def timing(median: float) -> dict[str, float]:
        return {"median": median, "low": median * 0.9, "high": median * 1.1}

    known = {"case": "a case", "peer": "a peer", "ours": "ours", "arrays": 1, "at_least": None}
    times = {"ours_s": timing(1e-6), "peer_s": timing(ratio * 1e-6), "ratio": ratio}
    return {"suite": "convert", **known, **times, **more}


@pytest.mark.parametrize(
    "other",
    [
        [torch.tensor([1, 3])],
        [torch.tensor([1.0, 2.0])],
        [torch.tensor([[1, 2]])],
        [torch.tensor([1, 2])] * 2,
    ],
    ids=["values", "dtype", "shape", "number"],
)
def test_different_results_are_not_timed(other):
    with pytest.raises(harness.DifferentResultsError, match="theirs gives another result"):
        harness.check(case(ours=lambda: [torch.tensor([1, 2])], theirs=lambda: other))


def test_different_results_end_the_command_with_a_sentence(monkeypatch, capsys):
    wrong = case(ours=lambda: [torch.zeros(2)], theirs=lambda: [torch.ones(2)])
    suite = harness.Suite("convert", "Is it so?", lambda settings: [lambda: wrong])
    monkeypatch.setattr(command, "SUITES", {"convert": suite})
    assert main(["bench", "--suite", "convert", "--quick"]) == 1
    assert capsys.readouterr().err == (
        "tensorlift: a case: theirs gives another result than ours; not timed\n"
    )


@pytest.mark.parametrize(("load", "is_said"), [(0.0, False), (1000.0, True)])
def test_a_busy_machine_is_said(load, is_said, monkeypatch, capsys):
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
    suite = harness.Suite("convert", "Is it so?", lambda settings: [])
    monkeypatch.setattr(command, "SUITES", {"convert": suite})
    assert main(["bench", "--suite", "convert", "--quick"]) == 0
    assert ("This machine is busy: load 1000.0 on" in capsys.readouterr().out) == is_said


def test_optional_peers_that_do_not_run_are_named():
    def missing():
        raise ModuleNotFoundError("No module named 'cupy'")

    ways = {"ours": lambda: [torch.ones(1)]}
    optional = {"cupy": missing, "numpy": lambda: [torch.from_numpy(np.ones(1, np.float32))]}
    checked, left_out = harness.check(harness.Case("a case", 1, ways, optional))
    assert list(checked.ways) == ["ours", "numpy"]
    assert left_out == ["cupy: ModuleNotFoundError: No module named 'cupy'"]


def test_a_case_leaves_the_number_of_threads_alone():
    def one_thread():
        torch.set_num_threads(1)
        return []

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        checked, _ = harness.check(case(ours=one_thread, theirs=one_thread))
        assert torch.get_num_threads() == 2
        list(harness.measure(checked, 0.01))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_losses_are_in_the_table_and_once_more_below_it(capsys):
    results = [
        result(2.0, case="won"),
        result(0.5, case="lost"),
        result(1.02, case="even"),
        result(1.5, case="weak", at_least=2),
    ]
    report.show(results)
    out = capsys.readouterr().out
    rows = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    assert "we win" in rows["won"]
    assert rows["even"].endswith("even")
    assert rows["weak"].endswith("below promise")
    assert "WE LOSE" in out
    assert "4 comparisons: 2 won, 1 even, 1 lost; 1 below what is promised." in out
    assert out.endswith("  lost: lost against a peer (0.50)\n")


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_recorded_results_can_be_read(path, capsys):
    document = json.loads(path.read_text())
    compared = report.comparisons(document["results"])
    report.show(compared)
    out = capsys.readouterr().out
    assert all(r["case"] in out and r["peer"] in out for r in compared)
    assert out.count("WE LOSE") == sum(r["ratio"] < 0.95 for r in compared)
    assert document["machine"]["processor"] in plots.caption(document["machine"])


@pytest.fixture(scope="module")
def own_run(tmp_path_factory) -> Path:
    """A folder with results.json, and plots.png where matplotlib is installed."""
    folder: Path = tmp_path_factory.mktemp("bench")
    options = ["--arrays", "20", "--shape", "4,5", "--dtype", "uint8", "--quick"]
    options += ["--json", str(folder / "results.json")]
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        pass
    else:
        options += ["--plot", str(folder / "plots.png")]
    command = [sys.executable, "-W", "error", "-m", "tensorlift", "bench", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    (folder / "out.txt").write_text(done.stdout)
    return folder


def test_own_arrays_go_through_every_suite(own_run):
    document = json.loads((own_run / "results.json").read_text())
    assert list(document) == ["question", "machine", "results"]
    compared = report.comparisons(document["results"])
    suites = {"convert", "cast", "batch", "loader"}
    if torch.accelerator.is_available():
        suites.add("transfer")
    assert {r["suite"] for r in compared} == suites
    assert all("20 x uint8(4,5)" in r["case"] for r in compared if r["arrays"] == 20)
    for r in compared:
        assert set(r) - {"plot", "array_bytes"} == {
            *("suite", "case", "peer", "ours", "arrays", "ours_s", "peer_s", "ratio", "at_least"),
        }
        assert r["ours_s"]["low"] <= r["ours_s"]["median"] <= r["ours_s"]["high"]
        assert r["ratio"] == pytest.approx(r["peer_s"]["median"] / r["ours_s"]["median"])
    counts = {r["arrays"] for r in compared if r.get("plot") == "arrays"}
    assert counts == {1, 10, 20}
    text = (own_run / "out.txt").read_text()
    for word in ("ratio", "spread", "torch.from_numpy", "default_collate", "comparisons:"):
        assert word in text


def test_plots_are_written(own_run):
    pytest.importorskip("matplotlib")
    assert (own_run / "plots.png").read_bytes().startswith(b"\x89PNG")


def test_plots_show_ours_every_peer_and_the_limit():
    pytest.importorskip("matplotlib")
    by_count = [result(r, arrays=n, plot="arrays", array_bytes=64) for n, r in ((1, 1), (99, 2))]
    by_size = [
        result(2, suite="batch", arrays=64 // size, plot="bytes", array_bytes=size)
        for size in (4, 16)
    ]
    limit = {"suite": "batch", "case": "copy bandwidth", "bytes_per_s": 1e9}
    machine = json.loads(RESULTS[0].read_text())["machine"]
    drawn = plots.figure([*by_count, *by_size, limit, result(0.5, case="slow")], machine)
    drawn.draw_without_rendering()  # which is when ticks get their labels
    labels = [{t.get_text() for t in axes.findobj(match=_is_text)} for axes in drawn.axes]
    assert {"ours", "a peer", "1", "10", "arrays in the list, 64 B each"} <= labels[0]
    assert {"ours", "a peer", "memory bandwidth: one copy in one piece"} <= labels[1]
    assert {"slow", "0.5×  vs a peer"} <= labels[2]
    assert machine["processor"] in drawn.get_supxlabel()


def _is_text(artist: object) -> bool:
    return hasattr(artist, "get_text")


def test_bars_show_the_nearest_peer_and_of_many_pairs_the_losses():
    results = [
        result(9.0, case="stack"),
        result(3.0, case="stack", peer="the nearest"),
        result(2.0, case="int8 to int64"),
        result(0.9, case="int8 to float32"),
    ]
    shown = [(bar["case"], bar["ratio"]) for bar in plots.bars(results)]
    assert shown == [("stack", 3.0), ("int8 to float32", 0.9)]


def test_plot_without_matplotlib_is_one_sentence(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(written, "find_spec", lambda name: None)
    assert main(["bench", "--quick", "--plot", str(tmp_path / "a.png")]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""  # said before anything is measured
    assert captured.err == "tensorlift: --plot needs matplotlib. Run: pip install matplotlib\n"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--json", "no/such/folder/a.json"], "cannot be written"),
        (["--plot", "a.doc"], "expected a name ending in .png"),
        (["--arrays", "999999999", "--shape", "9999"], "try fewer arrays"),
        (["--device", "nonsense"], "torch finds no such accelerator"),
        (["--quick", "--suite", "loader", "--only", "no such case"], "no case has such a name"),
    ],
)
def test_mistakes_are_one_sentence(options, reason, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main(["bench", *options]) == 1
    error = capsys.readouterr().err
    assert reason in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "options",
    [
        *(["--arrays", "0"], ["--shape", "3,x"], ["--shape=-1"], ["--dtype", "object"]),
        *(["--dtype", "f16"], ["--suite", "all of them"], ["--seconds", "-1"]),
    ],
)
def test_usage_errors_exit_with_2(options, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["bench", *options])
    assert exit_.value.code == 2
    assert "error: argument --" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "shape"), [("3,224,224", (3, 224, 224)), ("(5,)", (5,)), ("2x3", (2, 3)), ("", ())]
)
def test_shapes(text, shape):
    assert command._shape(text) == shape


def test_copy_bandwidth_is_measured():
    extra = batch.copy_bandwidth(1 << 20, 0.01)
    assert extra.result["bytes_per_s"] > 0
    assert "GB/s" in extra.text


def test_tables_with_rich_say_the_same(monkeypatch, capsys):
    pytest.importorskip("rich")
    monkeypatch.setattr(terminal, "_rich", lambda on_terminal: True)
    monkeypatch.setenv("COLUMNS", "120")
    rows = [report.row(result(0.5, case="[torch.from_numpy]"))]
    terminal.print_table(report.HEADER, rows, ("ratio",), ["bold red"])
    out = capsys.readouterr().out
    for text in ("[torch.from_numpy]", "a peer", "0.50", "WE LOSE"):  # brackets are no markup
        assert text in out


@pytest.mark.parametrize("with_rich", [False, True])
def test_progress_names_what_runs(with_rich, monkeypatch, capsys):
    if with_rich:
        pytest.importorskip("rich")
    monkeypatch.setattr(terminal, "_rich", lambda on_terminal: with_rich)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    with terminal.progress("convert", 2) as begin:
        begin("the first case")
        begin("the second case")
    err = capsys.readouterr().err
    assert "convert" in err
    assert "the second case" in err


def test_a_file_gets_no_progress(capsys):
    with terminal.progress("convert", 1) as begin:
        begin("a case")
    assert capsys.readouterr().err == ""


def test_importing_the_package_imports_none_of_it():
    code = """
import sys, torch
before = set(sys.modules)
import tensorlift
new = set(sys.modules) - before
wrong = [m for m in new if m.split(".")[0] in ("rich", "matplotlib")]
wrong += [m for m in new if m.startswith(("tensorlift._bench", "torch.utils.benchmark"))]
print(wrong)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_every_suite_is_a_choice_of_the_command():
    assert list(command.SUITES) == [
        "convert",
        "cast",
        "batch",
        "ragged",
        "loader",
        "samples",
        "transfer",
    ]


def test_cells_of_a_grid(capsys):
    """The losses come first, and are marked in the table."""
    grid = [
        result(ratio, operation="collate", kind=kind, size=size, case=f"{size} x {kind}")
        for kind, size, ratio in (("int", 1, 4.0), ("int", 8, 1.0), ("str", 1, 0.25))
    ]
    report.show_grid(grid)
    first, second, *table = capsys.readouterr().out.splitlines()
    assert first == "collate: 1 of 3 cells lost, geometric mean 1.00"
    assert second == "  lost: 1 x str (0.25)"
    assert [line.split() for line in table if line.startswith(("int", "str"))] == [
        ["int", "4.00", "1.00"],
        ["str", "0.25*"],
    ]


def test_batches_of_other_text_or_containers_are_not_timed():
    def ways(theirs):
        return harness.Case(
            "a case", 1, {"ours": lambda: ["a", (1,)], "theirs": theirs}, flatten=samples.leaves_of
        )

    harness.check(ways(lambda: ["a", (1,)]))
    for other in (["b", (1,)], ("a", (1,)), ["a", [1]], ["a", (1.0,)]):
        with pytest.raises(harness.DifferentResultsError):
            harness.check(ways(lambda other=other: other))


def test_every_kind_of_sample_is_collated_as_by_torch():
    for kind in samples.KINDS:
        harness.check(samples._collated(kind, 3, None))
        harness.check(samples._installed(kind, 2))
        harness.check(samples._converted(kind))
