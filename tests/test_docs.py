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

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
MODULES = sorted(m.name for m in pkgutil.iter_modules(tensorlift.__path__) if m.name != "__main__")


@pytest.mark.parametrize("name", [name for name in MODULES if name != "_C"])
def test_docstring_examples(name):
    module = importlib.import_module(f"tensorlift.{name}")
    assert doctest.testmod(module).failed == 0


def test_public_functions_have_examples():
    for name in ("from_numpy", "stack", "cat", "pad", "jagged", "explain", "empty_cache"):
        assert ">>>" in getattr(tensorlift, name).__doc__


BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
FOR_A_DEVICE = [
    block for block in BLOCKS if 'device="cuda"' in block
]  # tests/device/test_device_docs.py


def check(block: str) -> None:
    """Runs a block; where a line ends in `# → text`, its value prints as text."""
    names: dict[str, object] = {}
    statement = ""
    for line in block.splitlines():
        code, arrow, expected = line.partition("  # → ")
        statement += code + "\n"
        if arrow:
            *before, last = statement.strip().splitlines()
            exec("\n".join(before), names)
            assert repr(eval(last, names)) == expected.strip()
            statement = ""
    exec(statement, names)


@pytest.mark.parametrize("block", [block for block in BLOCKS if block not in FOR_A_DEVICE])
def test_readme_python(block):
    check(block)


def test_readme_has_a_quickstart_with_checked_results():
    assert len(BLOCKS) >= 1
    assert BLOCKS[0].count("# →") >= 3


def test_ci_runs_the_commands_of_the_readme():
    """.ci/run takes the first two shell blocks of the README and runs them."""
    first, second = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)[:2]
    assert "python -m tensorlift demo" in first
    assert "pytest" in second
    assert "README.md" in (ROOT / ".ci" / "run").read_text()


def report(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", str(ROOT / "benchmarks" / "report.py"), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_benchmark_tables_of_the_readme_are_those_of_the_results():
    assert report("--check").stderr == ""


def test_report_writes_tables_and_plots(tmp_path):
    pytest.importorskip("matplotlib")
    readme = tmp_path / "README.md"
    readme.write_text(re.sub(r"\| [\d.]+ ns \|", "| 0 ns |", README))
    assert "not those of the results" in report("--readme", str(readme), "--check").stderr
    done = report("--readme", str(readme), "--plots", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert readme.read_text() == README
    assert (tmp_path / "speedups.png").stat().st_size > 10_000


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
