"""Offsets of `jagged` and `pack` are what attention over sequences of different lengths takes."""

import numpy as np
import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

import tensorlift

HEADS, SIZE = 2, 8
LENGTHS = [5, 1, 0, 9, 3]


def sequences():
    rng = np.random.default_rng(0)
    return [rng.normal(size=(n, HEADS, SIZE)).astype(np.float16) for n in LENGTHS]


def packs():
    """Keys of each call: tokens, cu_seqlens, the longest, and the arrays in their order."""
    arrays = sequences()
    jagged = tensorlift.jagged(arrays, offsets_dtype=torch.int32)
    yield jagged.values, jagged.offsets, jagged.max_length, arrays
    packed = tensorlift.pack(arrays, max_tokens=10)
    order = [arrays[i] for i in packed.sequences.tolist()]
    yield packed.tokens, packed.cu_seqlens, packed.max_length, order
    for row in packed.unbind():
        order = [arrays[i] for i in row.sequences.tolist()]
        yield row.tokens, row.cu_seqlens, row.max_length, order


def test_torch_takes_them():
    """On a device without memory: the kernels are for GPUs, the checks of arguments are not."""
    varlen = pytest.importorskip("torch.nn.attention.varlen")
    for tokens, cu_seqlens, longest, _ in packs():
        assert cu_seqlens.dtype == torch.int32
        assert type(longest) is int
        tokens, cu_seqlens = tokens.to("meta"), cu_seqlens.to("meta")
        attended = varlen.varlen_attn(
            tokens, tokens, tokens, cu_seqlens, cu_seqlens, longest, longest
        )
        assert attended.shape == tokens.shape
        assert attended.dtype == torch.float16


def test_torch_attends_within_each_sequence():
    varlen = pytest.importorskip("torch.nn.attention.varlen")
    if not torch.cuda.is_available():
        pytest.skip("the kernels are for GPUs")
    for tokens, cu_seqlens, longest, arrays in packs():
        x, offsets = tokens.cuda(), cu_seqlens.cuda()
        attended = varlen.varlen_attn(x, x, x, offsets, offsets, longest, longest)
        each = [attention(torch.from_numpy(a).float()) for a in arrays]
        torch.testing.assert_close(attended.cpu().float(), torch.cat(each), atol=1e-2, rtol=1e-2)


def attention(tokens, mask=None):
    x = tokens.transpose(0, 1)  # [heads, tokens, size]
    return scaled_dot_product_attention(x, x, x, mask).transpose(0, 1)


def test_the_offsets_keep_sequences_apart():
    """Attention where tokens see those between the same two offsets, as the kernels have it."""
    for tokens, cu_seqlens, longest, arrays in packs():
        place = torch.arange(len(tokens), dtype=torch.int32)
        sequence = torch.searchsorted(cu_seqlens, place, right=True)
        together = attention(tokens.float(), sequence[:, None] == sequence[None, :])
        each = [attention(torch.from_numpy(a).float()) for a in arrays if len(a)]
        torch.testing.assert_close(together, torch.cat(each))
        assert longest == max(map(len, arrays))
