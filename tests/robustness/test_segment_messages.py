"""A message about shared memory that was changed on its way is one RuntimeError, or a tensor within
the memory that was sent: never another exception, and never a look at what is not there."""

import ctypes
import fcntl
import os
import pickle
import random
import struct
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest
import torch
from torch.utils.data._utils import worker

import tensorlift
from support.amount import examples
from tensorlift import _C

pytestmark = pytest.mark.skipif(not _C.has_segments(), reason="needs Linux")


class NoIndex:
    def __index__(self):
        raise ArithmeticError


class Liar(tuple):
    """Has another length than it says."""

    def __len__(self):
        return 1 << 40


NUMBERS = [0, 1, -1, 2, 3, 7, 8, 63, 64, 65, 128, 4096, 1 << 20, (1 << 31) - 1, 1 << 31, 1 << 32]
NUMBERS += [(1 << 63) - 1, 1 << 63, (1 << 64) - 1, 1 << 64, 1 << 70, -(1 << 63), -(1 << 31), -64]
OTHERS = [None, True, 1.5, float("nan"), "x", b"x", [], (), (1, 2), [3], {}, np.int64(3), NoIndex()]
OTHERS += [Liar((1, 2)), torch.tensor(3), object(), (None,), ((1,),), tuple(range(100)), int]
DTYPES = [torch.uint8, torch.float64, torch.complex128, torch.quint8, torch.bits8, torch.bool]


@pytest.fixture(autouse=True)
def in_worker(monkeypatch):
    """This process takes itself for a worker."""
    monkeypatch.setattr(worker, "_worker_info", "anything")
    yield
    tensorlift.empty_cache()


def changed(message, random):
    """The tuple with something in it replaced, left out or added; perhaps several times."""
    message = list(message)
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        place = random.randrange(len(message)) if message else 0
        kind = random.random()
        if kind < 0.1 and message:
            del message[place]
        elif kind < 0.15:
            message.insert(place, random.choice(NUMBERS + OTHERS))
        elif message and type(message[place]) is tuple and kind < 0.7:
            message[place] = changed(message[place], random)
        elif message and kind < 0.85:
            message[place] = random.choice(NUMBERS)
        elif message:
            message[place] = random.choice(NUMBERS + OTHERS + DTYPES)
    return tuple(message)


def refused_or(call, *arguments):
    """What the call gives; None where it raises RuntimeError."""
    try:
        return call(*arguments)
    except RuntimeError as error:
        if not str(error).startswith("shared memory: "):
            raise AssertionError from error
        return None


def test_where_a_tensor_lies():
    rng = random.Random(0)
    batch = tensorlift.collate([np.arange(600, dtype=np.int32).reshape(20, 30)] * 4)
    begin = batch.untyped_storage().data_ptr()
    places = [_C.place_in_segment(t) for t in (batch, batch[1:, ::2], batch.transpose(0, 2))]
    taken = 0
    for _ in range(examples(60_000)):
        tensor = refused_or(_C.tensor_in_segment, changed(rng.choice(places), rng))
        if tensor is None:
            continue
        taken += 1
        first = tensor.data_ptr() - begin
        last = sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride(), strict=True))
        if tensor.numel() > 0:
            assert first >= 0
            assert first + (last + 1) * tensor.itemsize <= batch.nbytes
            assert tensor.numel() > 1 << 20 or tensor.clone().shape == tensor.shape
    assert taken > 0


def test_which_segment_is_offered():
    rng = random.Random(1)
    batch = tensorlift.collate([np.arange(3000)] * 4)
    hold = _C.place_in_segment(batch)[0]
    taken = 0
    for _ in range(examples(12_000)):
        offer, _ = _C.offer_segment(hold, True)
        try:
            descriptor = rng.choice(
                (None, None, None, 0, -1, 1 << 20, 1 << 40, "x", 1.5, NoIndex())
            )
            other = refused_or(_C.accept_offer, changed(offer, rng), descriptor)
            taken += other is not None
        finally:
            refused_or(_C.accept_offer, offer, None)  # it may have been accepted
    assert taken > 0
    assert bool((batch == torch.arange(3000)).all())
    assert pickle.loads(ForkingPickler.dumps(batch))[3, 2999] == 2999


HEADER = struct.Struct("=QQQqQQQ")  # magic, identity (2), owner, count, bytes of each, forgotten
MAGIC = 0x746C7365676D6E33


def sealed_file(content, seals):
    name = ctypes.c_char_p(b"test")
    number = ctypes.CDLL(None).memfd_create(name, 3)  # MFD_CLOEXEC | MFD_ALLOW_SEALING
    if number < 0:
        pytest.skip("memory without a name is forbidden")
    os.write(number, content)
    fcntl.fcntl(number, fcntl.F_ADD_SEALS, seals)
    return number


def test_a_file_that_is_no_segment():
    """Of the right identity, so that it is looked at."""
    rng = random.Random(2)
    batch = tensorlift.collate([np.arange(3000)] * 4)
    offer, _ = _C.offer_segment(_C.place_in_segment(batch)[0], True)
    seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
    taken = 0
    for turn in range(examples(4000)):
        fields = [MAGIC, 5, turn, os.getpid(), 1, 4096, 0]
        for _ in range(rng.choice((0, 0, 1, 2))):
            fields[rng.choice((0, 3, 4, 4, 5, 5, 6))] = rng.choice(NUMBERS[:16]) & 0x7FFFFFFF
        size = rng.choice((8192, 8192, 8192, 4096, HEADER.size)) - HEADER.size
        content = HEADER.pack(*fields) + rng.choice((b"\0", b"\x01", b"\xff")) * size
        number = sealed_file(content, rng.choice((seals, seals, seals, 0)))
        try:
            index, slot = rng.choice((0, 0, 1)), rng.choice((0, 31, 32))
            number_of_offer = rng.choice((0, 1, 0x0101010101010101, (1 << 64) - 1))
            nbytes = rng.choice((0, 64, 4097))
            message = (*offer[:2], 5, turn, index, slot, number_of_offer, nbytes)
            taken += refused_or(_C.accept_offer, message, number) is not None
        finally:
            os.close(number)
    assert taken > 0
