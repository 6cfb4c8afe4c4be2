"""Samples that are records: dataclasses, classes of attrs, models of pydantic; and __collate__."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, default_collate

import tensorlift


@dataclasses.dataclass
class OfDataclasses:
    image: object
    label: object


@dataclasses.dataclass(frozen=True)
class Frozen:
    image: object
    label: object


def of_attrs(**options):
    attrs = pytest.importorskip("attrs")
    return attrs.make_class("OfAttrs", ["image", "label"], **options)


def of_pydantic(**config):
    pydantic = pytest.importorskip("pydantic")
    fields = {"image": (np.ndarray, ...), "label": (int, ...)}
    config = pydantic.ConfigDict(arbitrary_types_allowed=True, **config)
    return pydantic.create_model("OfPydantic", __config__=config, **fields)


RECORDS = {
    "dataclass": lambda: OfDataclasses,
    "frozen dataclass": lambda: Frozen,
    "attrs": of_attrs,
    "attrs, frozen": lambda: of_attrs(frozen=True),
    "attrs, without slots": lambda: of_attrs(slots=False),
    "pydantic": of_pydantic,
    "pydantic, frozen": lambda: of_pydantic(frozen=True),
    "pydantic, validated": lambda: of_pydantic(validate_assignment=True),
}


def samples_of(kind, count=3):
    return [kind(image=np.full((2, 3), i, np.float32), label=i) for i in range(count)]


@pytest.mark.parametrize("name", RECORDS)
def test_records_are_collated_by_field(name):
    kind = RECORDS[name]()
    samples = samples_of(kind)
    with pytest.raises(TypeError):
        default_collate(samples)
    batch = tensorlift.collate([{"in": sample} for sample in samples])["in"]
    assert type(batch) is kind
    assert torch.equal(batch.image, torch.from_numpy(np.stack([s.image for s in samples])))
    assert batch.label.tolist() == [0, 1, 2]
    assert samples[0].label == 0  # a copy is what was changed


@pytest.mark.parametrize("name", RECORDS)
def test_records_are_converted(name):
    (sample,) = samples_of(RECORDS[name](), 1)
    converted = tensorlift.convert([sample])[0]
    assert type(converted) is type(sample)
    assert torch.equal(converted.image, torch.zeros(2, 3))
    assert converted.label == 0
    assert type(sample.image) is np.ndarray


@pytest.mark.parametrize("name", RECORDS)
def test_places_in_records(name):
    samples = samples_of(RECORDS[name](), 2)
    batch = tensorlift.Collate(dtype={"image": torch.float64})(samples)
    assert batch.image.dtype == torch.float64
    other = OfDataclasses(np.zeros(3, np.float32), 1)
    with pytest.raises((TypeError, RuntimeError), match=r"samples\[2\]\.image"):
        tensorlift.collate([*samples, other])


class Sentence:
    """Knows how a batch of it is made."""

    def __init__(self, tokens):
        self.tokens = tokens

    @staticmethod
    def __collate__(samples):
        return tensorlift.jagged([sample.tokens for sample in samples])


def sentences():
    return [{"text": Sentence(np.arange(n)), "label": n} for n in (2, 3, 1, 2)]


def test_a_type_may_collate_itself():
    batch = tensorlift.collate(sentences())
    assert type(batch["text"]) is tensorlift.Jagged
    assert batch["text"].offsets.tolist() == [0, 2, 5, 6, 8]
    assert batch["label"].tolist() == [2, 3, 1, 2]


def test_a_function_of_the_map_comes_before_it():
    batch = tensorlift.collate(
        sentences(), collate_fn_map={Sentence: lambda batch, *, collate_fn_map: len(batch)}
    )
    assert batch["text"] == 4


def test_a_container_may_collate_itself():
    class Bag(dict):
        @classmethod
        def __collate__(cls, samples):
            return cls(size=len(samples))

    assert tensorlift.collate([Bag(x=1), Bag(x=2)]) == {"size": 2}
    assert type(tensorlift.collate([Bag(x=1), Bag(x=2)])) is Bag


@pytest.mark.parametrize("workers", [0, 1])
def test_in_a_loader(workers):
    loader = DataLoader(
        sentences(), batch_size=2, num_workers=workers, collate_fn=tensorlift.collate
    )
    lengths = [batch["text"].offsets.diff().tolist() for batch in loader]
    assert lengths == [[2, 3], [1, 2]]


def test_its_errors_are_its_own():
    class Broken:
        @staticmethod
        def __collate__(samples):
            raise LookupError("broken")

    with pytest.raises(LookupError, match=r"^broken$"):
        tensorlift.collate([Broken()])
