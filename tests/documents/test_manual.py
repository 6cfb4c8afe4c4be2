"""What python/docs/conf.py does to the pages of the manual."""

import runpy

import pytest

from support.pages import GUIDES


@pytest.fixture(scope="module")
def conf():
    pytest.importorskip("docutils")
    return runpy.run_path(str(GUIDES / "conf.py"))


def test_a_time_in_a_table_stays_in_one_line(conf):
    source = ["| stack 64 x 3 | 184 ns | 2.5 µs | 3 s |\nIn 3 s it is done."]
    conf["keep_units"](source)
    shown = "| stack 64 x 3 | 184\u00a0ns | 2.5\u00a0µs | 3\u00a0s |\nIn 3 s it is done."
    assert source == [shown]


def test_types_are_shown_by_their_names(conf):
    from docutils import nodes, utils

    page = utils.new_document("a page")
    typed = "Literal['a'] | ~collections.abc.Mapping[~typing.Any, int]"
    page += nodes.paragraph("", "", nodes.emphasis("", typed), nodes.Text(" or ~mask"))
    conf["shorten_types"](None, page, "a page")
    assert page.astext() == "Literal['a'] | Mapping[Any, int] or ~mask"


def test_links_into_the_repository_are_text(conf):
    source = ["see [the tests](../../tests/README.md) and [Ray](ray.md)"]
    conf["unlink_the_repository"](None, "a page", source)
    assert source == ["see the tests and [Ray](ray.md)"]
