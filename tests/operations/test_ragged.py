"""pad with masks, limits and a side for each dimension; offsets and positions of jagged."""

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

import tensorlift
from support.inputs import same_bits

LENGTHS = (3, 7, 1, 0, 7)


def sequences(*tail):
    return [np.arange(1, 1 + n * np.prod(tail, dtype=int)).reshape(n, *tail) for n in LENGTHS]


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("dtype", [True, torch.int64, torch.float16])
def test_the_mask_is_pad_sequence_of_ones(tl, side, dtype):
    batch, sizes, mask = tl.pad(sequences(), padding_side=side, mask=dtype)
    expected = torch.bool if dtype is True else dtype
    ones = [torch.ones(n, dtype=expected) for n in LENGTHS]
    assert same_bits(mask, pad_sequence(ones, batch_first=True, padding_side=side))
    assert torch.equal(batch.bool(), mask.bool())
    assert sizes.flatten().tolist() == list(LENGTHS)


def test_no_mask_unless_it_is_asked_for(tl):
    batch, sizes = tl.pad(sequences())
    assert batch.shape[0] == sizes.shape[0]
    assert tl.pad(sequences()).mask is None


def test_lengths_are_the_first_sizes(tl):
    assert tl.pad(sequences(2)).lengths.tolist() == list(LENGTHS)


def detr(images):
    """The nested tensor of DETR: a batch, and a mask that is True where there is padding."""
    height, width = (max(image.shape[d] for image in images) for d in (1, 2))
    batch = torch.zeros(len(images), 3, height, width)
    mask = torch.ones(len(images), height, width, dtype=torch.bool)
    for i, image in enumerate(images):
        _, h, w = image.shape
        batch[i, :, :h, :w] = torch.from_numpy(image)
        mask[i, :h, :w] = False
    return batch, mask


def test_images_of_different_sizes_as_detr_pads_them(tl):
    images = [np.random.rand(3, *size).astype("f4") for size in ((5, 8), (9, 2), (1, 1))]
    batch, _, mask = tl.pad(images, mask=True, mask_dim=(1, 2))
    expected, is_padding = detr(images)
    assert torch.equal(batch, expected)
    assert torch.equal(mask, ~is_padding)


def test_dimensions_of_the_mask(tl):
    arrays = sequences(4)
    of_all = tl.pad(arrays, mask=True).mask
    assert of_all.shape == (5, 7, 4)
    of_rows = tl.pad(arrays, mask=True, mask_dim=0).mask
    assert torch.equal(of_rows, of_all[..., 0])
    turned = tl.pad(arrays, mask=True, mask_dim=(-1, 0), padding_side=("left", "right")).mask
    sides = tl.pad(arrays, mask=True, padding_side=("left", "right")).mask
    assert torch.equal(turned, sides.permute(0, 2, 1))
    assert tl.pad(arrays, mask=True, mask_dim=()).mask.tolist() == [True] * 5


def test_a_side_for_each_dimension(tl):
    arrays = [np.full((2, 1), 1), np.full((1, 2), 2)]
    batch = tl.pad(arrays, padding_side=("left", "right"), pad_to_multiple_of=(3, 1)).batch
    assert batch.tolist() == [[[0, 0], [1, 0], [1, 0]], [[0, 0], [0, 0], [2, 2]]]
    same = tl.pad(arrays, padding_side=("left", "left")).batch
    assert torch.equal(same, tl.pad(arrays, padding_side="left").batch)


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy, np.ndarray.tolist])
@pytest.mark.parametrize("side", ["right", "left"])
def test_truncated_is_a_slice(tl, kind, side):
    part = slice(2) if side == "right" else slice(-2, None)
    arrays = sequences()
    truncated = tl.pad([kind(a) for a in arrays], max_length=2, truncate=side, mask=True)
    expected = tl.pad([a[part] for a in arrays], mask=True)
    assert all(same_bits(a, b) for a, b in zip(truncated, expected, strict=True))


def test_limits_for_each_dimension_of_any_strides(tl):
    arrays = [np.arange(n * m, dtype=">i4").reshape(m, n).T[::-1] for n, m in ((5, 3), (2, 6))]
    for side, rows, columns in (
        ("right", slice(4), slice(2)),
        ("left", slice(-4, None), slice(-2, None)),
    ):
        limited = tl.pad(arrays, max_length=(4, 2), truncate=side)
        expected = tl.pad([a[rows, columns] for a in arrays])
        assert torch.equal(limited.batch, expected.batch)
        assert torch.equal(limited.sizes, expected.sizes)
    loose = tl.pad(arrays, max_length=(None, 2), truncate="right").batch
    assert torch.equal(loose, tl.pad([a[:, :2] for a in arrays]).batch)


def test_one_limit_is_for_the_first_dimension(tl):
    batch = tl.pad(sequences(9), max_length=2, truncate="right").batch
    assert batch.shape == (5, 2, 9)


def test_a_batch_of_a_fixed_length(tl):
    """A multiple that is the limit."""
    for count in (1, 5):
        batch = tl.pad(sequences()[:count], max_length=4, truncate="right", pad_to_multiple_of=4)
        assert batch.batch.shape == (count, 4)


def test_longer_arrays_are_refused_unless_they_may_be_truncated(tl):
    with pytest.raises(ValueError, match=r"^arrays\[1\]: expected at most .*, got shape \(7, 2\)"):
        tl.pad(sequences(2), max_length=3)
    explained = tl.explain(sequences(2), operation="pad", max_length=3)
    assert [entry.action for entry in explained][:3] == ["copied", "rejected", "copied"]
    assert "max_length=3" in str(
        tensorlift.explain(sequences(), operation="pad", max_length=3).error
    )


def test_explain_says_what_is_truncated(tl):
    explained = tl.explain(sequences(), operation="pad", max_length=3, truncate="left")
    reasons = ["part of the batch", "truncated", "part of the batch"]
    assert [entry.reason for entry in explained][:3] == reasons
    assert [entry.nbytes for entry in explained] == [24, 24, 8, 0, 24]
    assert explained.shape == (5, 3)
    tl.explain(sequences(), operation="cat", max_length=1)  # which has no such option


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"max_length": 0}, ValueError),
        ({"max_length": -1}, ValueError),
        ({"max_length": 1.5}, TypeError),
        ({"max_length": True}, TypeError),
        ({"max_length": "2"}, TypeError),
        ({"max_length": (9, 9)}, ValueError),
        ({"max_length": ()}, ValueError),
        ({"truncate": "right"}, ValueError),
        ({"truncate": "up", "max_length": 9}, ValueError),
        ({"truncate": True, "max_length": 9}, TypeError),
        ({"mask": None}, TypeError),
        ({"mask": 1}, TypeError),
        ({"mask": np.bool_}, TypeError),
        ({"mask": "bool"}, TypeError),
        ({"mask": torch.quint8}, TypeError),
        ({"mask_dim": 0}, ValueError),
        ({"mask_dim": 1, "mask": True}, IndexError),
        ({"mask_dim": (0, -1), "mask": True}, ValueError),
        ({"mask_dim": 0.5, "mask": True}, TypeError),
        ({"mask_dim": "0", "mask": True}, TypeError),
        ({"padding_side": ("left", "right")}, ValueError),
        ({"padding_side": ["up"]}, ValueError),
        ({"padding_side": [1]}, TypeError),
        ({"padding_side": None}, TypeError),
        ({"pad_to_multiple_of": (2, 0)}, ValueError),
        ({"pad_to_multiple_of": [None]}, TypeError),
        ({"pad_to_multiple_of": "8"}, TypeError),
    ],
)
def test_options_are_checked(tl, options, error):
    (option, *_) = options
    with pytest.raises(error, match=f"^{option}: expected "):
        tl.pad(sequences(), **options)


def test_a_mask_of_no_arrays_dimensions(tl):
    numbers = [np.float32(1), np.float32(2)]
    assert tl.pad(numbers, mask=True).mask.tolist() == [True, True]
    with pytest.raises(IndexError, match=r"^mask_dim: expected "):
        tl.pad(numbers, mask=True, mask_dim=0)


def test_one_without_rows_beside_others(tl):
    """Of shape (0,): it has no element, and the mask says so."""
    boxes = [np.ones((2, 4)), np.zeros(0), np.ones((1, 4))]
    batch, sizes, mask = tl.pad(boxes, mask=True, mask_dim=0, max_length=1, truncate="right")
    assert batch.shape == (3, 1, 4)
    assert sizes.tolist() == [[1, 4], [0, 4], [1, 4]]
    assert mask.tolist() == [[True], [False], [True]]


def test_a_mask_that_has_no_room():
    """It has elements where the batch, which has another dimension of size 0, has none."""
    rows, columns = np.empty((1 << 30, 1, 0)), np.empty((1, 1 << 30, 0))
    assert tensorlift.pad([rows, columns]).batch.numel() == 0
    with pytest.raises(ValueError, match="expected a batch within 64 bits"):
        tensorlift.pad([rows, columns], mask=torch.int64, mask_dim=(0, 1))


def test_a_large_mask_is_written_by_several_threads(tl):
    arrays = [np.ones((n, 1000), np.uint8) for n in (3000, 2000)]
    batch, _, mask = tl.pad(arrays, mask=torch.uint8, threads=3)
    assert torch.equal(batch, mask)


def test_a_padded_batch_is_rebuilt_by_torch(tl):
    """As pin_memory and pytrees do it."""
    padded = tl.pad(sequences(), mask=True)
    leaves, spec = torch.utils._pytree.tree_flatten(padded)
    again = torch.utils._pytree.tree_unflatten(leaves, spec)
    assert type(again) is tensorlift.PaddedWithMask
    assert torch.equal(again.lengths, padded.lengths)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_jagged_knows_lengths_and_positions(tl, dtype):
    jagged = tl.jagged(sequences(2), offsets_dtype=dtype)
    assert jagged.offsets.dtype == dtype
    assert jagged.offsets.tolist() == [0, 3, 10, 11, 11, 18]
    assert jagged.lengths.dtype == dtype
    assert jagged.lengths.tolist() == list(LENGTHS)
    assert jagged.max_length == 7
    expected = torch.cat([torch.arange(n) for n in LENGTHS])
    assert same_bits(jagged.position_ids(), expected)


def test_jagged_with_small_offsets_is_nested_as_well(tl):
    nested = tl.jagged(sequences(2), offsets_dtype=torch.int32).to_nested()
    assert [len(part) for part in nested.unbind()] == list(LENGTHS)


def test_jagged_of_empty_arrays(tl):
    jagged = tl.jagged([[], np.zeros(0, int)], offsets_dtype=torch.int32)
    assert jagged.max_length == 0
    assert jagged.position_ids().tolist() == []


@pytest.mark.parametrize(
    ("dtype", "error"),
    [
        (torch.int16, ValueError),
        (torch.float32, ValueError),
        (np.int32, TypeError),
        (None, TypeError),
    ],
)
def test_offsets_are_int32_or_int64(tl, dtype, error):
    with pytest.raises(error, match=r"^offsets_dtype: expected "):
        tl.jagged(sequences(), offsets_dtype=dtype)
    with pytest.raises(error, match=r"^jagged: expected torch\.int64 or torch\.int32 for 'x', got"):
        tensorlift.Collate(jagged={"x": dtype})


def test_more_rows_than_small_offsets_can_count(tl):
    wide = np.broadcast_to(np.zeros((1, 0)), (1 << 30, 0))  # has no elements
    with pytest.raises(
        ValueError, match=r"^offsets_dtype: expected torch\.int64 for 2147483648 rows"
    ):
        tl.jagged([wide, wide], offsets_dtype=torch.int32)
    assert tl.jagged([wide, wide]).offsets[-1] == 1 << 31


def test_offsets_of_a_place():
    rows = [{"x": a} for a in sequences()]
    for places, dtype in ((["x"], torch.int64), ({"x": torch.int32}, torch.int32)):
        jagged = tensorlift.Collate(jagged=places)(rows)["x"]
        assert same_bits(
            jagged.offsets, tensorlift.jagged(sequences(), offsets_dtype=dtype).offsets
        )


def test_positions_of_offsets_of_any_strides():
    offsets = torch.tensor([[0, 9], [2, 9], [2, 9], [5, 9]])[:, 0]
    jagged = tensorlift.Jagged(torch.zeros(5), offsets)
    assert jagged.position_ids().tolist() == [0, 1, 0, 1, 2]


@pytest.mark.parametrize("offsets", [[0, 3, 2], [4, 0], [-(1 << 63), (1 << 63) - 1]])
def test_positions_of_offsets_that_decrease(offsets):
    jagged = tensorlift.Jagged(torch.zeros(5), torch.tensor(offsets))
    with pytest.raises(ValueError, match=r"^offsets: expected numbers that do not decrease, got"):
        jagged.position_ids()


@pytest.mark.parametrize(
    "offsets", [torch.zeros(3), torch.zeros(0, dtype=torch.int64), torch.zeros(2, 2).long()]
)
def test_offsets_are_a_row_of_integers(offsets):
    with pytest.raises(TypeError, match=r"^offsets: expected a 1-D tensor of int32 or int64"):
        tensorlift.Jagged(torch.zeros(5), offsets).position_ids()
