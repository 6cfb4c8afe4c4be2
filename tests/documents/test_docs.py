"""What the documentation shows is what happens."""

import doctest
import importlib
import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tensorlift
from support.pages import (
    GUIDES,
    PAGES,
    README,
    blocks_of,
    check,
    is_for_a_device,
    is_for_ray,
    is_for_torchdata,
)
from support.tree import ROOT

MODULES = sorted(m.name for m in pkgutil.walk_packages(tensorlift.__path__, "tensorlift."))


def test_docstring_examples():
    names = set(MODULES) - {"tensorlift._C", "tensorlift.__main__", "tensorlift.ray"}
    results = [doctest.testmod(importlib.import_module(name)) for name in sorted(names)]
    assert sum(result.failed for result in results) == 0
    assert sum(result.attempted for result in results) > 40


def test_public_functions_have_examples():
    for name in ("from_numpy", "stack", "cat", "pad", "jagged", "pack", "explain", "empty_cache"):
        assert ">>>" in getattr(tensorlift, name).__doc__


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_python_of_a_page(page):
    names: dict[str, object] = {}
    for block in blocks_of(page):
        if not (is_for_a_device(block) or is_for_ray(block) or is_for_torchdata(block)):
            check(block, names)


def test_readme_has_examples_with_checked_results():
    first = blocks_of(ROOT / "README.md")[0]
    assert first.count("# →") >= 3


def test_readme_is_short():
    assert len(README.encode()) <= 10_000


def anchors_of(page: Path) -> set[str]:
    """Of headings, as GitHub and MyST make them."""
    headings = re.findall(r"^#+ (.*)", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


LINKING = [*PAGES, *(ROOT / name / "README.md" for name in ("benchmarks", "csrc", "tests"))]
LINKING += sorted((ROOT / ".github").glob("*.md"))


@pytest.mark.parametrize("page", LINKING, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors_of(target), link


def test_ci_runs_the_commands_of_the_readme():
    """.ci/run takes the first two shell blocks of the README and runs them."""
    first, second = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)[:2]
    assert "python -m tensorlift demo" in first
    assert "pytest" in second
    assert "README.md" in (ROOT / ".ci" / "run").read_text()


API = GUIDES / "api"


def listed_names() -> list[str]:
    """Of the manual's page of all public names."""
    lists = re.findall(
        r"^\.\. autosummary::\n   :nosignatures:\n\n((?:   [\w.]+\n)+)",
        (API / "index.md").read_text(),
        re.M,
    )
    return " ".join(lists).split()


def described_names() -> list[str]:
    text = "".join(page.read_text() for page in API.glob("*.md"))
    described = re.findall(r"^\.\. auto(?:function|class|data|module):: (\S+)$", text, re.MULTILINE)
    return [name.removeprefix("tensorlift.") for name in described]


def test_the_manual_has_all_public_names():
    assert sorted(listed_names()) == sorted([*tensorlift.__all__, "ray.CollateFn"])
    assert sorted(described_names()) == sorted([*tensorlift.__all__, "ray.CollateFn"])


def test_each_public_name_is_used_in_a_program_that_is_type_checked():
    """tests/documents/test_typing.py checks it, and the package's own types."""
    program = (ROOT / "tests" / "documents" / "user_program.py").read_text()
    used = set(re.findall(r"\btensorlift\.(\w+)", program))
    assert sorted(set(tensorlift.__all__) - used) == []
    assert used <= set(tensorlift.__all__)


def test_each_public_name_has_a_sentence():
    for name in set(tensorlift.__all__) - {"__version__"}:
        first, _, rest = getattr(tensorlift, name).__doc__.partition("\n")
        assert first.endswith("."), name
        assert not rest.strip() or rest.startswith("\n"), name


def report(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", str(ROOT / "benchmarks" / "report.py"), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_benchmark_tables_are_those_of_the_results():
    assert report("--check").stderr == ""


def test_report_writes_tables_and_plots(tmp_path):
    pytest.importorskip("matplotlib")
    pages = ("README.md", "benchmarks/README.md", "python/docs/is-it-for-me.md")
    for page in pages:
        text = (ROOT / page).read_text()
        (tmp_path / page).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / page).write_text(re.sub(r"\| [\d.]+( ns)? \|", "| 0 |", text))
    assert "not those of the results" in report("--root", str(tmp_path), "--check").stderr
    done = report("--root", str(tmp_path))
    assert done.returncode == 0, done.stderr
    for page in pages:
        assert (tmp_path / page).read_text() == (ROOT / page).read_text()
    assert (tmp_path / "benchmarks" / "plots" / "speedups.png").stat().st_size > 10_000


SCRIPTS = {path.name for path in (ROOT / "benchmarks").glob("bench_*.py")}


@pytest.mark.long
@pytest.mark.parametrize("script", sorted(SCRIPTS - {"bench_transfer.py"}))
def test_benchmarks_run_and_check_their_output(script, tmp_path):
    report = tmp_path / "report.json"
    command = [sys.executable, str(ROOT / "benchmarks" / script), "--quick", "--json", str(report)]
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    result = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=300, env=environment
    )
    assert result.returncode == 0, result.stderr
    assert "ratio" in result.stdout
    assert report.stat().st_size > 1000


@pytest.mark.parametrize("page", ["tests/README.md", "csrc/README.md"])
def test_the_tests_that_pages_name_are_there(page):
    defined = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    named = set(re.findall(r"\b(test_\w+)\b(?!\.py)", (ROOT / page).read_text()))
    assert named <= defined
