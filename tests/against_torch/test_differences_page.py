"""The manual's table of differences from torch is that of the tests."""

from against_torch.differences import DIFFERENCES, as_table
from support.tree import ROOT

PAGE = ROOT / "python" / "docs" / "differences.md"


def test_the_page_has_the_rows_that_tests_use():
    lines = PAGE.read_text().splitlines()
    assert [line for line in lines if line.startswith("|")] == as_table()


def test_each_row_is_shown_by_a_test():
    tests = {path.name: path.read_text() for path in (ROOT / "tests").rglob("test_*.py")}
    for row in DIFFERENCES:
        if row.explains is None and row.explains_warnings is None:
            name, _, test = row.shown_by.partition("::")
            assert f"def {test}(" in tests[name], row.what
