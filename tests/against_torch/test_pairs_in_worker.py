"""Batches of pairs of kinds of values that come from a worker are what torch's worker sends.

One worker makes all of them, and sends what was raised and warned of as well.
"""

import itertools
import pickle
import random

import pytest
from torch.utils.data import DataLoader, Dataset, default_collate

import tensorlift
from against_torch.differences import DIFFERENCES, Case, unexplained
from against_torch.outcome import described, outcome
from against_torch.samples import (
    PAIRS,
    default_collate_and_dataclasses,
    in_turn,
    samples_of,
)
from against_torch.values import KINDS

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(not tensorlift._C.has_segments(), reason="needs Linux"),
]


def pickles(kind):
    try:
        pickle.dumps(KINDS[kind]())
    except (TypeError, pickle.PicklingError):
        return False
    return True


def sent_pairs():
    sent = set(filter(pickles, KINDS))
    return [pair for pair in PAIRS if sent.issuperset(pair)]


class Calls(Dataset):
    """Sample i is what torch, or we, make of a pair."""

    def __init__(self, pairs):
        self.pairs = pairs

    def __len__(self):
        return 2 * len(self.pairs)

    def __getitem__(self, index):
        kinds = self.pairs[index // 2]
        place = in_turn(index // 2)
        torchs = default_collate if place == "alone" else default_collate_and_dataclasses
        collate = tensorlift.collate if index % 2 else torchs
        batches = []

        def call(samples):
            batches.append(collate(samples))
            return batches[0]

        said = outcome(call, samples_of(kinds, place))
        return said, batches


def received(pairs):
    """For each pair what torch's call and ours did, with the batch as it arrived."""
    loader = DataLoader(Calls(pairs), batch_size=None, num_workers=1, collate_fn=lambda x: x)
    arrived = []
    for said, batches in loader:
        arrived.append(said._replace(result=described(batches[0])) if batches else said)
        del batches
    return zip(arrived[::2], arrived[1::2], strict=True)


def findings(pairs, used):
    for number, (kinds, (theirs, ours)) in enumerate(zip(pairs, received(pairs), strict=True)):
        call = f"collate in a worker, in {in_turn(number)}"
        if text := unexplained(Case(call, kinds, theirs, ours, is_in_worker=True), used):
            yield text


def test_a_sample_of_all_pairs():
    """Those of which a row speaks are among them."""
    of_rows = ["tensor, channels last", "tensor, negated", "tensor float32", "tensor float64"]
    pairs = random.Random(0).sample(sent_pairs(), 2500)
    used = set()
    assert list(findings([*pairs, *itertools.product(of_rows, repeat=2)], used))[:5] == []
    assert used >= {row.what for row in DIFFERENCES if row.what.startswith("in a worker")}


@pytest.mark.long
def test_all_pairs():
    assert list(findings(sent_pairs(), set()))[:5] == []
