"""Names: who does what while a loader runs, and what it can be slow for."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

Where: TypeAlias = Literal["worker", "pin thread", "transfer thread", "consumer"]
Stage: TypeAlias = Literal[
    "reading",  # samples, from the dataset
    "collating",
    "sending",  # of a worker: batches are pickled; of the consumer: indices
    "receiving",  # batches of workers: they are on their way, and unpickled
    "indices",  # drawing them from the sampler, and torch's own bookkeeping
    "pinning",
    "transfer",
    "the model",
    "freeing",  # the batch
    "noting",  # what is in a batch, which is no part of what is profiled
    "waiting",
]
Verdict: TypeAlias = Literal[
    "reading",
    "collating",
    "many small arrays",
    "crossing",
    "sampling",
    "pinning",
    "transfer",
    "too few workers",
    "the model",
]

WHERE: tuple[Where, ...] = get_args(Where)
STAGES: tuple[Stage, ...] = get_args(Stage)
