"""Objects that are no arrays and have memory: by the buffer protocol, DLPack, NumPy's protocols."""

import array
import ctypes
import gc
import mmap
import sys
import warnings

import numpy as np
import pytest
import torch

import tensorlift


class Dlpack:
    """An array of another library on the CPU; `device` (2, 0) is CUDA's."""

    def __init__(self, array, device=(1, 0)):
        self.array = array
        self.device = device

    def __dlpack_device__(self):
        return self.device

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)


class ByInterface:
    def __init__(self, array):
        self.array = array

    @property
    def __array_interface__(self):
        return self.array.__array_interface__


class ByArray:
    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return self.array


NUMBERS = np.arange(6, dtype=np.float32).reshape(2, 3)
SHARED = {
    "memoryview": lambda: memoryview(NUMBERS.copy()),
    "strided": lambda: memoryview(np.zeros((2, 6), np.float32))[:1],
    "transposed": lambda: memoryview(NUMBERS.copy().T),
    "array": lambda: array.array("d", [1, 2, 3]),
    "bytearray": lambda: bytearray(b"abc"),
    "mmap": lambda: mmap.mmap(-1, 16),
    "ctypes": lambda: (ctypes.c_int16 * 3)(1, -2, 3),
    "0-d": lambda: ctypes.c_double(2.5),
    "fields": lambda: memoryview(np.zeros(2, np.complex64)),
    "dlpack": lambda: Dlpack(NUMBERS.copy()),
    "interface": lambda: ByInterface(NUMBERS.copy()),
    "__array__": lambda: ByArray(NUMBERS.copy()),
}


def as_numpy_has_it(item):
    return np.from_dlpack(item) if isinstance(item, Dlpack) else np.asarray(item)


@pytest.mark.parametrize("kind", SHARED)
def test_memory_is_shared(tl, kind):
    item = SHARED[kind]()
    expected = as_numpy_has_it(item)
    # NumPy 1.26 makes what comes by DLPack read-only.
    readonly = "error" if expected.flags.writeable else "share"
    (tensor,) = tl.from_numpy([item], copy=False, readonly=readonly)
    assert tensor.shape == expected.shape
    assert tensor.dtype == tl.from_numpy([expected], readonly="share")[0].dtype
    assert np.array_equal(tensor.numpy(), expected)
    tensor += 1
    assert np.array_equal(tensor.numpy(), as_numpy_has_it(item))
    (entry,) = tl.explain([item])
    assert (entry.action, entry.shape) == ("shared", expected.shape)
    assert entry.dtype_in == expected.dtype


@pytest.mark.parametrize("letter", "?bBhHiIlLqQefd")
@pytest.mark.parametrize("order", ["=", ">"])
def test_formats(tl, order, letter):
    item = memoryview(np.array([0, 1, 0, 1], np.dtype(letter).newbyteorder(order)))
    assert tl.stack([item, item]).tolist() == [[0, 1, 0, 1]] * 2


@pytest.mark.parametrize("letter", "?bBhHiIlLqQnNfd")
def test_native_formats(letter):
    (tensor,) = tensorlift.from_numpy([memoryview(bytearray(32)).cast(f"@{letter}")])
    assert tensor.nbytes == 32
    assert not tensor.any()


def test_every_function_takes_them(tl):
    items = [SHARED[kind]() for kind in ("memoryview", "dlpack", "interface", "__array__")]
    mixed = [NUMBERS, torch.from_numpy(NUMBERS), *items]
    expected = torch.from_numpy(NUMBERS)
    assert torch.equal(tl.stack(mixed), expected.expand(6, 2, 3))
    assert torch.equal(tl.cat(mixed), expected.repeat(6, 1))
    assert torch.equal(tl.pad(mixed).batch, expected.expand(6, 2, 3))
    assert torch.equal(tl.jagged(mixed).values, expected.repeat(6, 1))
    for operation in ("stack", "cat", "pad", "jagged"):
        explanation = tl.explain(mixed, operation=operation)
        assert explanation.error is None
        assert {entry.shape for entry in explanation} == {(2, 3)}


def test_read_only_memory_is_told(tl):
    with pytest.warns(UserWarning, match="not writable"):
        (tensor,) = tl.from_numpy([memoryview(b"abc")])
    assert tensor.tolist() == [97, 98, 99]


def test_the_memory_lives_as_long_as_the_tensor(tl):
    item = array.array("i", range(1000))
    references = sys.getrefcount(item)
    tensors = tl.from_numpy([item])
    with pytest.raises(BufferError):  # the tensor has exported it
        item.append(1)
    del tensors
    gc.collect()
    item.append(1)
    assert sys.getrefcount(item) == references


class Raises:
    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("no")


def released():
    view = memoryview(bytearray(3))
    view.release()
    return view


@pytest.mark.parametrize(
    "item",
    [released(), Raises(), Dlpack(NUMBERS, (2, 0)), memoryview(b"abc").cast("c")],
    ids=["released", "raises", "on another device", "text"],
)
def test_what_cannot_be_read_is_named(tl, item):
    with pytest.raises(TypeError, match=r"^arrays\[1\]: expected"):
        tl.from_numpy([NUMBERS, item])
    with pytest.raises(TypeError, match=r"^arrays\[1\]: expected"):
        tl.stack([NUMBERS, item])
    assert [entry.action for entry in tl.explain([NUMBERS, item])] == ["shared", "rejected"]


def test_an_interrupt_is_passed_on():
    class Interrupts:
        def __array__(self, dtype=None, copy=None):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tensorlift.from_numpy([Interrupts()])


class FakeSparse:
    def toarray(self):
        return np.eye(2)


class FakeFrame:
    def to_numpy(self):
        return np.eye(2)


@pytest.mark.parametrize(
    ("item", "remedy", "follow"),
    [
        (b"\x01\x00", "numpy.frombuffer", lambda item: np.frombuffer(item, np.int16)),
        ([1, 2], "numpy.asarray", np.asarray),
        (3, "numpy.asarray", np.asarray),
        (FakeSparse(), "toarray()", lambda item: item.toarray()),
        (FakeFrame(), "to_numpy()", lambda item: item.to_numpy()),
    ],
)
def test_remedies_help(item, remedy, follow):
    with pytest.raises(TypeError) as error:
        tensorlift.from_numpy([item])
    assert remedy in str(error.value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # bytes are read-only
        assert len(tensorlift.from_numpy([follow(item)])) == 1


def test_collate_takes_them_where_torch_takes_nothing():
    samples = [{"x": Dlpack(NUMBERS + i), "y": ByInterface(NUMBERS)} for i in range(3)]
    with pytest.raises(TypeError):
        torch.utils.data.default_collate(samples)
    batch = tensorlift.collate(samples)
    assert torch.equal(batch["x"], torch.from_numpy(np.stack([NUMBERS + i for i in range(3)])))
    assert batch["y"].shape == (3, 2, 3)
    sequences = [{"x": bytearray(b"ab")}, {"x": bytearray(b"cd")}]  # torch's idea of these
    ours, torchs = tensorlift.collate(sequences), torch.utils.data.default_collate(sequences)
    assert [t.tolist() for t in ours["x"]] == [t.tolist() for t in torchs["x"]]


def test_images_of_pil():
    image = pytest.importorskip("PIL.Image")
    images = [image.new("RGB", (4, 3), color) for color in ((1, 2, 3), (4, 5, 6))]
    batch = tensorlift.stack(images, channel_dim=-1)
    assert (batch.dtype, batch.shape) == (torch.uint8, (2, 3, 3, 4))
    assert batch[:, :, 0, 0].tolist() == [[1, 2, 3], [4, 5, 6]]
    assert tensorlift.collate(images).shape == (2, 3, 4, 3)
