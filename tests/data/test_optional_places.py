"""Collate(optional=): places where some samples have nothing."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import tensorlift
from tensorlift import Collate


def samples(has_mask=(True, False, True)):
    return [
        {"image": np.full(3, i, np.float32), "mask": np.full(2, i) if has else None, "id": i}
        for i, has in enumerate(has_mask)
    ]


def test_without_the_option_none_is_an_error_that_names_the_sample():
    for collate in (tensorlift.collate, Collate(dtype=torch.float32)):
        with pytest.raises(RuntimeError, match=r'samples\[1\]\["mask"\].*optional='):
            collate(samples())


@pytest.mark.parametrize("optional", ["drop", {"mask": "drop"}, {("mask",): "drop"}])
def test_none_is_dropped(optional):
    batch = Collate(optional=optional)(samples())
    assert batch["mask"].tolist() == [[0, 0], [2, 2]]
    assert batch["image"].shape == (3, 3)
    assert batch["id"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("optional", ["list", {"mask": "list"}])
def test_values_with_none_are_a_list(optional):
    batch = Collate(optional=optional)(samples())
    assert type(batch["mask"]) is list
    assert [None if m is None else m.tolist() for m in batch["mask"]] == [[0, 0], None, [2, 2]]


@pytest.mark.parametrize("optional", ["drop", "list"])
def test_a_batch_without_none_is_as_without_the_option(optional):
    batch = Collate(optional={"mask": optional})(samples([True, True]))
    assert torch.equal(batch["mask"], tensorlift.collate(samples([True, True]))["mask"])


def test_nothing_at_all():
    assert Collate(optional="drop")(samples([False, False]))["mask"] is None
    assert Collate(optional="list")(samples([False, False]))["mask"] == [None, None]
    assert Collate(optional="drop")([None, None]) is None


def test_with_other_options():
    batch = Collate(optional="drop", pad={"mask": 9}, dtype={"mask": torch.int32})(
        [*samples(), {"image": np.zeros(3, np.float32), "mask": [7], "id": 3}]
    )
    assert batch["mask"].batch.tolist() == [[0, 0], [2, 2], [7, 9]]
    assert batch["mask"].batch.dtype == torch.int32


def test_containers_may_be_missing():
    rows = [{"in": {"x": np.ones(2), "y": 1}}, {"in": None}, {"in": {"x": np.zeros(2), "y": None}}]
    batch = Collate(optional="drop")(rows)
    assert batch["in"]["x"].tolist() == [[1, 1], [0, 0]]
    assert batch["in"]["y"].tolist() == [1]


@pytest.mark.parametrize("workers", [0, 1])
def test_in_a_loader(workers):
    collate = Collate(optional={"mask": "drop"})
    loader = DataLoader(samples() * 4, batch_size=6, num_workers=workers, collate_fn=collate)
    assert [len(batch["mask"]) for batch in loader] == [4, 4]


@pytest.mark.parametrize("optional", ["keep", {"mask": "keep"}, None, 3, {"mask": None}])
def test_other_words_are_refused(optional):
    with pytest.raises(ValueError, match=r'^optional: expected "drop" or "list"'):
        Collate(optional=optional)


def test_it_hashes_and_compares():
    assert hash(Collate(optional={"a": "drop"})) == hash(Collate(optional={"a": "drop"}))
    assert Collate(optional="drop") != Collate(optional="list")
