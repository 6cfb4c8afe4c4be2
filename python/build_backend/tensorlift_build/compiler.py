"""Is there all that a compilation needs? One sentence where not, instead of a compiler's page."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

# std::bit_cast is what the sources use of C++20 that came last: GCC 11, clang 14.
_PROBE = "#include <bit>\nint probe = std::bit_cast<int>(1.0f);\n"
_INSTALL = "Debian: apt install g++, Fedora: dnf install gcc-c++, macOS: xcode-select --install"


def find_compiler() -> list[str]:
    """The command of a compiler that was seen to accept C++20.

    Raises:
        SystemExit: there is no such program, or it does not.
    """
    name = os.environ.get("CXX") or "c++"
    compiler = shlex.split(name)
    if shutil.which(compiler[0]) is None:
        raise SystemExit(
            f"tensorlift: expected a C++20 compiler, found no program {name!r}. "
            f"Install one ({_INSTALL}) or name it in CXX."
        )
    probe = [*compiler, "-std=c++20", "-fsyntax-only", "-x", "c++", "-"]
    tried = subprocess.run(probe, input=_PROBE, capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        lines = [line.strip() for line in tried.stderr.splitlines() if "error" in line]
        said = lines[0] if lines else f"exit status {tried.returncode}"
        raise SystemExit(
            f"tensorlift: expected a C++20 compiler (GCC 11, clang 14 or newer), and {name!r} does "
            f"not compile C++20 ({said}). Install a newer one and name it in CXX."
        )
    return compiler


def check_python_headers() -> None:
    """Ends the build with one sentence where the headers of this Python are not installed."""
    folder = Path(sysconfig.get_path("include"))
    if not (folder / "Python.h").exists():
        version = "{}.{}".format(*sys.version_info)
        raise SystemExit(
            f"tensorlift: expected the C headers of Python {version}, found no Python.h in "
            f"{folder}. Install them (Debian: apt install python{version}-dev, "
            f"Fedora: dnf install python{version}-devel)."
        )
