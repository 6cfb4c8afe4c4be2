"""Hugging Face transformers: the batches of its collators, by ``Collate(pad=)`` and ``jagged``."""

from __future__ import annotations

import os
import random

import pytest
import torch

import tensorlift
from tensorlift import Pad

os.environ.setdefault("HF_HUB_OFFLINE", "1")
transformers = pytest.importorskip("transformers", minversion="4.50")
tokenizers = pytest.importorskip("tokenizers")


def samples(*names):
    rng = random.Random(0)
    lengths = [rng.randint(1, 40) for _ in range(32)]
    return [{name: [rng.randint(1, 999) for _ in range(n)] for name in names} for n in lengths]


def tokenizer(side):
    vocabulary = tokenizers.models.WordLevel({"[PAD]": 0, "a": 1}, unk_token="[PAD]")
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizers.Tokenizer(vocabulary), pad_token="[PAD]", padding_side=side
    )


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("multiple", [None, 16])
def test_padding(side, multiple):
    rows = samples("input_ids")
    theirs = transformers.DataCollatorWithPadding(tokenizer(side), pad_to_multiple_of=multiple)
    pad = Pad(
        0,
        padding_side=side,
        pad_to_multiple_of=multiple,
        mask="attention_mask",
        sizes=False,
    )
    ours = tensorlift.Collate(pad={"input_ids": pad}, dtype={"attention_mask": torch.int64})(rows)
    expected = theirs(rows)
    assert set(ours) == set(expected)
    for name, tensor in ours.items():
        assert tensor.dtype == expected[name].dtype
        assert torch.equal(tensor, expected[name])


def test_labels():
    """As DataCollatorForTokenClassification and DataCollatorForSeq2Seq pad them."""
    rows = samples("input_ids", "labels")
    expected = transformers.DataCollatorForTokenClassification(tokenizer("right"))(
        [dict(row) for row in rows]
    )
    collate = tensorlift.Collate(
        pad={"input_ids": Pad(0, sizes=False), "labels": Pad(-100, sizes=False)}
    )
    for name, tensor in collate(rows).items():
        assert torch.equal(tensor, expected[name])


def test_flattening():
    """Which has one row of all sequences; its first labels of each are -100."""
    rows = samples("input_ids", "labels")
    expected = transformers.DataCollatorWithFlattening(return_flash_attn_kwargs=True)(rows)
    tokens = tensorlift.jagged([row["input_ids"] for row in rows], offsets_dtype=torch.int32)
    labels = tensorlift.jagged([row["labels"] for row in rows]).values
    labels[tokens.offsets[:-1]] = -100
    assert torch.equal(tokens.values[None], expected["input_ids"])
    assert torch.equal(labels[None], expected["labels"])
    assert torch.equal(tokens.position_ids()[None], expected["position_ids"])
    assert torch.equal(tokens.offsets, expected["cu_seq_lens_q"])
    assert tokens.max_length == expected["max_length_q"]
