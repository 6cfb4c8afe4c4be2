"""convert of trees of all kinds of values gives what torch's default_convert gives, each difference
is a row of differences.py."""

import random

import pytest
from torch.utils.data import default_convert

import tensorlift
from against_torch.differences import DIFFERENCES, Case, unexplained
from against_torch.outcome import outcome
from against_torch.samples import PAIRS, PLACES
from against_torch.values import KINDS

pytestmark = pytest.mark.filterwarnings("ignore")  # of values; those of calls are compared


def findings(trees, used):
    for call, kinds, make in trees:
        case = Case(
            call, kinds, outcome(default_convert, make()), outcome(tensorlift.convert, make())
        )
        if text := unexplained(case, used):
            yield text


def alone():
    for kind, value in KINDS.items():
        for place, put in PLACES.items():
            yield f"convert in {place}", (kind,), lambda put=put, value=value: put(value())


def in_pairs(pairs):
    for kinds in pairs:
        yield "convert", kinds, lambda kinds=kinds: [KINDS[kind]() for kind in kinds]


def test_each_in_each_place_and_a_sample_of_pairs():
    used = set()
    trees = [*alone(), *in_pairs(random.Random(0).sample(PAIRS, 3000))]
    assert list(findings(trees, used))[:5] == []
    assert used >= {row.what for row in DIFFERENCES if "`convert`" in row.what}


@pytest.mark.long
def test_all_pairs():
    assert list(findings(in_pairs(PAIRS), set()))[:5] == []
