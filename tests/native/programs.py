"""The native test programs: how each is compiled. With ninja, in `build/`, what changed alone."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CSRC = ROOT / "csrc"
BUILD = Path(os.environ.get("TENSORLIFT_TEST_BUILD", ROOT / "build"))

MISSING_TOOL = 77  # exit status: this machine cannot, which is no finding

# What of csrc each program stands on. openmp_team.cpp is replaced: see no_openmp_team.cpp.
_GATHER = (
    *(
        "copy/cast",
        "copy/element_copy",
        "copy/gather",
        "copy/float16",
        "copy/normalization",
        "copy/normalize_bytes",
        "plan/layout",
        "copy/padding",
        "copy/strided_copy",
        "copy/non_temporal",
    ),
    *("copy/strided", "plan/packed_bytes", "parallel/thread_pool"),
)
_PLAN = ("plan/layout", "plan/pack_rows", "plan/plan", "copy/strided")
_RING = ("device/staging",)
_SEGMENTS = (
    *(
        "memory/allocate",
        "memory/block_cache",
        "memory/build",
        "shm/file_descriptor",
        "shm/received_segments",
        "shm/segment",
        "shm/segment_file",
        "shm/segment_hold",
        "shm/segment_pool",
        "shm/send_segment",
    ),
)
_FAKE_ACCELERATOR = (
    *(
        "counters",
        "current",
        "device_memory",
        "fork",
        "guard",
        "pinned_memory",
        "registered_memory",
        "streams",
    ),
)

_RULES = """
rule compile
  command = $cxx -MMD -MF $out.d $cxxflags $guide -c $in -o $out
  depfile = $out.d
  deps = gcc
rule link
  command = $cxx $in -o $out $ldflags
"""


class MissingToolError(Exception):
    """A compiler or a tool of it that is not there, in a sentence for the user."""


@dataclass(frozen=True)
class Flavour:
    """A way of compiling: its name, its compiler and its flags."""

    name: str
    needs_clang: bool
    compile_flags: tuple[str, ...]
    link_flags: tuple[str, ...]
    guide_flags: tuple[str, ...] = ()  # for what a fuzzer is to cover


FUZZ = Flavour(
    "fuzz",
    needs_clang=True,
    compile_flags=(
        *("-O1", "-g", "-fno-omit-frame-pointer", "-fno-sanitize-recover=all"),
        "-fsanitize=address,undefined",
        # Else clang takes it that no NaN becomes an integer, and drops what comes before.
        "-fno-strict-float-cast-overflow",
    ),
    link_flags=("-fsanitize=fuzzer,address,undefined",),
    guide_flags=("-fsanitize=fuzzer-no-link",),
)
COVERAGE = Flavour(
    "coverage",
    needs_clang=True,
    compile_flags=("-O1", "-g", "-fprofile-instr-generate", "-fcoverage-mapping"),
    link_flags=("-fprofile-instr-generate",),
)
REPLAY = Flavour(
    "replay",
    needs_clang=False,
    # Compiled once and run for a second: without optimisation both together take the least time.
    compile_flags=("-O0", "-g1", "-fno-sanitize-recover=all", "-fsanitize=address,undefined"),
    link_flags=("-fsanitize=address,undefined",),
)
TSAN = Flavour(
    "tsan",
    needs_clang=False,
    compile_flags=("-O0", "-g1", "-fsanitize=thread"),
    link_flags=("-fsanitize=thread",),
)


def _in(folder: Path, names: tuple[str, ...]) -> tuple[Path, ...]:
    return tuple(folder / f"{name}.cpp" for name in names)


def is_of_the_core(source: Path) -> bool:
    return CSRC in source.parents


_GATHER_TARGET = (
    *_in(HERE, ("arrays", "batch_case", "elements", "fuzz_gather", "no_openmp_team")),
    *_in(HERE, ("slots_case", "target")),
    *_in(CSRC, _GATHER),
)
_PLAN_TARGET = (
    *_in(HERE, ("elements", "fuzz_plan", "layout_case", "pack_case", "plan_case", "walk_case")),
    *_in(CSRC, _PLAN),
)
_ENGINE_TEST = (
    *_in(HERE, ("arrays", "batch_case", "copy_test", "elements", "engine_test")),
    *_in(
        HERE,
        (
            *("memory_test", "no_openmp_team", "pool_test", "ring_test", "segment_test"),
            *("slots_case", "target"),
        ),
    ),
    *_in(CSRC, _GATHER + _RING + _SEGMENTS),
    *_in(HERE.parent / "fake_accelerator", _FAKE_ACCELERATOR),
)
FUZZ_TARGETS = {"gather": _GATHER_TARGET, "plan": _PLAN_TARGET}


@dataclass(frozen=True)
class Program:
    """An executable: its name, its sources and how they are compiled."""

    name: str
    flavour: Flavour
    sources: tuple[Path, ...]


def fuzzer(target: str) -> Program:
    return Program(f"fuzz_{target}", FUZZ, FUZZ_TARGETS[target])


def replayer(target: str, flavour: Flavour) -> Program:
    return Program(f"replay_{target}", flavour, (HERE / "replay.cpp", *FUZZ_TARGETS[target]))


def engine_test() -> Program:
    return Program("engine_test", TSAN, _ENGINE_TEST)


def clang_tool(name: str) -> str:
    """A program of the newest clang, or of the one whose version is in CLANG_VERSION."""
    chosen = os.environ.get("CLANG_VERSION")
    suffixes = [f"-{chosen}"] if chosen else ["", *(f"-{version}" for version in range(40, 13, -1))]
    found = [suffix for suffix in suffixes if shutil.which(f"clang++{suffix}")]
    program = f"{name}{found[0]}" if found else name
    if not found or shutil.which(program) is None:
        raise MissingToolError(
            f"expected clang with libFuzzer and LLVM's tools, found no program {program!r}. "
            "Install them (Debian: apt install clang llvm) or name a version in CLANG_VERSION."
        )
    return program


def _compiler(flavour: Flavour) -> list[str]:
    if flavour.needs_clang:
        return [clang_tool("clang++")]
    return shlex.split(os.environ.get("CXX") or "c++")


def _compile(source: Path, target: str, flavour: Flavour) -> str:
    """A fuzzer is guided by what it tests, not by its oracle; and not by 441 pairs of dtypes."""
    is_guide = is_of_the_core(source) and source.stem != "cast"
    guide = f"\n  guide = {shlex.join(flavour.guide_flags)}" if is_guide else ""
    return f"build {target}: compile {_path(source)}{guide}"


def _check_compiler(flavour: Flavour, folder: Path) -> None:
    """Raises MissingToolError where no program of this flavour can be linked."""
    probe = folder / "probe.cpp"
    probe.write_text(
        'extern "C" int LLVMFuzzerTestOneInput(const unsigned char*, unsigned long) { return 0; }'
        if flavour is FUZZ
        else "int main() {}"
    )
    flags = ["-std=c++20", *flavour.compile_flags, *flavour.link_flags]
    command = [*_compiler(flavour), *flags, str(probe), "-o", str(folder / "probe")]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise MissingToolError(f"expected a C++20 compiler, got: {error}.") from None
    if done.returncode != 0:
        words = " ".join(flavour.link_flags)
        raise MissingToolError(f"expected a compiler with {words}, got: {done.stderr.strip()}")


def _torch() -> Path:
    """The installed torch, found but not imported."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        raise MissingToolError("expected an installed torch to link against, found none.")
    return Path(spec.origin).parent


def _ninja() -> str:
    beside = Path(sys.executable).parent / "ninja"  # also in a venv that is not active
    found = str(beside) if beside.exists() else shutil.which("ninja")
    if found is None:
        raise MissingToolError("ninja is missing. Run: pip install ninja")
    return found


def _path(path: Path) -> str:
    """As ninja wants it."""
    return str(path).replace("$", "$$").replace(" ", "$ ").replace(":", "$:")


def _words(words: list[str]) -> str:
    return shlex.join(words).replace("$", "$$")


def build(program: Program, jobs: int) -> Path:
    """Compiles a program and returns its path. Raises MissingToolError."""
    flavour = program.flavour
    folder = BUILD / f"native-{flavour.name}"
    folder.mkdir(parents=True, exist_ok=True)
    _check_compiler(flavour, folder)
    torch = _torch()
    headers = torch / "include"
    compile_flags = [
        *("-std=c++20", "-pthread", "-Wall", "-Wextra", "-DTENSORLIFT_TEST_GRAIN", f"-I{CSRC}"),
        *(["-Werror"] if os.environ.get("TENSORLIFT_WERROR", "0") not in ("", "0") else []),
        *(f"-isystem{headers}", f"-isystem{headers / 'torch' / 'csrc' / 'api' / 'include'}"),
        *flavour.compile_flags,
    ]
    libraries = torch / "lib"
    link_flags = [
        *("-pthread", f"-L{libraries}", f"-Wl,-rpath,{libraries}", "-lc10", "-ltorch_cpu"),
        *flavour.link_flags,
    ]
    objects = {source: f"{source.parent.name}-{source.stem}.o" for source in program.sources}
    lines = [
        f"cxx = {_words(_compiler(flavour))}",
        f"cxxflags = {_words(compile_flags)}",
        f"ldflags = {_words(link_flags)}",
        _RULES,
        *(_compile(source, name, flavour) for source, name in objects.items()),
        f"build {program.name}: link {' '.join(objects.values())}",
    ]
    recipe = folder / f"{program.name}.ninja"
    recipe.write_text("\n".join(lines) + "\n")
    command = [_ninja(), "-C", str(folder), "-f", recipe.name, "-j", str(jobs)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(done.stdout + done.stderr)
    return folder / program.name
