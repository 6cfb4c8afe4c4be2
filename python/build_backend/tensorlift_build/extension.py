"""The extension module, and the setuptools command that compiles it with ninja.

Not torch.utils.cpp_extension: that would import torch into the build process (2 s, and impossible
under isolation), keeps no objects between two editable installs, and does not rebuild them when
torch changes.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension
from setuptools.command.build_ext import build_ext

from .compiler import check_python_headers, find_compiler
from .jobs import parallel_jobs
from .torch_finder import TORCH_PYTHON, Torch, find_torch

# These are compiled alone: each takes as long as a folder of the others.
_COMPILED_ALONE = {"bindings.cpp", "cast.cpp", "torch_objects.cpp"}

# -MMD leaves out what comes from -isystem (torch, NumPy, Python); their versions are in the flags
# instead, and ninja runs a command again whose text changed.
_RULES = """
rule compile
  command = $cxx -MMD -MF $out.d $cxxflags -c $in -o $out
  depfile = $out.d
  deps = gcc
  description = compile $in
rule link
  command = $cxx -shared $in -o $out $ldflags
  description = link $out
"""


# GCC says it of its child ("Killed signal terminated program cc1plus"); clang is one process, of
# which the shell says it, or the newer ninja by the exit status.
_KILLED = re.compile(r"\bKilled\b|^FAILED: \[code=137\]")


def tensorlift_extension(root: Path) -> Extension:
    """`tensorlift._C`: every source below `csrc/`."""
    csrc = root / "csrc"
    sources = [str(path.relative_to(root)) for path in sorted(csrc.rglob("*.cpp"))]
    headers = [str(path.relative_to(root)) for path in sorted(csrc.rglob("*.h"))]
    return Extension("tensorlift._C", sources=sources, depends=headers)


def _is_on(switch: str) -> bool:
    return os.environ.get(switch, "0") not in ("", "0")


def _ninja() -> str:
    try:
        import ninja  # the wheel knows where its program is, also in a venv that is not active
    except ImportError:
        program = shutil.which("ninja")
        if program is None:
            raise SystemExit("tensorlift: ninja is missing. Run: pip install ninja") from None
        return program
    return os.path.join(ninja.BIN_DIR, "ninja")


def _numpy() -> tuple[str, str]:
    try:
        import numpy
    except ImportError:
        raise SystemExit("tensorlift: NumPy is missing. Run: pip install 'numpy>=2'") from None
    if numpy.lib.NumpyVersion(numpy.__version__) < "2.0.0":
        raise SystemExit(
            f"tensorlift: expected NumPy 2 to build with, got {numpy.__version__} (the result also "
            "runs on 1.26). Leave out --no-build-isolation, or run: pip install 'numpy>=2'"
        )
    return numpy.__version__, numpy.get_include()


def _stable_link(target: str, link: Path) -> Path:
    """A link to a folder that lies elsewhere in every build environment.

    So that a compile command stays the same, and what it made is not made again.
    """
    link.unlink(missing_ok=True)
    link.symlink_to(target, target_is_directory=True)
    return link


def _compile_flags(torch: Torch, folder: Path) -> list[str]:
    """`folder`: where the build's own files are."""
    numpy_version, numpy_include = _numpy()
    include_folders = [
        torch.root / "include",
        torch.root / "include" / "torch" / "csrc" / "api" / "include",
        _stable_link(numpy_include, folder / "numpy"),
        sysconfig.get_path("include"),
        sysconfig.get_path("platinclude"),
    ]
    flags = [
        "-std=c++20",
        "-fPIC",
        "-pthread",
        "-fvisibility=hidden",
        "-fvisibility-inlines-hidden",
        "-Wall",
        "-Wextra",
        # Each operation rounds, as in torch, also where the processor has one for a * b + c.
        "-ffp-contract=off",
        # A short loop that lies across two cache lines takes a quarter longer.
        "-falign-loops=32",
    ]
    if _is_on("TENSORLIFT_DEBUG"):
        flags += ["-O0", "-g"]
    else:
        flags += ["-O3", "-g0", "-DNDEBUG"]
    if sanitizers := os.environ.get("TENSORLIFT_SANITIZE"):
        flags += ["-g", "-fno-omit-frame-pointer", f"-fsanitize={sanitizers}"]
    if _is_on("TENSORLIFT_WERROR"):
        flags += ["-Werror"]
    flags += [
        f"-DTENSORLIFT_TORCH_VERSION={torch.version}",
        f"-DTENSORLIFT_NUMPY_HEADERS={numpy_version}",
    ]
    flags += [f"-isystem{folder}" for folder in dict.fromkeys(map(str, include_folders))]
    return flags + shlex.split(os.environ.get("CXXFLAGS", ""))


def _link_flags(torch: Torch) -> list[str]:
    # No rpath: the package imports torch first, and the loader then finds its libraries by name.
    flags = [f"-L{torch.root / 'lib'}", "-lc10", "-ltorch_cpu", "-ltorch_python", "-pthread"]
    if sys.platform == "darwin":
        flags += ["-undefined", "dynamic_lookup"]
    if sanitizers := os.environ.get("TENSORLIFT_SANITIZE"):
        flags += [f"-fsanitize={sanitizers}"]
    return flags + shlex.split(os.environ.get("LDFLAGS", ""))


def _ninja_path(path: Path | str) -> str:
    return str(path).replace("$", "$$").replace(" ", "$ ").replace(":", "$:")


def _ninja_value(words: list[str]) -> str:
    return shlex.join(words).replace("$", "$$")


def _units(csrc: Path, sources: list[Path], folder: Path) -> list[Path]:
    """What is handed to the compiler: the files of one folder of csrc together, as one unit.

    Most of a file's time is torch's headers, which a unit reads once.
    """
    together: dict[Path, list[Path]] = {}
    units = []
    for source in sources:
        if source.name in _COMPILED_ALONE:
            units.append(source)
        else:
            together.setdefault(source.parent.relative_to(csrc), []).append(source)
    for part, members in together.items():
        unit = folder / f"{'-'.join(part.parts) or 'csrc'}.unit.cpp"
        text = "".join(f'#include "{source.relative_to(csrc)}"\n' for source in members)
        if not unit.exists() or unit.read_text() != text:
            unit.write_text(text)
        units.append(unit)
    return units


def _run(command: list[str]) -> None:
    """Runs ninja, and says in one sentence why it failed."""
    killed = False
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, errors="replace") as ninja:
        assert ninja.stdout is not None
        for line in ninja.stdout:
            print(line, end="", flush=True)
            killed = killed or _KILLED.search(line) is not None
    if ninja.returncode == 0:
        return
    if killed:
        raise SystemExit(
            "tensorlift: the system ended the compiler, most likely for want of memory. "
            "Set MAX_JOBS=1, or give it more."
        )
    raise SystemExit(
        "tensorlift: the C++ sources did not compile; the compiler's own words stand above."
    )


class NinjaBuildExt(build_ext):
    """Compiles what changed, in `build/`, which outlives an editable install."""

    def build_extension(self, ext: Extension) -> None:
        """Builds one extension and puts it where setuptools wants it."""
        torch = find_torch()
        if torch is None:
            raise SystemExit(
                "tensorlift: expected an installed torch to compile against, found none. "
                f"Install torch first, or name the interpreter that has it in {TORCH_PYTHON}."
            )
        check_python_headers()
        compiler = find_compiler()
        target = Path(self.get_ext_fullpath(ext.name)).resolve()
        sources = [Path(source).resolve() for source in ext.sources]
        flavour = "debug" if _is_on("TENSORLIFT_DEBUG") else "release"
        if sanitizers := os.environ.get("TENSORLIFT_SANITIZE"):
            flavour += "-" + sanitizers.replace(",", "-")
        folder = Path("build", f"ninja-{sysconfig.get_config_var('SOABI')}-{flavour}").resolve()
        folder.mkdir(parents=True, exist_ok=True)

        csrc = Path("csrc").resolve()
        units = _units(csrc, sources, folder)
        lines = [
            f"cxx = {_ninja_value(compiler)}",
            f"cxxflags = {_ninja_value([f'-I{csrc}', *_compile_flags(torch, folder)])}",
            f"ldflags = {_ninja_value(_link_flags(torch))}",
            _RULES,
            *(f"build {_ninja_path(unit.stem)}.o: compile {_ninja_path(unit)}" for unit in units),
            f"build {_ninja_path(target.name)}: link "
            + " ".join(f"{_ninja_path(unit.stem)}.o" for unit in units),
        ]
        (folder / "build.ninja").write_text("\n".join(lines) + "\n")
        _run([_ninja(), "-C", str(folder), "-j", str(parallel_jobs())])
        # Replaced in one step: a process that has the old one loaded keeps it.
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = target.with_name(target.name + ".new")
        shutil.copyfile(folder / target.name, fresh)
        fresh.replace(target)
