"""stack, cat, jagged and collate give the strides that torch's own functions give.

Strides of size-1 dimensions included: torch's decisions depend on them.
"""

import itertools
import random

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

import tensorlift

FUNCTIONS = {"native": tensorlift, "reference": tensorlift.reference}


def stacked_strides(device):
    tensor = torch.empty_strided((2, 2, 1, 1), (2, 1, 2, 1), device=device)
    return torch.stack([tensor, tensor]).stride()


# The reference asks the meta device for strides. In torch 2.8 that gives others than the CPU for
# dimensions of size 1.
IS_META_AS_CPU = stacked_strides("meta") == stacked_strides("cpu")
NAMES = [
    "native",
    pytest.param(
        "reference",
        marks=pytest.mark.skipif(not IS_META_AS_CPU, reason="the meta device has other strides"),
    ),
]


def permuted(ndim, sizes, dtype=torch.uint8):
    """Tensors of all shapes of these sizes, in every order in memory."""
    for shape in itertools.product(sizes, repeat=ndim):
        for order in itertools.permutations(range(ndim)):
            inverse = [order.index(d) for d in range(ndim)]
            view = torch.zeros([shape[d] for d in order], dtype=dtype).permute(inverse)
            yield torch.empty_strided(shape, view.stride(), dtype=dtype)  # no view for autograd


def differences(ours, cases):
    """(function, shape, strides, dim, count, ours, torch's) where strides differ."""
    for tensors, has_arrays in cases:
        ndim = tensors[0].dim()
        items = [t.numpy() for t in tensors] if has_arrays else tensors
        for name, dims in (("stack", ndim + 1), ("cat", ndim)):
            for dim in range(dims):
                expected = getattr(torch, name)(tensors, dim)
                got = getattr(ours, name)(items, dim)
                if got.stride() != expected.stride():
                    like = [(tuple(t.shape), t.stride()) for t in tensors]
                    yield name, dim, like, got.stride(), expected.stride()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("ndim", [1, 2, 3, 4, 5])
def test_tensors_and_arrays_in_every_order(name, ndim):
    sizes = (0, 1, 2, 3) if ndim < 4 else (0, 1, 2) if ndim == 4 else (1, 2)
    alike = list(permuted(ndim, sizes))
    if name == "reference":
        alike = alike[:: 1 + len(alike) // 100]
    cases = [
        ([tensor] * count, has_arrays)
        for tensor in alike
        for count in (1, 2)
        for has_arrays in (False, True)
    ]
    assert list(differences(FUNCTIONS[name], cases))[:5] == []


def orders(ndim):
    """As images come: contiguous, with the channels last, in any order."""
    yield list(range(ndim))
    yield [0, *range(2, ndim), 1]
    yield random.sample(range(ndim), ndim)


def mixed_list():
    """Tensors of one shape, of several dtypes and orders; perhaps some that cat passes over."""
    ndim = random.choice((3, 4, 4, 5, 5))
    shape = [random.choice((1, 2, 3)) for _ in range(ndim)]
    tensors = []
    for _ in range(random.choice((1, 2, 2, 3))):
        order = random.choice(list(orders(ndim)))
        inverse = [order.index(d) for d in range(ndim)]
        dtype = random.choice((torch.float32, torch.uint8))
        values = torch.arange(int(np.prod(shape)), dtype=dtype)
        tensors.append(values.reshape([shape[d] for d in order]).permute(inverse))
    if random.random() < 0.2:
        tensors.insert(random.randint(0, len(tensors)), torch.zeros(0))
    return tensors


@pytest.mark.parametrize("name", NAMES)
def test_lists_of_several_orders_and_dtypes(name):
    random.seed(0)
    compared = 0
    for _ in range(3000 if name == "native" else 300):
        tensors = mixed_list()
        for function, dim in (("stack", 0), ("stack", -1), ("cat", 0), ("cat", 1)):
            try:
                expected = getattr(torch, function)(tensors, dim)
            except (RuntimeError, IndexError):
                continue
            result = getattr(FUNCTIONS[name], function)(tensors, dim)
            assert torch.equal(result, expected)
            assert result.stride() == expected.stride()
            compared += 1
    assert compared > 700


def images(layout, dtype=np.uint8):
    """Four arrays with the channels last in memory: (2, 3, 5, 6), or (2, 3, 4, 5, 6)."""
    depth = () if layout == "channels_last" else (4,)
    values = np.resize(np.arange(251, dtype=dtype), (4, 2, *depth, 5, 6, 3))
    return list(np.moveaxis(values, -1, 2))


@pytest.mark.parametrize("layout", ["channels_last", "channels_last_3d"])
def test_collate_keeps_the_format(layout):
    arrays = images(layout)
    tensors = [torch.from_numpy(array) for array in arrays]
    assert tensors[0].is_contiguous(memory_format=getattr(torch, layout))
    expected = default_collate(arrays)
    assert not expected.is_contiguous()
    batches = [tensorlift.collate(arrays), tensorlift.collate(tensors)]
    with tensorlift.install():
        batches += [default_collate(arrays), default_collate(tensors)]
    for batch in batches:
        assert torch.equal(batch, expected)
        assert batch.stride() == expected.stride()


def test_jagged_keeps_the_format_as_nested_tensors_do(tl):
    arrays = images("channels_last")
    expected = torch.nested.nested_tensor(
        [torch.from_numpy(array) for array in arrays], layout=torch.jagged
    )
    values = tl.jagged(arrays).values
    assert torch.equal(values, expected.values())
    assert values.stride() == expected.values().stride()


def test_the_channels_are_moved_before_torch_would_see_them(tl):
    arrays = [array.transpose(0, 2, 3, 1) for array in images("channels_last")]
    moved = [torch.from_numpy(array).movedim(-1, 0) for array in arrays]
    assert tl.cat(arrays, channel_dim=-1).stride() == torch.cat(moved).stride()


def test_a_format_that_is_asked_for_is_given(tl):
    arrays = images("channels_last")
    assert not tl.cat(arrays).is_contiguous()
    assert tl.cat(arrays, memory_format=torch.contiguous_format).is_contiguous()
    contiguous = [np.ascontiguousarray(array) for array in arrays]
    last = tl.cat(contiguous, memory_format=torch.channels_last)
    assert last.is_contiguous(memory_format=torch.channels_last)


def test_a_cast_keeps_the_format(tl):
    arrays = images("channels_last")
    expected = torch.cat([torch.from_numpy(array) for array in arrays]).to(torch.float32)
    result = tl.cat(arrays, dtype=torch.float32)
    assert torch.equal(result, expected)
    assert result.stride() == expected.stride()


def test_padding_is_contiguous_as_by_pad_sequence(tl):
    arrays = images("channels_last")
    expected = torch.nn.utils.rnn.pad_sequence(
        [torch.from_numpy(array) for array in arrays], batch_first=True
    )
    batch = tl.pad(arrays).batch
    assert torch.equal(batch, expected)
    assert batch.stride() == expected.stride()
    assert batch.is_contiguous()


def test_strides_that_torch_has_not(tl):
    """What from_numpy copies to a contiguous tensor counts as contiguous."""
    arrays = [array[:, :, ::-1] for array in images("channels_last")]
    copies = tensorlift.from_numpy(arrays)
    assert tl.cat(arrays).stride() == torch.cat(copies).stride()
    turned = [array[::-1] for array in images("channels_last")]  # in a dimension of size 2
    assert tl.cat(turned).is_contiguous()
    alone = [array[:1][::-1] for array in images("channels_last")]  # a stride that means nothing
    assert tl.cat(alone).stride() == torch.cat(tensorlift.from_numpy(alone)).stride()
