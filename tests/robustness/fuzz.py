"""Random lists, options and destinations, changed between calls, against tensorlift.reference.

    python tests/robustness/fuzz.py [--seconds S | --runs N] [--seed S]

A run is a world of a few buffers, a list of views of them with any strides, and the tensors that
earlier calls gave. At each step the world is changed (bytes, list, flags), what earlier calls gave
is looked at (shared memory sees the change, copies do not), and a call is made that the reference
makes as well. `--seed S --runs 1` repeats the run with that seed.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import ml_dtypes
import numpy as np
import torch

import tensorlift
from support.inputs import same_bits
from support.strategies import CHANGES, DTYPES, TARGETS
from tensorlift import reference

STEPS = 25
ELEMENTS = [
    *("?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16", "Q"),
    *(">i2", ">i4", ">f4", ">f8", ">c8", ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn),
]
NO_ARRAYS = [None, "text", 3.0, np.float32(2), np.int8(-1), np.datetime64("2020-01-01")]

Result = Any


def outcome(call: Callable[[], Any]) -> tuple[Result, list[tuple[type, str]]]:
    """Tensors, or an error's type and the argument that it names; and the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.filterwarnings("ignore", message="ComplexHalf support")  # torch's, once a process
        try:
            result = call()
        except (TypeError, ValueError, IndexError) as error:
            result = error
    return result, [(w.category, str(w.message)[:60]) for w in caught]


def tensors_of(result: Result) -> list[torch.Tensor]:
    """Without a mask that was not asked for."""
    results = [result] if isinstance(result, torch.Tensor) else list(result)
    return [tensor for tensor in results if tensor is not None]


# With two things wrong the two may find another one first.
PADDING = ["padding_value", "padding_side", "pad_to_multiple_of"]
PADDING += ["max_length", "truncate", "mask", "mask_dim"]
IMAGES = ["channel_order", "scale", "mean", "std"]
EITHER_FIRST = {"dim", "memory_format", "dtype", *PADDING, *IMAGES}


torch.zeros(1, dtype=torch.complex32)  # whose warning comes once a process


def is_type_error(error: Exception) -> bool:
    """The reference raises the plain one."""
    return isinstance(error, TypeError)


def same_result(ours: Result, theirs: Result) -> bool:
    if isinstance(ours, Exception) or isinstance(theirs, Exception):
        if not (isinstance(ours, Exception) and isinstance(theirs, Exception)):
            return False
        names = {str(error).split(":")[0] for error in (ours, theirs)}
        return is_type_error(ours) == is_type_error(theirs) or bool(EITHER_FIRST & names)
    pairs = zip(tensors_of(ours), tensors_of(theirs), strict=True)
    return all(same_bits(a, b) and a.stride() == b.stride() for a, b in pairs)


class Finding(Exception):
    """What must not happen."""


class World:
    """What one run consists of. All that is random comes from its seed."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.calls = 0
        self.errors = 0
        self.buffers = [np.zeros(int(n), np.uint8) for n in self.rng.integers(40, 4000, size=3)]
        for buffer in self.buffers:
            self.fill(buffer)
        self.arrays: list[Any] = []
        self.results: list[tuple[Any, torch.Tensor, torch.Tensor | None]] = []
        self.last = ""

    # -- drawing

    def one_in(self, n: int) -> bool:
        return bool(self.rng.integers(n) == 0)

    def choose(self, options: Any) -> Any:
        return options[int(self.rng.integers(len(options)))]

    def fill(self, buffer: np.ndarray) -> None:
        """With bytes that make small numbers of every dtype, where all casts agree."""
        buffer[:] = self.rng.integers(0, 2, buffer.size)

    def strided(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """A view of a buffer with strides of any kind, within the buffer."""
        buffer = self.choose(self.buffers)
        item = np.dtype(dtype).itemsize
        for _ in range(8):
            steps = [0, item, -item, 2 * item, 3, -5, item * int(self.rng.integers(-9, 10))]
            strides = [int(self.choose(steps)) for _ in shape]
            if self.one_in(3):  # as they mostly are
                strides = list(np.empty(shape, dtype).strides)
            reach = [(n - 1) * s for n, s in zip(shape, strides, strict=True) if n > 0]
            low = -sum(r for r in reach if r < 0)
            high = sum(r for r in reach if r > 0) + item
            if low + high <= buffer.size:
                offset = low + int(self.rng.integers(buffer.size - low - high + 1))
                return np.ndarray(shape, dtype, buffer, offset, tuple(strides))
        return np.ndarray(shape, dtype, buffer, 0, (0,) * len(shape))

    def array(self, shape: tuple[int, ...], dtype: Any) -> Any:
        if self.one_in(40):
            return self.choose(NO_ARRAYS)
        if self.one_in(4):
            made = self.rng.integers(0, 100, shape)
            chosen = np.dtype(self.choose(DTYPES) if self.one_in(4) else dtype)
            made = made.astype(chosen) if chosen.names is None else np.zeros(shape, chosen)
            for _ in range(int(self.rng.integers(3))):
                made = CHANGES[self.choose(sorted(CHANGES))](made)
            return made
        made = self.strided(shape, dtype)
        if self.one_in(8):
            made.flags.writeable = False
        if self.one_in(8):
            with contextlib.suppress(TypeError, ValueError), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return torch.from_numpy(made)
        return made

    def new_list(self) -> None:
        """Mostly of arrays that fit together."""
        shape = [int(n) for n in self.rng.integers(0, 5, int(self.rng.integers(0, 5)))]
        dtypes = [self.choose(ELEMENTS) for _ in range(1 + self.one_in(4))]
        loose = int(self.rng.integers(0, 5))
        self.arrays = []
        for _ in range(int(self.rng.integers(0, 7))):
            if loose < len(shape):
                shape[loose] = int(self.rng.integers(0, 5))
            elif self.one_in(20):
                shape = [*shape, 2]
            self.arrays.append(self.array(tuple(shape), self.choose(dtypes)))

    # -- changing

    def change(self) -> None:
        change = self.choose(["list", "bytes", "pop", "twice", "shuffle", "flag", "result", "none"])
        if change == "list" or not self.arrays:
            self.new_list()
        elif change == "bytes":
            self.fill(self.choose(self.buffers))
        elif change == "pop":
            self.arrays.pop(int(self.rng.integers(len(self.arrays))))
        elif change == "twice":
            self.arrays.insert(0, self.choose(self.arrays))
        elif change == "shuffle":
            self.arrays = [self.arrays[i] for i in self.rng.permutation(len(self.arrays))]
        elif change == "flag":
            array = self.choose(self.arrays)
            if isinstance(array, np.ndarray) and array.base is not None:
                array.flags.writeable = False
        elif change == "result" and self.results:
            self.arrays.append(self.choose(self.results)[1])

    def check_results(self) -> None:
        """Shared memory is the array's, copies are as they were."""
        for array, tensor, copy in self.results:
            expected = copy if copy is not None else reference_of(array, tensor.dtype)
            if not same_bits(tensor, expected):
                raise Finding(f"an earlier tensor changed: {describe(array)}")
        del self.results[:-6]

    # -- calling

    def threads(self) -> int | None:
        return [None, 1, 3][int(self.rng.integers(3))]

    def options(self, names: list[str]) -> dict[str, Any]:
        values: dict[str, list[Any]] = {
            "dtype": [None, None, *TARGETS],
            "copy": [None, None, True, False],
            "readonly": ["warn", "share", "copy", "error"],
            "channel_dim": [None, -1, 0, 0, -1, 2],
            "memory_format": [None, None, torch.channels_last, torch.channels_last_3d],
            "dim": [0, 0, 0, 1, -1, -1, 3, -4],
            "padding_value": [0, 1, -1, 2.5, True, 1j, 300],
            "padding_side": ["right", "left", "left", ("left", "right")],
            "pad_to_multiple_of": [None, 1, 3, 2, (2,), (1, 2), [2, 1, 3]],
            "max_length": [None, 1, 2, 3, 9, (2, 1), (None, 2)],
            "truncate": [None, "right", "left"],
            "mask": [False, True, True, torch.int64],
            "offsets_dtype": [torch.int32, torch.int64],
            "mask_dim": [None, 0, -1, (0, 1), (1, 0)],
            "channel_order": ["rgb", "rgb", "bgr"],
            "scale": [None, 1, 1 / 255, -2],
            "mean": [None, 0.5, (0.5, 2), (1, 2, 3)],
            "std": [None, 0.5, (0.5, 2), (1, 2, 3)],
        }
        chosen = {name: self.choose(values[name]) for name in names if self.one_in(3)}
        if chosen.get("scale") is None:  # without which they are an error
            chosen = {name: chosen[name] for name in chosen if name not in ("mean", "std")}
        return chosen

    def step(self) -> None:
        self.change()
        self.check_results()
        operation = self.choose(["from_numpy", *BATCHES, *BATCHES, "explain", "collate", "out"])
        getattr(self, "try_" + operation, lambda: self.try_batch(operation))()
        self.calls += 1

    def compare(self, name: str, data: list[Any], options: dict[str, Any]) -> Result:
        self.last = f"{name} {options} of {[describe(a) for a in data]}"
        theirs, their_warnings = outcome(lambda: getattr(reference, name)(data, **options))
        threads = self.threads()
        ours, our_warnings = outcome(
            lambda: getattr(tensorlift, name)(data, threads=threads, **options)
        )
        if not same_result(ours, theirs):
            raise Finding(f"ours {ours!r}, theirs {theirs!r}")
        if our_warnings != their_warnings:
            raise Finding(f"our warnings {our_warnings}, theirs {their_warnings}")
        self.errors += isinstance(ours, Exception)
        return ours

    def try_from_numpy(self) -> None:
        ours = self.compare("from_numpy", self.arrays, self.options(["dtype", "copy", "readonly"]))
        if isinstance(ours, Exception):
            return
        for array, tensor in zip(self.arrays, ours, strict=True):
            if tensor.numel() == 0:
                continue
            shares = tensor.data_ptr() == np.asarray(array).__array_interface__["data"][0]
            self.results.append((array, tensor, None if shares else tensor.clone()))

    def try_batch(self, name: str) -> None:
        ours = self.compare(name, self.arrays, self.options(BATCHES[name]))
        if not isinstance(ours, Exception):
            batch = tensors_of(ours)[0]
            self.results.append((None, batch, batch.clone()))

    def try_out(self) -> None:
        """Into a part of a buffer that the sources may be parts of."""
        name = self.choose(list(BATCHES))
        options = self.options([o for o in BATCHES[name] if o != "memory_format"])
        expected, _ = outcome(lambda: getattr(reference, name)(self.arrays, **options))
        if isinstance(expected, Exception):
            return
        values = tensors_of(expected)[0].clone()
        buffer = self.choose(self.buffers)
        item = values.element_size()
        first = int(self.rng.integers(1 + max(0, (buffer.size - values.nbytes) // item))) * item
        if first + values.nbytes > buffer.size or values.numel() == 0:
            return
        memory = torch.from_numpy(buffer)[first : first + values.nbytes]
        if memory.data_ptr() % item:
            return
        out = memory.view(values.dtype).view(values.shape)
        self.last = f"{name} {options} out={first} of {[describe(a) for a in self.arrays]}"
        before = buffer.copy()
        call = getattr(tensorlift, name)
        threads = self.threads()
        ours, _ = outcome(lambda: call(self.arrays, out=out, threads=threads, **options))
        if isinstance(ours, Exception) or tensors_of(ours)[0] is not out:
            raise Finding(f"ours {ours!r}")
        if not same_bits(out, values):
            raise Finding(f"ours {out!r}, theirs {values!r}")
        before[first : first + values.nbytes] = buffer[first : first + values.nbytes]
        if not np.array_equal(before, buffer):
            raise Finding("written beside out")
        self.fill(buffer)  # what was written may be numbers on which casts disagree

    def try_explain(self) -> None:
        name = self.choose(["from_numpy", *BATCHES])
        allowed = ["dtype", "copy", "readonly"]
        if name != "from_numpy":
            allowed = [o for o in BATCHES[name] if o in ("dtype", "dim", "channel_dim")]
        options = self.options(allowed)
        if name != "from_numpy":
            options["operation"] = name
        self.last = f"explain {options} of {[describe(a) for a in self.arrays]}"
        ours = tensorlift.explain(self.arrays, **options)
        theirs = reference.explain(self.arrays, **options)
        alike = (ours.error is None) == (theirs.error is None)
        if ours.error is None and (list(ours) != list(theirs) or ours.shape != theirs.shape):
            alike = False
        if not alike:
            raise Finding(f"ours {ours!r}, theirs {theirs!r}")

    def try_collate(self) -> None:
        expected, _ = outcome(lambda: reference.stack(self.arrays))
        if isinstance(expected, Exception) or not all(type(a) is np.ndarray for a in self.arrays):
            return
        self.last = f"collate of {[describe(a) for a in self.arrays]}"
        batch, _ = outcome(lambda: tensorlift.collate([{"x": [a]} for a in self.arrays]))
        if isinstance(batch, Exception) or not same_bits(batch["x"][0], expected):
            raise Finding(f"ours {batch!r}, theirs {expected!r}")


COMMON = ["dtype", "channel_dim", "memory_format"]
BATCHES = {
    "stack": [*COMMON, "dim", *IMAGES],
    "cat": [*COMMON, "dim"],
    "pad": [*COMMON, *PADDING, *IMAGES],
    "jagged": ["dtype", "offsets_dtype"],
}


def reference_of(array: Any, dtype: torch.dtype) -> torch.Tensor:
    return reference.from_numpy([array], dtype=dtype, readonly="share", copy=True)[0]


def describe(array: Any) -> str:
    if isinstance(array, np.ndarray):
        kind = type(array).__name__
        flags = "" if array.flags.writeable else ", read-only"
        return f"{kind}({array.dtype}, {array.shape}, {array.strides}{flags})"
    if isinstance(array, torch.Tensor):
        return f"tensor({array.dtype}, {tuple(array.shape)}, {array.stride()})"
    return repr(array)


def run(seed: int) -> tuple[World, str | None]:
    """One world, and what is wrong with it."""
    world = World(seed)
    for step in range(STEPS):
        try:
            world.step()
        except Exception as error:
            details = "" if isinstance(error, Finding) else traceback.format_exc()
            return world, f"--seed {seed}, step {step}: {world.last}\n  {error}\n{details}"
    return world, None


def seeds(first: int, runs: int | None, seconds: float) -> Iterator[int]:
    """So many, or as long as there is time."""
    end = time.monotonic() + seconds
    seed = first
    while seed < first + runs if runs is not None else time.monotonic() < end:
        yield seed
        seed += 1


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--runs", type=int)
    parser.add_argument("--seed", type=int, default=0, help="of the first run")
    parser.add_argument("--findings", type=int, default=5, help="after so many it stops")
    arguments = parser.parse_args()
    calls = errors = runs = 0
    findings: list[str] = []
    began = time.monotonic()
    for seed in seeds(arguments.seed, arguments.runs, arguments.seconds):
        world, finding = run(seed)
        runs += 1
        calls += world.calls
        errors += world.errors
        if finding is not None:
            findings.append(finding)
            print(finding, flush=True)
            if len(findings) == arguments.findings:
                break
    print(
        f"{runs} runs, {calls} calls, {errors} of them errors, {time.monotonic() - began:.0f} s: "
        f"{len(findings)} findings"
    )
    return bool(findings)


if __name__ == "__main__":
    sys.exit(main())
