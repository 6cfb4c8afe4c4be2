"""The manual: `pip install ".[docs]"`, `sphinx-build -W --keep-going python/docs build/docs`."""

import importlib.util
import re
from typing import Any

from docutils import nodes

import tensorlift

project = "tensorlift"
author = "the tensorlift authors"
version = release = tensorlift.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
]
myst_heading_anchors = 3  # as GitHub has them

autosummary_generate = False
# For tensorlift.ray, which imports them.
autodoc_mock_imports = [n for n in ("pyarrow", "ray") if importlib.util.find_spec(n) is None]
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_type_aliases = {name: name for name in ("Arrays", "ArraysOrTensors", "npt.DTypeLike")}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # fields of a NamedTuple are described once
napoleon_use_rtype = False

# A reference to a name of ours that does not exist is an error; those to others are left as text.
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!tensorlift\.[^_]).*")]

html_theme = "furo"
html_title = f"tensorlift {release}"
html_show_copyright = html_show_sphinx = False
html_static_path = ["static"]
html_css_files = ["manual.css"]
html_copy_source = False


def unlink_the_repository(app: Any, page: str, source: list[str]) -> None:
    """Links to files that are no pages of the manual become text."""
    source[0] = re.sub(r"\[([^\]]+)\]\(\.\./\.\./[^)]+\)", r"\1", source[0])


def keep_units(source: list[str]) -> None:
    """In tables, whose columns are narrow on a phone, `184 ns` stays in one line."""
    source[0] = re.sub(r"(?<=\d) (?=[nµum]?s \|)", "\u00a0", source[0])


def shorten_types(app: Any, page: nodes.document, name: str) -> None:
    """Sphinx leaves `~typing.Any` within a type that it cannot read, such as of a Literal."""
    for text in list(page.findall(nodes.Text)):
        if "~" in text:
            text.parent.replace(text, nodes.Text(re.sub(r"~(?:\w+\.)+", "", text)))


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("source-read", unlink_the_repository)
    app.connect("source-read", lambda app, page, source: keep_units(source))
    app.connect("include-read", lambda app, file, page, source: keep_units(source))
    app.connect("doctree-resolved", shorten_types)
