"""Random numbers that are drawn for a while, and then were not."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


@contextmanager
def restored(loader: Any) -> Iterator[None]:
    """Puts back the states of random numbers at its end.

    Those of torch on the CPU, of Python and of NumPy, and of the generators of the loader and of
    its samplers.
    """
    generators = [(generator, generator.get_state()) for generator in _generators(loader)]
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        random.setstate(states[1])
        np.random.set_state(states[2])
        for generator, state in generators:
            generator.set_state(state)


def _generators(loader: Any) -> list[torch.Generator]:
    batch_sampler = getattr(loader, "batch_sampler", None)
    owners = [loader, loader.sampler, batch_sampler, getattr(batch_sampler, "sampler", None)]
    found = [getattr(owner, "generator", None) for owner in owners]
    return [generator for generator in found if isinstance(generator, torch.Generator)]
