"""Collate(pad=): options for each place, masks beside it, tensors alone."""

import dataclasses
import pickle
from collections import OrderedDict, UserDict, namedtuple

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader

import tensorlift
from tensorlift import Collate, Pad

LENGTHS = (3, 1, 5, 2)
KINDS = [list, np.asarray, torch.tensor, tuple]


def samples(kind=list):
    return [{"ids": kind(range(1, 1 + n)), "id": n} for n in LENGTHS]


def labelled(kind=list):
    return [{**row, "labels": kind(range(row["id"]))} for row in samples(kind)]


def padded(rows, value, side):
    return pad_sequence(
        [torch.tensor(row) for row in rows],
        batch_first=True,
        padding_value=value,
        padding_side=side,
    )


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("kind", KINDS)
def test_tokens_become_what_a_model_takes(kind, side):
    """As collators of tokenizers do it: tensors, and a mask that the samples do not have."""
    ids = Pad(9, padding_side=side, mask="attention_mask", sizes=False)
    labels = Pad(-100, padding_side=side, sizes=False)
    collate = Collate(pad={"ids": ids, "labels": labels}, dtype={"attention_mask": torch.int64})
    batch = collate(labelled(kind))
    rows = labelled()
    assert list(batch) == ["ids", "id", "labels", "attention_mask"]
    assert torch.equal(batch["ids"], padded([row["ids"] for row in rows], 9, side))
    assert torch.equal(batch["labels"], padded([row["labels"] for row in rows], -100, side))
    ones = [[1] * n for n in LENGTHS]
    assert torch.equal(batch["attention_mask"], padded(ones, 0, side))
    assert batch["attention_mask"].dtype == torch.int64


def test_all_options_of_pad():
    options = {
        "padding_side": "left",
        "pad_to_multiple_of": 3,
        "max_length": 4,
        "truncate": "left",
        "mask": torch.float32,
        "mask_dim": 0,
    }
    ours = Collate(pad={"ids": Pad(7, **options)})(samples(np.asarray))["ids"]
    expected = tensorlift.pad([s["ids"] for s in samples()], padding_value=7, **options)
    assert type(ours) is tensorlift.PaddedWithMask
    assert all(torch.equal(a, b) for a, b in zip(ours, expected, strict=True))


def test_a_mask_with_a_key_is_not_there_twice():
    batch = Collate(pad={"ids": Pad(mask="mask")})(samples())
    assert type(batch["ids"]) is tensorlift.Padded
    assert batch["ids"].mask is None
    assert batch["ids"].lengths.tolist() == list(LENGTHS)
    assert batch["mask"].dtype == torch.bool


def test_numbers_and_places_alone_are_pads():
    by_number = Collate(pad={"ids": -1})(samples())["ids"]
    by_pad = Collate(pad={"ids": Pad(-1)})(samples())["ids"]
    assert torch.equal(by_number.batch, by_pad.batch)
    assert torch.equal(
        Collate(pad=["ids"])(samples())["ids"].batch,
        Collate(pad={"ids": Pad()})(samples())["ids"].batch,
    )


@pytest.mark.parametrize("mapping", [dict, OrderedDict, UserDict])
def test_the_mask_is_in_the_mapping_of_its_place(mapping):
    rows = [{"text": mapping(row), "ids": row["ids"]} for row in samples()]
    collate = Collate(pad={("text", "ids"): Pad(mask="mask"), ("ids",): Pad(mask="mask")})
    batch = collate(rows)
    assert type(batch["text"]) is mapping
    assert list(batch["text"]) == ["ids", "id", "mask"] or mapping is not dict
    assert torch.equal(batch["text"]["mask"], batch["mask"])


def test_the_mask_is_named_by_its_own_steps():
    rows = [{"a": {"ids": [1]}, "b": {"ids": [1, 2]}}] * 2
    collate = Collate(pad={"ids": Pad(mask="mask")}, dtype={("b", "mask"): torch.int8})
    batch = collate(rows)
    assert [batch[key]["mask"].dtype for key in "ab"] == [torch.bool, torch.int8]
    for_all = Collate(pad={"ids": Pad(mask="mask")}, dtype=torch.float32)(rows)
    assert for_all["a"]["mask"].dtype == torch.bool


def test_images_of_different_sizes_and_their_mask():
    rng = np.random.default_rng(0)
    rows = [{"image": rng.integers(0, 255, (h, w, 3), np.uint8)} for h, w in ((4, 6), (5, 2))]
    pad = Pad(mask="pixel_mask", mask_dim=(1, 2), sizes=False, pad_to_multiple_of=(1, 4, 4))
    collate = Collate(
        pad={"image": pad},
        channel_dim={"image": -1},
        channels_last=["image"],
        dtype={"image": torch.float32, "pixel_mask": torch.int64},
    )
    batch = collate(rows)
    expected = torch.zeros(2, 3, 8, 8)
    mask = torch.zeros(2, 8, 8, dtype=torch.int64)
    for i, row in enumerate(rows):
        h, w, _ = row["image"].shape
        expected[i, :, :h, :w] = torch.from_numpy(row["image"]).permute(2, 0, 1)
        mask[i, :h, :w] = 1
    assert torch.equal(batch["image"], expected)
    assert torch.equal(batch["pixel_mask"], mask)
    assert batch["image"].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # fork with threads
@pytest.mark.parametrize("workers", [0, 1])
def test_in_a_loader(workers):
    collate = Collate(pad={"ids": Pad(mask="mask", sizes=False), "labels": Pad(-1, mask=True)})
    loader = DataLoader(labelled(), batch_size=4, num_workers=workers, collate_fn=collate)
    (batch,) = loader
    expected = collate(labelled())
    for key in ("ids", "mask", "id"):
        assert torch.equal(batch[key], expected[key])
    for ours, theirs in zip(batch["labels"], expected["labels"], strict=True):
        assert torch.equal(ours, theirs)


def test_a_pad_is_a_value():
    one, other = (Pad(1, pad_to_multiple_of=[2, 3], max_length=[None, 4]) for _ in range(2))
    assert one == other == pickle.loads(pickle.dumps(one))
    assert len({one, other, Pad(1)}) == 2
    assert hash(Collate(pad={"x": one})) == hash(Collate(pad={"x": other}))
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.padding_value = 2


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"padding_value": "0"}, TypeError),
        ({"padding_value": None}, TypeError),
        ({"padding_side": "top"}, ValueError),
        ({"padding_side": None}, TypeError),
        ({"pad_to_multiple_of": 0}, ValueError),
        ({"max_length": 0}, ValueError),
        ({"truncate": "left"}, ValueError),
        ({"truncate": "up", "max_length": 2}, ValueError),
        ({"mask": None}, TypeError),
        ({"mask": 1}, TypeError),
        ({"mask": ("a", "b")}, TypeError),
        ({"mask_dim": 0}, ValueError),
        ({"mask_dim": "0", "mask": "mask"}, TypeError),
        ({"sizes": 1}, TypeError),
        ({"sizes": False, "mask": True}, ValueError),
        ({"sizes": False, "mask": torch.int64}, ValueError),
    ],
)
def test_a_pad_is_checked_when_it_is_made(options, error):
    (option, *_) = options
    with pytest.raises(error, match=f"^{option}: expected "):
        Pad(**options)


def test_options_but_for_the_value_have_names():
    with pytest.raises(TypeError, match="positional argument"):
        Pad(0, "left")


@pytest.mark.parametrize("pad", [{"ids": "left"}, {"ids": None}, {"ids": [0]}])
def test_a_place_takes_a_number_or_a_pad(pad):
    with pytest.raises(TypeError, match=r"^pad: expected a number or a tensorlift\.Pad for 'ids'"):
        Collate(pad=pad)


Sample = namedtuple("Sample", "ids")


@dataclasses.dataclass
class Row:
    ids: list


@pytest.mark.parametrize("kind", [Sample, Row, lambda ids: (ids,), lambda ids: [ids]])
def test_a_mask_needs_a_mapping_for_its_key(kind):
    place = "ids" if kind in (Sample, Row) else 0
    rows = [{"x": kind(row["ids"])} for row in samples()]
    with pytest.raises(
        ValueError, match=r"^samples\[0\]\[\"x\"\]: expected a mapping to put the mask 'mask' into"
    ):
        Collate(pad={place: Pad(mask="mask")})(rows)
    with pytest.raises(
        ValueError, match=r"^samples\[0\]: expected a mapping .* padded place itself"
    ):
        Collate(pad={(): Pad(mask="mask")})([row["ids"] for row in samples()])


def test_the_key_of_a_mask_is_free():
    message = r"^samples\[0\]: expected no key 'id', because Pad\(mask='id'\)"
    with pytest.raises(ValueError, match=message):
        Collate(pad={"ids": Pad(mask="id")})(samples())
    with pytest.raises(ValueError, match=r"^samples\[0\]: expected no key 'mask'"):
        Collate(pad={"ids": Pad(mask="mask"), "labels": Pad(mask="mask")})(labelled())


def test_errors_of_options_name_the_place():
    for pad, message in [
        (Pad(max_length=2), 'samples[0]["ids"]: expected at most max_length=2 elements'),
        (Pad(mask=True, mask_dim=1), 'samples[0]["ids"]: mask_dim: expected a number from -1 to 0'),
        (Pad(padding_side=("left", "left")), 'samples[0]["ids"]: padding_side: expected'),
        (Pad(1.5e300), 'samples[0]["ids"]: padding_value: expected a number within'),
    ]:
        with pytest.raises((ValueError, IndexError)) as raised:
            Collate(pad={"ids": pad})([{"ids": row["ids"]} for row in samples()])
        assert str(raised.value).startswith(message)
