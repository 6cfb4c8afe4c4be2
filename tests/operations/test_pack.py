"""pack: rows of whole sequences, the same as the reference's and as brute force says."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tensorlift
from support.amount import examples
from support.inputs import same_bits
from tensorlift import reference

STRATEGIES = ["first_fit_decreasing", "sequential"]


def sequences(lengths, kind=np.asarray, tail=()):
    numbers = itertools.count()
    flat = [[next(numbers) for _ in range(n * int(np.prod(tail)))] for n in lengths]
    return [
        kind(np.array(part, np.int64).reshape(n, *tail))
        for part, n in zip(flat, lengths, strict=True)
    ]


@settings(max_examples=examples(600), deadline=None)
@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=30),
    st.integers(9, 40),
    st.sampled_from(STRATEGIES),
)
def test_as_the_reference_packs(lengths, max_tokens, strategy):
    arrays = sequences(lengths)
    ours = tensorlift.pack(arrays, max_tokens, strategy=strategy)
    theirs = reference.pack(arrays, max_tokens, strategy=strategy)
    assert all(same_bits(a, b) for a, b in zip(ours, theirs, strict=True))


def test_each_token_is_in_one_row_behind_those_of_its_sequence(tl):
    arrays = sequences([3, 0, 7, 2, 2, 5, 1], tail=(2,))
    packed = tl.pack(arrays, 8)
    bounds = packed.cu_seqlens.tolist()
    assert sorted(packed.sequences.tolist()) == [0, 2, 3, 4, 5, 6]
    for index, (begin, end) in zip(packed.sequences, itertools.pairwise(bounds), strict=True):
        assert torch.equal(packed.tokens[begin:end], torch.from_numpy(arrays[index]))
        assert packed.position_ids[begin:end].tolist() == list(range(end - begin))
    assert set(packed.row_offsets.tolist()) <= set(bounds)
    assert packed.row_offsets.diff().max() <= 8
    assert packed.max_length == 7


def test_the_longest_goes_first_into_the_row_with_the_least_room(tl):
    packed = tl.pack(sequences([4, 6, 5, 4, 1]), 10)
    # 6, then 5; 4 fits into both: to 6, whose room is 4; the next 4 to 5; 1 to that one.
    assert packed.sequences.tolist() == [1, 0, 2, 3, 4]
    assert packed.row_offsets.tolist() == [0, 10, 20]


def test_of_rows_with_equal_room_the_oldest_room_is_filled(tl):
    packed = tl.pack(sequences([7, 7, 7, 2, 2, 1, 1, 1]), 10)
    rows = [row.sequences.tolist() for row in packed.unbind()]
    assert rows == [[0, 3, 5], [1, 4, 6], [2, 7]]


def test_sequential_keeps_the_order(tl):
    packed = tl.pack(sequences([3, 3, 5, 1, 8, 0, 1]), 8, strategy="sequential")
    assert packed.sequences.tolist() == [0, 1, 2, 3, 4, 6]
    assert packed.row_offsets.tolist() == [0, 6, 12, 20, 21]
    assert torch.equal(packed.tokens, torch.arange(21))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_rows_are_views_with_offsets_of_their_own(tl, strategy):
    packed = tl.pack(sequences([3, 7, 2, 5]), 8, strategy=strategy)
    rows = packed.unbind()
    assert torch.equal(torch.cat([row.tokens for row in rows]), packed.tokens)
    assert torch.equal(torch.cat([row.sequences for row in rows]), packed.sequences)
    for row in rows:
        assert row.cu_seqlens[0] == 0
        assert row.cu_seqlens[-1] == len(row.tokens) == len(row.position_ids)
        assert row.row_offsets.tolist() == [0, len(row.tokens)]
        assert row.cu_seqlens.dtype == torch.int32
        lengths = [[3, 7, 2, 5][index] for index in row.sequences]
        assert row.cu_seqlens.diff().tolist() == lengths
        assert row.max_length == max(lengths)
    rows[0].tokens[0] = 99
    assert packed.tokens[0] == 99


@pytest.mark.parametrize("kind", [np.ndarray.tolist, torch.from_numpy, np.asarray])
def test_lists_of_equal_lengths_are_packed_alike(tl, kind):
    lengths = [3, 1, 4, 1, 5]
    tokens = tl.pack(sequences(lengths, kind), 6)
    labels = tl.pack([-array for array in sequences(lengths)], 6)
    assert torch.equal(tokens.tokens, -labels.tokens)
    for one, other in zip(tokens[1:], labels[1:], strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("side", ["right", "left"])
def test_what_is_longer_than_a_row_is_refused_or_truncated(tl, side):
    arrays = sequences([3, 9, 2])
    with pytest.raises(ValueError, match=r"^arrays\[1\]: expected at most .*4.*, got shape \(9,\)"):
        tl.pack(arrays, 4)
    kept = arrays[1][:4] if side == "right" else arrays[1][-4:]
    ours = tl.pack(arrays, 4, truncate=side)
    expected = tl.pack([arrays[0], kept, arrays[2]], 4)
    assert all(same_bits(a, b) for a, b in zip(ours, expected, strict=True))


def test_dtypes_promote_and_are_cast(tl):
    assert tl.pack([np.ones(2, np.float32), [1]], 4).tokens.dtype == torch.float32
    assert tl.pack([[1], [2, 3]], 4, dtype=torch.int32).tokens.tolist() == [2, 3, 1]


def test_nothing_to_pack(tl):
    packed = tl.pack([[], np.zeros((0,), np.int64)], 4)
    assert [part.tolist() for part in packed] == [[], [], [0], [], [0]]
    assert packed.max_length == 0
    assert packed.unbind() == []
    assert tl.pack([np.zeros((0, 3), np.float32)], 4).tokens.shape == (0, 3)
    with pytest.raises(ValueError, match=r"^arrays: expected at least one array"):
        tl.pack([], 4)


def test_a_row_of_any_length(tl):
    packed = tl.pack(sequences([3, 2]), (1 << 63) - 1)
    assert packed.row_offsets.tolist() == [0, 5]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"max_tokens": 0}, ValueError),
        ({"max_tokens": -4}, ValueError),
        ({"max_tokens": 1.5}, TypeError),
        ({"max_tokens": None}, TypeError),
        ({"max_tokens": True}, TypeError),
        ({"max_tokens": [4]}, TypeError),
        ({"max_tokens": "4"}, TypeError),
        ({"strategy": "best"}, ValueError),
        ({"strategy": None}, TypeError),
        ({"truncate": "up"}, ValueError),
        ({"truncate": True}, TypeError),
        ({"dtype": "int64"}, TypeError),
        ({"threads": 0}, ValueError),
    ],
)
def test_options_are_checked(tl, options, error):
    (option, *_) = options
    with pytest.raises(error, match=f"^{option}: expected "):
        tl.pack(sequences([3, 2]), **{"max_tokens": 8} | options)


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (np.float64(1), ValueError),
        (np.ones((2, 3)), ValueError),
        (None, TypeError),
        (["a"], TypeError),
        (torch.zeros(2, requires_grad=True), ValueError),
    ],
)
def test_errors_name_the_callers_array(tl, bad, error):
    """Not its place in the packed order."""
    with pytest.raises(error, match=r"^arrays\[2\]: expected "):
        tl.pack([[1.0], [1.0, 2.0], bad, [1.0, 2.0, 3.0]], 8)


def test_more_tokens_than_int32_counts(tl):
    wide = np.broadcast_to(np.zeros((1, 0)), (1 << 30, 0))
    with pytest.raises(ValueError, match=r"^arrays: expected .*2147483648"):
        tl.pack([wide, wide], 1 << 31)


def test_threads_write_a_large_one():
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 99, n) for n in rng.integers(0, 3000, 2000)]
    packed = tensorlift.pack(arrays, 4096, threads=3)
    expected = [arrays[index] for index in packed.sequences]
    assert np.array_equal(packed.tokens.numpy(), np.concatenate(expected))
