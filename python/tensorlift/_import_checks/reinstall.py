"""The command that compiles and installs this package again, from where it was installed.

Never by its name alone: whoever has that name on a package index would be run.
"""

from __future__ import annotations

import json
import shlex
import sys
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlsplit


def _source(package: metadata.Distribution) -> tuple[Path, bool] | None:
    """The folder or sdist that it was built from, and whether the install is editable (PEP 610)."""
    recorded = json.loads(package.read_text("direct_url.json") or "{}")
    url = urlsplit(recorded.get("url", ""))
    path = Path(unquote(url.path))
    if url.scheme != "file" or path.suffix == ".whl" or not path.exists():
        return None
    return path, bool(recorded.get("dir_info", {}).get("editable"))


def reinstall_command() -> str:
    """A sentence with the command, for an error message."""
    python = shlex.quote(sys.executable)
    pip, source = f"{python} -m pip install --force-reinstall --no-cache-dir", None
    try:
        package = metadata.distribution("tensorlift")
    except metadata.PackageNotFoundError:  # run from a folder on sys.path
        pass
    else:
        source = _source(package)
        if (package.read_text("INSTALLER") or "").strip() == "uv":  # no pip in such an environment
            pip = f"uv pip install --python {python} --reinstall"
    if source is None:
        return f"Build it again for this one, in a clone of its repository: {pip} --no-deps ."
    path, editable = source
    return (
        "Build it again for this one: "
        f"{pip} --no-deps {'-e ' if editable else ''}{shlex.quote(str(path))}"
    )
