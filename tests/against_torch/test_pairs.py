"""Batches of all ordered pairs of kinds of values are torch's: results, storages, exceptions,
warnings. Each difference is a row of differences.py."""

import random

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

import tensorlift
from against_torch.differences import DIFFERENCES, Case, unexplained
from against_torch.outcome import outcome
from against_torch.samples import (
    PAIRS,
    PLACES,
    default_collate_and_dataclasses,
    in_turn,
    samples_of,
)
from against_torch.values import KINDS

pytestmark = pytest.mark.filterwarnings("ignore")  # of values; those of calls are compared

ELSEWHERE = ("in a worker", "`convert`")  # rows that other tests need


def cases(pairs, collate, place_of):
    for number, kinds in enumerate(pairs):
        place = place_of(number)
        torchs = default_collate if place == "alone" else default_collate_and_dataclasses
        theirs = outcome(torchs, samples_of(kinds, place))
        ours = outcome(collate, samples_of(kinds, place))
        yield Case(f"collate in {place}", kinds, theirs, ours)


def findings(all_cases, used):
    return [text for case in all_cases if (text := unexplained(case, used))]


def test_there_are_kinds_enough():
    assert len(KINDS) > 150


def test_all_pairs_each_in_some_place():
    used = set()
    assert findings(cases(PAIRS, tensorlift.collate, in_turn), used)[:5] == []
    here = [row for row in DIFFERENCES if not row.what.startswith(ELSEWHERE)]
    assert used == {row.what for row in here if row.explains or row.explains_warnings}


@pytest.mark.long
@pytest.mark.parametrize("place", PLACES)
def test_all_pairs_in_each_place(place):
    assert findings(cases(PAIRS, tensorlift.collate, lambda _: place), set())[:5] == []


def test_three_samples():
    triples = [(a, b, a) for a, b in PAIRS[::17]] + [(a, a, b) for a, b in PAIRS[::19]]
    assert findings(cases(triples, tensorlift.collate, in_turn), set())[:5] == []


def test_one_sample():
    for place in PLACES:
        alone = [(kind,) for kind in KINDS]
        assert findings(cases(alone, tensorlift.collate, lambda _, place=place: place), set()) == []


def installed(samples):
    with tensorlift.install():
        return default_collate(samples)


def test_installed():
    pairs = random.Random(0).sample(PAIRS, 1000)
    assert findings(cases(pairs, installed, in_turn), set())[:5] == []


def test_a_batch_that_is_no_list():
    for batch in (torch.arange(3.0), b"abc"):
        with pytest.raises(TypeError):
            default_collate(batch)
        assert tensorlift.collate(batch).tolist() == list(batch)
    array = np.arange(3.0)
    assert default_collate(array).data_ptr() == array.ctypes.data
    assert tensorlift.collate(array).data_ptr() != array.ctypes.data
    rows = np.arange(6.0).reshape(3, 2)
    assert torch.equal(tensorlift.collate(rows), default_collate(rows))
