"""A tensor in pinned memory, or on a device, is one like torch's: a storage of its own."""

from __future__ import annotations

import contextlib
import copy
import gc
import io
import pickle

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import tensorlift
from support.device_fixtures import NAME, needs_fake

ROWS = [
    {
        "image": np.full((3, 64, 64), i, np.float32),
        "label": i,
        "box": np.arange(4, dtype=np.int16) + i,
        "id": np.int32(i),
        "mask": np.full((16, 16), i % 2, bool),
    }
    for i in range(8)
]


def from_numpy(**options):
    batch = {key: value.numpy() for key, value in tensorlift.collate(ROWS).items()}
    return dict(zip(batch, tensorlift.from_numpy(batch.values(), **options), strict=True))


def prefetched():
    (batch,) = tensorlift.DevicePrefetcher([tensorlift.collate(ROWS)], NAME)
    return batch


PINNED = {
    "Collate(pin_memory=True)": lambda: tensorlift.Collate(pin_memory=True)(ROWS),
    "from_numpy(pin_memory=True)": lambda: from_numpy(pin_memory=True),
}
ON_DEVICE = {
    "Collate(device=)": lambda: tensorlift.Collate(device=NAME)(ROWS),
    "DevicePrefetcher": prefetched,
    "from_numpy(pack=False)": lambda: from_numpy(device=NAME, pack=False),
}
WAYS = PINNED | ON_DEVICE


@pytest.fixture(params=WAYS)
def batch(request):
    return WAYS[request.param]()


@pytest.fixture(params=PINNED)
def pinned(request):
    return PINNED[request.param]()


def live_bytes(fake):
    return fake.live_pinned_bytes() + fake.live_device_bytes()


def test_each_tensor_has_a_storage_of_its_own(batch):
    expected = tensorlift.collate(ROWS)
    assert len({tensor.untyped_storage().data_ptr() for tensor in batch.values()}) == 5
    for key, tensor in batch.items():
        assert torch.equal(tensor.cpu(), expected[key])
        assert tensor.storage_offset() == 0
        assert tensor.untyped_storage().nbytes() == tensor.nbytes
        assert tensor.data_ptr() % 64 == 0
        assert not tensor._is_view()


def test_it_is_saved_whole_and_alone(batch):
    file = io.BytesIO()
    torch.save({key: tensor.cpu() for key, tensor in batch.items()}, file)
    file.seek(0)
    assert all(torch.equal(t, batch[key].cpu()) for key, t in torch.load(file).items())
    alone = io.BytesIO()
    torch.save(batch["label"].cpu(), alone)
    assert len(alone.getvalue()) < 4000
    assert copy.deepcopy(batch["label"]).untyped_storage().nbytes() == batch["label"].nbytes


@pytest.mark.parametrize("key", ["label", "box", "mask", "image"])
def test_growing_one_never_touches_another(batch, key):
    others = {name: tensor.cpu().clone() for name, tensor in batch.items() if name != key}
    with contextlib.suppress(RuntimeError):  # "Trying to resize storage that is not resizable"
        batch[key].resize_(1 << 16).fill_(1)
    for name, value in others.items():
        assert torch.equal(batch[name].cpu(), value)


def test_what_a_kept_tensor_keeps_is_in_proportion(fake):
    for way in WAYS.values():
        gc.collect()
        before = live_bytes(fake)
        kept = [way()["label"] for _ in range(10)]
        tensorlift.empty_cache()
        assert live_bytes(fake) - before <= 10 * 8192
        del kept


def test_a_pinned_tensor_is_pickled_alone(pinned):
    assert len(pickle.dumps(pinned["label"])) < 2000


def test_torch_knows_that_they_are_pinned(pinned):
    assert all(tensor.is_pinned() for tensor in pinned.values())
    assert all(tensor.pin_memory() is tensor for tensor in pinned.values())


def test_a_data_loaders_pinning_leaves_them_where_they_are():
    addresses = []

    def collate(rows):
        batch = tensorlift.Collate(pin_memory=True)(rows)
        addresses.append([tensor.data_ptr() for tensor in batch.values()])
        return batch

    loader = DataLoader(ROWS, batch_size=4, collate_fn=collate, pin_memory=True)
    batches = list(loader)
    assert [[t.data_ptr() for t in batch.values()] for batch in batches] == addresses


@needs_fake
@pytest.mark.parametrize("key", ["image", "label", "box", "id", "mask"])
def test_torchs_own_transfer_is_recorded(fake, pinned, key):
    expected = pinned[key].clone()
    fake.reset_stats()
    sent = pinned[key].to(NAME, non_blocking=True)
    stats = fake.stats()
    assert (stats["record_event"], stats["record_event_miss"]) == (1, 0)
    pinned.clear()
    dirt = PINNED["Collate(pin_memory=True)"]()  # must not get the memory that is still read from
    for tensor in dirt.values():
        tensor.fill_(1)
    assert torch.equal(sent.cpu(), expected)


def test_old_memory_lives_though_torch_moves_the_storage(pinned):
    """share_memory_() gives a storage a new data pointer; the old memory may still be looked at."""
    tensor = pinned["label"]
    view = tensor.numpy()
    expected = view.copy()
    pinned.clear()
    tensor.share_memory_()
    assert tensor.data_ptr() != view.ctypes.data
    dirt = PINNED["Collate(pin_memory=True)"]()
    dirt["label"].fill_(77)
    assert view.tolist() == expected.tolist() == tensor.tolist()


@needs_fake
def test_pinned_memory_is_asked_for_in_blocks(fake):
    """One for each large column, one for all small ones; a hundred small columns take one."""
    many = [{str(k): np.full(8, k, np.int16) for k in range(100)}] * 4
    for rows, blocks in ((ROWS, 2), (many, 1)):
        fake.reset_stats()
        tensorlift.Collate(pin_memory=True)(rows)
        stats = fake.stats()
        assert stats["pinned_alloc"] + stats["pinned_reuse"] == blocks


@needs_fake
def test_what_a_batch_costs_on_a_device(fake):
    """An allocation and a copy for each column, one wait, and no launch."""
    for way in (ON_DEVICE["Collate(device=)"], ON_DEVICE["from_numpy(pack=False)"]):
        fake.reset_stats()
        way()
        stats = fake.stats()
        assert stats["h2d"] == 5
        assert stats["device_alloc"] + stats["device_reuse"] == 5
        assert stats["event_block"] == 1
        assert (stats["d2d"], stats["stream_sync"], stats["h2d_with_gil"]) == (0, 0, 0)


@pytest.mark.usefixtures("small_ring")
@pytest.mark.parametrize("dtype", [None, torch.float32])
def test_without_packing_through_many_buffers(dtype):
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 99, n).astype(np.uint8) for n in (0, 1, 63, 5000, 70_000, 300, 0)]
    tensors = tensorlift.from_numpy(arrays, device=NAME, pack=False, dtype=dtype)
    for tensor, expected in zip(tensors, tensorlift.from_numpy(arrays, dtype=dtype), strict=True):
        assert torch.equal(tensor.cpu(), expected)
        assert tensor.untyped_storage().nbytes() == tensor.nbytes


@needs_fake
def test_small_tensors_are_cast_before_they_are_sent(fake):
    """A launch for each would cost more than the bytes that it saves."""
    arrays = [np.ones(5000, np.uint8)] * 20
    for pack, casts in ((True, 1), (False, 0)):
        fake.reset_stats()
        tensorlift.from_numpy(arrays, device=NAME, dtype=torch.float32, pack=pack)
        assert fake.stats()["d2d_cast"] == casts
    fake.reset_stats()
    tensorlift.from_numpy([np.ones(50_000, np.uint8)], device=NAME, dtype=torch.float32, pack=False)
    assert fake.stats()["d2d_cast"] == 1


@pytest.mark.parametrize("pack", [1, None, "no"])
def test_pack_is_a_bool(pack):
    with pytest.raises(TypeError, match="pack: expected True or False"):
        tensorlift.from_numpy([np.ones(1)], device=NAME, pack=pack)
