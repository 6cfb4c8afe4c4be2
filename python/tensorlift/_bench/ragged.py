"""The suite `ragged`: sequences and images of different sizes become one batch.

The peers are what is written by hand, and the collators of tokenizers where those are installed.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left, insort
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from .. import Collate, Pad, jagged, pack, pad
from .harness import Array, Case, Settings, Suite, Way, shared

_COUNT = 256
_PACKED = 4096
_MAX_TOKENS = 2048


def _sequences(count: int) -> list[Array]:
    rng = np.random.default_rng(0)
    return [rng.integers(1, 30_000, length) for length in rng.integers(10, 513, count)]


def _tokenized(*names: str) -> list[dict[str, list[int]]]:
    """Samples as a tokenizer makes them."""
    return [{name: array.tolist() for name in names} for array in _sequences(_COUNT)]


def _padding_by_hand(samples: list[dict[str, list[int]]]) -> list[torch.Tensor]:
    """What tokenizers do: Python's lists are filled up, and become tensors at the end."""
    rows = [sample["input_ids"] for sample in samples]
    longest = max(map(len, rows))
    ids = [row + [0] * (longest - len(row)) for row in rows]
    mask = [[1] * len(row) + [0] * (longest - len(row)) for row in rows]
    return [torch.tensor(ids), torch.tensor(mask)]


def _padding_of_transformers(samples: list[dict[str, list[int]]]) -> Way:
    """DataCollatorWithPadding, with a tokenizer that has no words."""
    made: list[Any] = []

    def collate() -> list[torch.Tensor]:
        if not made:
            import tokenizers
            import transformers

            words = tokenizers.models.WordLevel({"[PAD]": 0}, unk_token="[PAD]")
            tokenizer = transformers.PreTrainedTokenizerFast(
                tokenizer_object=tokenizers.Tokenizer(words), pad_token="[PAD]"
            )
            made.append(transformers.DataCollatorWithPadding(tokenizer))
        batch = made[0](samples)
        return [batch["input_ids"], batch["attention_mask"]]

    return collate


def _padded_lists() -> Case:
    samples = _tokenized("input_ids")
    ours = Collate(
        pad={"input_ids": Pad(0, mask="attention_mask", sizes=False)},
        dtype={"attention_mask": torch.int64},
    )
    return Case(
        f"pad {_COUNT} lists of 10..512 ints, with mask",
        _COUNT,
        {
            "tensorlift.Collate(pad=)": lambda: list(ours(samples).values()),
            "lists filled up": lambda: _padding_by_hand(samples),
        },
        optional={"DataCollatorWithPadding": _padding_of_transformers(samples)},
        at_least=(10,),
    )


def _flattening_by_hand(samples: list[dict[str, list[int]]]) -> list[torch.Tensor]:
    """As DataCollatorWithFlattening does it."""
    ids: list[int] = []
    labels: list[int] = []
    positions: list[int] = []
    bounds = [0]
    for sample in samples:
        ids += sample["input_ids"]
        labels += [-100, *sample["labels"][1:]]
        positions += list(range(len(sample["input_ids"])))
        bounds.append(len(ids))
    offsets = torch.tensor(bounds, dtype=torch.int32)
    return [torch.tensor([ids]), torch.tensor([labels]), torch.tensor([positions]), offsets]


def _flattening_of_transformers(samples: list[dict[str, list[int]]]) -> Way:
    made: list[Any] = []

    def collate() -> list[torch.Tensor]:
        if not made:
            import transformers

            made.append(transformers.DataCollatorWithFlattening(return_flash_attn_kwargs=True))
        batch = made[0](samples)
        names = ("input_ids", "labels", "position_ids", "cu_seq_lens_q")
        return [batch[name] for name in names]

    return collate


def _flattened_lists() -> Case:
    samples = _tokenized("input_ids", "labels")

    def ours() -> list[torch.Tensor]:
        tokens = jagged([sample["input_ids"] for sample in samples], offsets_dtype=torch.int32)
        labels = jagged([sample["labels"] for sample in samples]).values
        labels.index_fill_(0, tokens.offsets[:-1].long(), -100)
        return [tokens.values[None], labels[None], tokens.position_ids()[None], tokens.offsets]

    return Case(
        f"flatten {_COUNT} lists of 10..512 ints, with labels",
        _COUNT,
        {"tensorlift.jagged": ours, "lists joined": lambda: _flattening_by_hand(samples)},
        optional={"DataCollatorWithFlattening": _flattening_of_transformers(samples)},
        at_least=(20,),
    )


def _padded_left() -> Case:
    arrays = _sequences(_COUNT)

    def by_torch() -> list[torch.Tensor]:
        tensors = shared(arrays)
        batch = pad_sequence(tensors, batch_first=True, padding_side="left")
        lengths = torch.tensor([len(tensor) for tensor in tensors])
        length = batch.shape[1]
        return [batch, torch.arange(length) >= length - lengths[:, None]]

    def ours() -> list[torch.Tensor]:
        padded = pad(arrays, padding_side="left", mask=True)
        return [padded.batch, padded.mask]

    return Case(
        f"pad {_COUNT} x int64(10..512) left, with mask",
        _COUNT,
        {"tensorlift.pad": ours, "pad_sequence, comparison": by_torch},
        at_least=(10,),
    )


def _padded_images() -> Case:
    rng = np.random.default_rng(0)
    images = [rng.random((3, *rng.integers(200, 400, 2)), np.float32) for _ in range(16)]

    def by_hand() -> list[torch.Tensor]:
        """As detection models do it."""
        tensors = shared(images)
        height, width = (max(tensor.shape[d] for tensor in tensors) for d in (1, 2))
        batch = torch.zeros(len(tensors), 3, height, width)
        mask = torch.zeros(len(tensors), height, width, dtype=torch.bool)
        for slot, row, tensor in zip(batch, mask, tensors, strict=True):
            slot[:, : tensor.shape[1], : tensor.shape[2]].copy_(tensor)
            row[: tensor.shape[1], : tensor.shape[2]] = True
        return [batch, mask]

    def ours() -> list[torch.Tensor]:
        padded = pad(images, mask=True, mask_dim=(1, 2))
        return [padded.batch, padded.mask]

    return Case(
        "pad 16 x float32(3,200..400,200..400), with mask",
        16,
        {"tensorlift.pad": ours, "slots of torch.zeros": by_hand},
        at_least=(1,),
    )


def _rows_by_hand(lengths: list[int]) -> list[list[int]]:
    """The longest first, each into the row with the least room that is enough."""
    rows: list[list[int]] = []
    rooms: list[tuple[int, int, int]] = []  # room, when the row got it, the row
    turns = itertools.count()
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        place = bisect_left(rooms, (lengths[index],))
        if place < len(rooms):
            room, _, row = rooms.pop(place)
        else:
            room, row = _MAX_TOKENS, len(rows)
            rows.append([])
        rows[row].append(index)
        if room > lengths[index]:
            insort(rooms, (room - lengths[index], next(turns), row))
    return rows


def _packed() -> Case:
    arrays = _sequences(_PACKED)

    def by_hand() -> list[torch.Tensor]:
        rows = _rows_by_hand([len(array) for array in arrays])
        order = [index for row in rows for index in row]
        lengths = torch.tensor([len(arrays[index]) for index in order])
        bounds = torch.nn.functional.pad(lengths.cumsum(0), (1, 0))
        row_lengths = [sum(len(arrays[index]) for index in row) for row in rows]
        return [
            torch.cat([torch.from_numpy(arrays[index]) for index in order]),
            torch.cat([torch.arange(len(arrays[index])) for index in order]),
            bounds.int(),
            torch.tensor(order),
            torch.tensor([0, *row_lengths]).cumsum(0),
        ]

    return Case(
        f"pack {_PACKED} x int64(10..512) into rows of {_MAX_TOKENS}",
        _PACKED,
        {"tensorlift.pack": lambda: list(pack(arrays, _MAX_TOKENS)), "bisect, torch.cat": by_hand},
    )


def _cases(settings: Settings) -> list[Callable[[], Case]]:
    return [_padded_lists, _flattened_lists, _padded_left, _padded_images, _packed]


SUITE = Suite(
    "ragged",
    "How much faster are sequences and images of different sizes padded, flattened and packed than "
    "by hand, or by the collators of tokenizers?",
    _cases,
)
