"""The test suite under AddressSanitizer and UndefinedBehaviorSanitizer, and then a leak check.

    python tests/run_with_sanitizers.py [--parts host device leaks] [-- PYTEST-ARGUMENT ...]

Compiles the native module with GCC's sanitizers into build/, where no installation sees it, and
runs the tests with it: those of the host, those of the fake accelerator, and the leak check of
tests/robustness/check_leaks.py. The first finding ends the process that it is in, with a report.
"""

from __future__ import annotations

import argparse
import os
import resource
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "sanitized"
SANITIZERS = "address,undefined"

ASAN_OPTIONS = {
    "abort_on_error": "1",  # a signal, which no process takes for an exit status of its own
    "detect_leaks": "0",  # Python and torch leave thousands of blocks behind: see check_leaks.py
    "allocator_may_return_null": "1",  # tests ask for more memory than there is, and want an error
    "detect_stack_use_after_return": "1",
    "strict_string_checks": "1",
}
UBSAN_OPTIONS = {"halt_on_error": "1", "print_stacktrace": "1"}

# Tests of the build, and of other libraries, run nothing of ours that other tests do not.
NOT_SANITIZED = ["tests/installation", "tests/world", "tests/documents/test_typing.py"]
# Of tests/test_on_device.py nothing is left: its first test is the part "device", and the others
# compile the module again, without sanitizers, to see whether tests notice seeded faults.
NOT_SANITIZED += ["tests/test_on_device.py"]
# Brings sanitizers of its own, and programs that do not run beside these.
NOT_SANITIZED += ["tests/sources/test_native.py"]
# Has an allocator of its own, which would take the place of ASan's.
NOT_SANITIZED += ["tests/robustness/test_allocation_failures.py"]

# The allocator of GCC's ASan is not safe to fork while other threads allocate: a forked child may
# hang in its first malloc. These fork beside threads.
DESELECTED = [
    "tests/data/test_collate.py::test_in_a_data_loader",
    "tests/data/test_collate.py::test_a_batch_from_a_worker_lies_in_segments",
    "tests/data/test_collate.py::test_a_batch_may_be_changed_in_the_worker",
    "tests/data/test_collate.py::test_iterable_datasets_and_batch_samplers",
    "tests/data/test_collate.py::test_errors_of_a_worker_reach_the_consumer",
    "tests/data/test_collate.py::test_tuples_of_text_stay_tuples_on_their_way_out_of_a_worker",
    "tests/data/test_collate_options.py::test_it_pickles_and_works_in_workers",
    "tests/robustness/test_concurrency.py::test_fork_after_threads_have_worked",
    "tests/robustness/test_concurrency.py::test_fork_while_another_thread_copies",
    "tests/robustness/test_concurrency.py::test_in_loader_workers",
    "tests/robustness/test_concurrency.py::test_threads_keep_the_nice_level_of_the_process",
    "tests/robustness/test_threads.py",
    "tests/data/test_segments.py::test_a_worker_is_killed",
    "tests/device/test_device_prefetcher.py::test_a_data_loader",
    "tests/device/test_transfer.py::test_in_a_data_loaders_pin_memory_thread",
    "tests/device/test_device_prefetcher.py::test_batches_of_workers_through_the_pin_memory_thread",
]
# ASan keeps freed memory for a while, so that a late use is seen, and so nothing else keeps any.
DESELECTED += [
    "tests/operations/test_memory.py::test_dead_copies_leave_bounded_memory_behind",
    "tests/operations/test_memory.py::test_a_chunk_of_tensor_objects_serves_again",
    "tests/operations/test_memory.py::test_large_batches_are_given_back",
    "tests/robustness/test_accounting.py",
]
# Wants the process to die of a signal that ASan has a handler of its own for.
DESELECTED += [
    "tests/device/test_fake_accelerator.py::test_host_code_that_touches_device_memory_dies",
]
# NaN as an integer is whatever a loop makes of it; the loops are others here (-O1, no AVX2).
DESELECTED += [
    f"tests/operations/test_cast.py::test_every_pair_is_bit_for_bit_what_torch_gives[{source}-{target}]"
    for source in ("float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu")
    for target in ("int32", "int64", "uint64")
]


def library(name: str) -> str:
    """The compiler's own: what is preloaded must be of the version that was compiled for."""
    compiler = shlex.split(os.environ.get("CXX", "c++"))
    found = subprocess.check_output([*compiler, f"-print-file-name={name}"], text=True).strip()
    if not os.path.isabs(found):
        raise SystemExit(f"{compiler[0]} has no {name}: expected GCC with its sanitizers.")
    return os.path.realpath(found)


def build() -> None:
    """The package with a sanitized native module, below BUILD."""
    environment = os.environ | {
        "TENSORLIFT_SANITIZE": SANITIZERS,
        # vptr compares type information, which torch's libraries hide from ours.
        "CXXFLAGS": "-O1 -fno-sanitize=vptr " + os.environ.get("CXXFLAGS", ""),
    }
    command = [sys.executable, "setup.py", "-q", "build", "--build-base", str(BUILD / "temporary")]
    subprocess.run(
        [*command, "--build-lib", str(BUILD / "lib")], cwd=ROOT, env=environment, check=True
    )
    # Before anything is preloaded: a compiler need not run under a sanitizer.
    load = "import fake_accelerator; fake_accelerator.load()"
    subprocess.run([sys.executable, "-c", load], cwd=ROOT / "tests", check=True)


def options(values: dict[str, str]) -> str:
    return ":".join(f"{name}={value}" for name, value in values.items())


def sanitized_environment(**more: str) -> dict[str, str]:
    """For a process, and its children, that are to use the sanitized module."""
    return os.environ | {
        # libstdc++ as well, because Python does not link it and ASan looks for its __cxa_throw.
        "LD_PRELOAD": f"{library('libasan.so')} {library('libstdc++.so')}",
        "ASAN_OPTIONS": options(ASAN_OPTIONS),
        "UBSAN_OPTIONS": options(UBSAN_OPTIONS),
        "PYTHONPATH": str(BUILD / "lib"),  # comes before installed packages
        "PYTHONMALLOC": "malloc",  # each object a block of its own, which ASan watches
        "TENSORLIFT_TEST_SANITIZED": "1",  # for test_parity.py
        **more,
    }


def run_host(arguments: list[str]) -> int:
    ignored = [f"--ignore={path}" for path in NOT_SANITIZED]
    return run_pytest([*ignored, *arguments], sanitized_environment(), "tests")


def run_device(arguments: list[str]) -> int:
    environment = sanitized_environment(TENSORLIFT_TEST_DEVICE="fake")
    return run_pytest(arguments, environment, "tests/device")


def run_leaks(_: list[str]) -> int:
    script = ROOT / "tests" / "robustness" / "check_leaks.py"
    environment = sanitized_environment(
        ASAN_OPTIONS=options(ASAN_OPTIONS | {"detect_leaks": "1", "leak_check_at_exit": "0"}),
    )
    return subprocess.run([sys.executable, str(script)], cwd=ROOT, env=environment).returncode


def enlarge_stacks() -> None:
    """Of processes that begin later: a sanitized frame is larger, and samples nest deeply."""
    _, most = resource.getrlimit(resource.RLIMIT_STACK)
    resource.setrlimit(resource.RLIMIT_STACK, (64 << 20, most))


def run_pytest(arguments: list[str], environment: dict[str, str], tests: str) -> int:
    command = [sys.executable, "-X", "faulthandler", "-m", "pytest", "-p", "no:cacheprovider", "-q"]
    command += ["--all"]
    command += [f"--deselect={test}" for test in DESELECTED]
    names_tests = any(not argument.startswith("-") for argument in arguments)
    command += arguments if names_tests else [*arguments, tests]
    return subprocess.run(command, cwd=ROOT, env=environment).returncode


PARTS: dict[str, Callable[[list[str]], int]] = {
    "host": run_host,
    "device": run_device,
    "leaks": run_leaks,
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("pytest", nargs="*", help="arguments of pytest, after --")
    arguments = parser.parse_args()
    began = time.monotonic()
    build()
    enlarge_stacks()
    print(f"built in {time.monotonic() - began:.0f} s", flush=True)
    failed = []
    for part in arguments.parts:
        began = time.monotonic()
        if PARTS[part](arguments.pytest) != 0:
            failed.append(part)
        print(f"{part}: {time.monotonic() - began:.0f} s", flush=True)
    if failed:
        print(f"failed: {', '.join(failed)}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
