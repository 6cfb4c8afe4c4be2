"""TRL: ``tensorlift.pack`` makes the rows of ``trl.pack_dataset``."""

from __future__ import annotations

import os
import random

import pytest

import tensorlift

os.environ.setdefault("HF_HUB_OFFLINE", "1")
datasets = pytest.importorskip("datasets", minversion="3.0")
trl = pytest.importorskip("trl", minversion="0.20")


@pytest.mark.parametrize("max_tokens", [8, 100, 1024])
@pytest.mark.parametrize("truncate", [None, "right"])
def test_the_same_rows(max_tokens, truncate):
    rng = random.Random(max_tokens)
    longest = max_tokens if truncate is None else 2 * max_tokens
    sequences = [[i] * rng.randint(1, rng.choice([longest, 5])) for i in range(500)]
    dataset = datasets.Dataset.from_dict({"input_ids": sequences})
    theirs = trl.pack_dataset(dataset, max_tokens, strategy="bfd")[:]
    rows = tensorlift.pack(sequences, max_tokens, truncate=truncate).unbind()
    assert [row.tokens.tolist() for row in rows] == list(theirs["input_ids"])
    lengths = [row.cu_seqlens.diff().tolist() for row in rows]
    assert lengths == list(theirs["seq_lengths"])
