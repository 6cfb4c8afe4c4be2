"""The manual: `pip install ".[docs]"`, `sphinx-build -W --keep-going python/docs build/docs`."""

import importlib.util
import re
from typing import Any

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
html_css_files = ["tables.css"]
html_copy_source = False


def unlink_the_repository(app: Any, page: str, source: list[str]) -> None:
    """Links to files that are no pages of the manual become text."""
    source[0] = re.sub(r"\[([^\]]+)\]\(\.\./\.\./[^)]+\)", r"\1", source[0])


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("source-read", unlink_the_repository)
