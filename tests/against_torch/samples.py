"""Samples for batches of all ordered pairs of kinds of values, in each place of a sample."""

import itertools

from torch.utils.data import default_collate

from against_torch.values import KINDS, Pair, Point

PAIRS = list(itertools.product(KINDS, repeat=2))

# Where the value stands in a sample.
PLACES = {
    "alone": lambda value: value,
    "a dict": lambda value: {"n": 1, "x": value},
    "a list": lambda value: [value, 1],
    "a tuple": lambda value: (1, value),
    "a namedtuple": lambda value: Pair(1, value),
    "a dataclass": lambda value: Point(value, 1),
}


def default_collate_and_dataclasses(samples):
    if type(samples[0]) is not Point:
        return default_collate(samples)
    return Point(
        *(default_collate([getattr(sample, name) for sample in samples]) for name in ("x", "y"))
    )


def samples_of(kinds, place):
    return [PLACES[place](KINDS[kind]()) for kind in kinds]


def in_turn(number):
    """Each pair in one place, and each place with pairs of all kinds."""
    return list(PLACES)[(number + number // len(KINDS)) % len(PLACES)]
