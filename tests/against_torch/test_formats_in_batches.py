"""collate, install() and a worker's batch give torch's strides for images of every order in memory.

stack and cat are in test_memory_format.py. In a worker torch's own batch is contiguous; ours is as
without workers, a row of differences.py.
"""

import itertools

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, default_collate

import tensorlift

SHAPES = [(2, 3, 4, 5), (1, 3, 4, 5), (2, 1, 4, 5), (2, 3, 1, 1), (2, 3, 2, 3, 2), (1, 1, 2, 2, 3)]


def orders():
    for shape in SHAPES:
        for order in itertools.permutations(range(len(shape))):
            yield shape, order


def image(shape, order, dtype=np.uint8):
    """An array of the shape whose dimensions lie in memory in that order."""
    values = np.resize(np.arange(251, dtype=dtype), [shape[d] for d in order])
    return values.transpose([order.index(d) for d in range(len(shape))])


CASES = list(orders())


class Images(Dataset):
    def __len__(self):
        return len(CASES)

    def __getitem__(self, index):
        array = image(*CASES[index])
        return {"array": array, "tensor": torch.from_numpy(array), "cast": array.astype("f4")}


def batches(collate, **options):
    return list(DataLoader(Images(), batch_size=1, collate_fn=twice(collate), **options))


def twice(collate):
    return lambda samples: collate([samples[0], samples[0]])


def as_installed(samples):
    with tensorlift.install():
        return default_collate(samples)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # fork with threads
@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("collate", [tensorlift.collate, as_installed])
def test_images_of_every_order(collate, workers):
    expected = batches(default_collate)
    assert any(not batch["array"].is_contiguous() for batch in expected)
    for batch, other in zip(batches(collate, num_workers=workers), expected, strict=True):
        for name, tensor in other.items():
            assert torch.equal(batch[name], tensor)
            assert batch[name].stride() == tensor.stride()


def test_images_of_two_orders():
    for shape in SHAPES:
        for first, second in itertools.product(itertools.permutations(range(len(shape))), repeat=2):
            if hash((shape, first, second)) % 7:  # of 5 dimensions there are 28,800
                continue
            arrays = [image(shape, first), image(shape, second)]
            expected = default_collate(arrays)
            batch = tensorlift.collate(arrays)
            assert torch.equal(batch, expected)
            assert batch.stride() == expected.stride()
