"""Arrays that are legal and mean harm: classes that override everything, memory that goes away."""

from __future__ import annotations

import ctypes
import gc
import mmap
import os
import signal
import subprocess
import sys
import textwrap
import weakref
from typing import Any

import numpy as np
import pytest
import torch

import tensorlift
from support.inputs import same_bits


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":handle_sigbus=0"},
    )


# ---- classes


class Overriding(np.ndarray):
    """All that an array says of itself in Python is a lie, or raises."""

    calls = 0

    def lie(self, *_: Any, **__: Any) -> Any:
        type(self).calls += 1
        raise AssertionError("asked")

    __len__ = __iter__ = __getitem__ = __setitem__ = __eq__ = __repr__ = __str__ = lie
    __array__ = __array_ufunc__ = __array_function__ = __reduce__ = __bool__ = __index__ = lie
    __float__ = __int__ = __complex__ = __contains__ = __copy__ = __deepcopy__ = lie
    __hash__ = None  # type: ignore[assignment]
    dtype = shape = strides = ndim = size = itemsize = nbytes = flags = data = base = T = property(
        lie
    )  # type: ignore[assignment]
    __array_interface__ = __array_struct__ = property(lie)
    __array_priority__ = -1e300


def overriding(array: np.ndarray) -> np.ndarray:
    view = array.view(Overriding)
    Overriding.calls = 0
    return view


def test_a_class_that_overrides_everything_is_not_asked():
    """Sharing and copying look at the memory, not at what the class says."""
    plain = np.arange(6.0).reshape(2, 3)
    hostile = overriding(plain)
    (shared,) = tensorlift.from_numpy([hostile])
    assert shared.data_ptr() == plain.ctypes.data
    (copied,) = tensorlift.from_numpy([hostile], dtype=torch.float32)
    assert copied.tolist() == plain.tolist()
    for call in (tensorlift.stack, tensorlift.cat):
        assert call([hostile, plain]).sum() == 2 * plain.sum()
    assert tensorlift.pad([hostile, plain]).sizes.tolist() == [[2, 3]] * 2
    assert tensorlift.jagged([hostile, plain]).offsets.tolist() == [0, 2, 4]
    assert [e.action for e in tensorlift.explain([hostile])] == ["shared"]
    tensorlift.collate([hostile, plain])
    assert Overriding.calls == 0


def test_an_error_about_such_an_array_does_not_ask_it_either():
    hostile = overriding(np.array([None, 1]))
    with pytest.raises(TypeError, match=r"^arrays\[1\]: expected a dtype with a torch counterpart"):
        tensorlift.from_numpy([np.ones(2), hostile])
    with pytest.raises(ValueError, match=r"^arrays\[1\]: expected shape \(2,\)"):
        tensorlift.stack([np.ones(2), overriding(np.ones(3))])
    assert Overriding.calls == 0


def test_a_class_whose_views_raise():
    class Finalizing(np.ndarray):
        armed = False

        def __array_finalize__(self, _: object) -> None:
            if Finalizing.armed:
                raise OSError("no views of me")

    array = np.arange(4.0).view(Finalizing)
    Finalizing.armed = True
    (tensor,) = tensorlift.from_numpy([array])
    assert tensor.tolist() == [0, 1, 2, 3]
    assert tensorlift.stack([array, array]).shape == (2, 4)
    assert tensorlift.from_numpy([array], dtype=torch.int32)[0].tolist() == [0, 1, 2, 3]


def test_a_class_that_lies_about_being_an_instance():
    class Instance(np.ndarray):
        @property
        def __class__(self) -> Any:
            raise OSError("classless")

    array = np.arange(3.0).view(Instance)
    try:
        (tensor,) = tensorlift.from_numpy([array])
    except OSError:  # isinstance() asks for __class__, where numpy.ma is loaded
        return
    assert tensor.tolist() == [0, 1, 2]


def test_what_only_says_that_it_is_an_array():
    class Pretender:
        __class__ = np.ndarray  # type: ignore[assignment]

    for call in (tensorlift.from_numpy, tensorlift.stack):
        with pytest.raises(TypeError, match=r"^arrays\[0\]: expected numpy.ndarray, got Pretender"):
            call([Pretender()])


@pytest.mark.parametrize("copy", [None, True])
def test_a_destructor_that_converts_again(copy):
    """It runs inside of whatever lets go of the last reference."""
    kept: list[Any] = []

    class Lazarus(np.ndarray):
        def __del__(self) -> None:
            kept.append(tensorlift.from_numpy([np.asarray(self)], copy=copy)[0].sum().item())
            kept.append(tensorlift.stack([np.asarray(self)] * 3).sum().item())

    for _ in range(20):
        tensors = tensorlift.from_numpy([np.ones(4).view(Lazarus) for _ in range(10)], copy=copy)
        del tensors
    gc.collect()
    assert kept == [4, 12] * 200


def test_a_destructor_that_raises():
    class Raising(np.ndarray):
        def __del__(self) -> None:
            raise OSError("last words")

    seen = []
    hook, sys.unraisablehook = sys.unraisablehook, lambda ignored: seen.append(ignored.exc_value)
    try:
        tensors = tensorlift.from_numpy([np.ones(3).view(Raising) for _ in range(5)])
        del tensors
        with pytest.raises(TypeError):
            tensorlift.from_numpy([*(np.ones(3).view(Raising) for _ in range(5)), "x"])
    finally:
        sys.unraisablehook = hook
    assert len(seen) == 10


def test_a_destructor_that_brings_the_array_back():
    grave: list[Any] = []

    class Undead(np.ndarray):
        def __del__(self) -> None:
            grave.append(self)

    array = np.arange(3.0).view(Undead)
    (tensor,) = tensorlift.from_numpy([array])
    del array, tensor
    assert grave[0].tolist() == [0, 1, 2]
    (again,) = tensorlift.from_numpy(grave)
    assert again.tolist() == [0, 1, 2]


# ---- views of one memory


def test_overlapping_views_of_one_buffer(tl):
    memory = np.arange(32.0)
    views = [memory[i : i + 8] for i in range(0, 24, 3)] + [memory[::-1], memory[::4], memory[:1]]
    before = sys.getrefcount(memory)
    tensors = tl.from_numpy(views)
    for tensor, view in zip(tensors, views, strict=True):
        assert tensor.tolist() == view.tolist()
    memory += 1
    for tensor, view in zip(tensors, views, strict=True):
        if view.strides[0] > 0:
            assert tensor.tolist() == view.tolist()
    assert torch.equal(tl.cat(views), torch.cat([torch.from_numpy(v.copy()) for v in views]))
    del tensors, view, tensor
    gc.collect()
    assert sys.getrefcount(memory) == before


def test_one_array_many_times(tl):
    array = np.arange(5.0)
    tensors = tl.from_numpy([array] * 1000)
    tensors[7][0] = 9
    assert all(t[0] == 9 for t in tensors)
    del tensors
    gc.collect()
    assert array[0] == 9


@pytest.mark.parametrize("seed", range(20))
def test_a_destination_that_is_a_source(tl, seed):
    """Any views of one buffer are joined into other views of it."""
    rng = np.random.default_rng(seed)
    memory = rng.integers(0, 100, 400).astype(np.float32)
    rows, columns = int(rng.integers(1, 6)), int(rng.integers(1, 6))
    sources = []
    for _ in range(rows):
        step = int(rng.choice([-3, -1, 1, 2, 5]))
        first = int(rng.integers(100, 200))
        sources.append(memory[first::step][:columns])
    first = int(rng.integers(100, 180))
    out = torch.from_numpy(memory)[first : first + rows * columns].view(rows, columns)
    expected = torch.from_numpy(np.stack([s.copy() for s in sources]))
    rest = np.delete(memory.copy(), slice(first, first + rows * columns))
    assert tl.stack(sources, out=out) is out
    assert same_bits(out, expected)
    assert np.array_equal(np.delete(memory, slice(first, first + rows * columns)), rest)


# ---- memory that must not be written to


def protected(nbytes: int) -> tuple[mmap.mmap, np.ndarray]:
    """A page of the number 7 that the system does not let anybody write to."""
    page = mmap.mmap(-1, nbytes)
    page.write(b"\7" * nbytes)
    array = np.frombuffer(page, np.uint8)
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mprotect(ctypes.c_void_p(array.ctypes.data), ctypes.c_size_t(nbytes), 1) == 0
    return page, array


def test_memory_that_is_write_protected_is_only_read():
    _page, array = protected(mmap.PAGESIZE)
    assert array.flags.writeable  # NumPy does not know
    (shared,) = tensorlift.from_numpy([array])
    assert shared.sum() == 7 * mmap.PAGESIZE
    assert tensorlift.stack([array, array[::-1]]).sum() == 14 * mmap.PAGESIZE
    assert tensorlift.from_numpy([array], dtype=torch.float32)[0].sum() == 7 * mmap.PAGESIZE
    assert tensorlift.cat([array.view(">i4")]).eq(0x07070707).all()
    assert tensorlift.jagged([array, array[:3]]).values.sum() == 7 * (mmap.PAGESIZE + 3)


def test_read_only_memory_is_only_read(tmp_path):
    path = tmp_path / "array.npy"
    np.save(path, np.arange(1000.0))
    array = np.load(path, mmap_mode="r")
    (shared,) = tensorlift.from_numpy([array], readonly="share")
    assert shared.sum() == array.sum()
    assert tensorlift.stack([array, array[::-1]]).sum() == 2 * array.sum()
    alive = weakref.ref(array)
    del array
    gc.collect()
    assert alive() is not None
    assert shared[-1] == 999


# ---- memory that goes away: python/docs/memory.md, "Who keeps what alive"


def test_resize_refuses_while_a_tensor_lives():
    array = np.arange(4.0)
    tensors = tensorlift.from_numpy([array])
    with pytest.raises(ValueError, match="resize"):
        array.resize(1 << 20)
    assert tensors[0].tolist() == [0, 1, 2, 3]


def test_resize_without_a_check_pulls_the_memory_away():
    """As documented, and as with torch.from_numpy: the tensor is not told.

    What lies there now must not be looked at; to let go of everything must still work.
    """
    done = run("""
        import gc, sys, numpy as np, tensorlift
        for n in (4, 1 << 20):
            array = np.zeros(n)
            (tensor,) = tensorlift.from_numpy([array])
            address = tensor.data_ptr()
            array.resize(n * 64, refcheck=False)
            assert tensor.shape == (n,) and tensor.data_ptr() == address
            (again,) = tensorlift.from_numpy([array])
            assert again.shape == (n * 64,) and again.data_ptr() == array.ctypes.data
            assert again.sum() == 0
            del tensor, again
            gc.collect()
            assert sys.getrefcount(array) == 2
        print("done")
    """)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


TRUNCATED = """
    import gc, os, sys, tempfile, numpy as np, torch, tensorlift
    file = tempfile.TemporaryFile()
    file.truncate(1 << 20)
    array = np.memmap(file, np.uint8, "r+", shape=1 << 20)
    (tensor,) = tensorlift.from_numpy([array])
    file.truncate(4096)
    assert tensor[:4096].sum() == 0  # what is left of it
    for use in sys.argv[1:]:
        child = os.fork()
        if child == 0:
            exec(use)
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    del tensor, array
    gc.collect()
"""


def test_a_truncated_file_is_a_bus_error():
    """As documented: the system ends whoever reads there, NumPy and torch as well."""
    uses = ["tensor.sum()", "array.sum()", "tensorlift.stack([array])", "del tensor, array"]
    done = run(TRUNCATED, *uses)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == [str(-signal.SIGBUS)] * 3 + ["0"]
