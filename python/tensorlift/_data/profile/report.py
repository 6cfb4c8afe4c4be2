"""What `profile_loader` returns."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, fields
from importlib.util import find_spec
from os import PathLike
from textwrap import fill
from typing import TYPE_CHECKING, Any

from ..._ops.explanation import Explanation
from ..._text import format_bytes, format_table, format_time
from .log import Interval
from .shares import Shares
from .stages import STAGES, Verdict, Where

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WIDTH = 88  # of text
_MAX_WORKERS = 8  # that have a row of their own


@dataclass(frozen=True, repr=False)
class LoaderReport:
    """What a data loader is slow for. `str()` gives tables.

    All who take part are listed: workers; the thread that pins; the thread of a DevicePrefetcher;
    the consumer, who takes the batches. Their shares are of their own time, from the first batch to
    the last, and add up to 1.

    Attributes:
        verdict: what the others wait for: "reading" samples; "collating"; "many small arrays",
            each of which costs time in collating and on its way; "crossing" from workers to this
            process; "sampling" of indices; "pinning"; "transfer" to the device; "too few workers",
            which is reading where cores are left; "the model", which is the step.
        remedy: what to do first, in a sentence.
        gain: how many times as many steps a second to expect of that.
        num_workers: the loader's.
        batches: how many were taken.
        samples: in a batch; 0 where `collate_fn` gets no list.
        arrays: tensors and arrays in a batch.
        nbytes: their bytes.
        startup_seconds: until the first batch was there.
        step_seconds: from batch to batch thereafter.
        shares: of "worker" (the mean), "pin thread", "transfer thread" and "consumer", where there
            is one, for each stage: "reading"; "collating"; "sending" (a worker pickles batches, the
            consumer indices); "receiving" (batches are on their way, and unpickled); "indices"
            (drawn from the sampler; torch's own work); "pinning"; "transfer"; "the model";
            "freeing" of the batch; "waiting".
        workers: the shares of each worker.
        explanation: of arrays in the samples of a batch, 1000 at most: what :func:`from_numpy`
            would share, what it has to copy, and why.
    """

    verdict: Verdict
    remedy: str
    gain: float
    num_workers: int
    batches: int
    samples: float
    arrays: float
    nbytes: float
    startup_seconds: float
    step_seconds: float
    shares: dict[Where, Shares]
    workers: tuple[Shares, ...]
    explanation: Explanation
    _intervals: tuple[Interval, ...] = field(repr=False, compare=False)

    def __str__(self) -> str:
        """The verdict, who does what for how long, and what is in a batch."""
        said = fill(f"{self.verdict}: {self.remedy}", _WIDTH)
        return "\n".join([said, "", *self._facts(), "", *self._tables()])

    def __repr__(self) -> str:
        """In one line."""
        return f"<LoaderReport: {self.verdict}, {format_time(self.step_seconds)} a step>"

    def plot(self, path: str | PathLike[str] | None = None) -> Figure:
        """Draws shares, and some steps as they went by. Needs matplotlib.

        Args:
            path: where to write it as well; the format is told by the name.

        Raises:
            ImportError: matplotlib is not installed.
        """
        if find_spec("matplotlib") is None:
            raise ImportError(
                "plot: expected matplotlib, which is not installed. Run: pip install matplotlib"
            )
        from .picture import draw

        figure = draw(self)
        if path is not None:
            figure.savefig(path, facecolor="white")
        return figure

    def as_dict(self) -> dict[str, Any]:
        """What the attributes say, of types that JSON has; of the explanation its totals."""
        explanation = self.explanation
        names = [f.name for f in fields(self) if f.name not in ("explanation", "_intervals")]
        return {
            **{name: getattr(self, name) for name in names},
            "explanation": {
                "arrays": len(explanation),
                "shared": explanation.shared,
                "copied": explanation.copied,
                "rejected": explanation.rejected,
                "nbytes_shared": explanation.nbytes_shared,
                "nbytes_copied": explanation.nbytes_copied,
                "reasons": self._reasons(),
            },
        }

    def _facts(self) -> list[str]:
        of = f" of {self.samples:.4g} samples" if self.samples else ""
        lines = [
            f"{self.batches} batches{of} from {_workers(self.num_workers)}: "
            f"{format_time(self.step_seconds)} a step, the first after "
            f"{format_time(self.startup_seconds)}",
            f"In a batch: {self.arrays:.4g} arrays, {format_bytes(self.nbytes)}",
        ]
        if self.explanation:
            headline = str(self.explanation).partition("\n")[0]
            reasons = (f"; {reason}: {number}" for reason, number in self._reasons().items())
            lines.append(f"In samples of a batch: {headline}{''.join(reasons)}")
        return lines

    def _reasons(self) -> dict[str, int]:
        """Why arrays are not shared, and how many."""
        return dict(Counter(e.reason for e in self.explanation if e.action != "shared"))

    def _tables(self) -> list[str]:
        rows = [
            (where if stage == first else "", stage, format_time(share * seconds), f"{share:.0%}")
            for where, shares in self.shares.items()
            for first in [next(iter(shares))]
            for seconds in [self.step_seconds * (self.num_workers if where == "worker" else 1)]
            for stage, share in shares.items()
        ]
        tables = [
            format_table(("who", "does", "a batch", "share"), rows, right=("a batch", "share"))
        ]
        if self.num_workers > 1:
            tables += ["", self._table_of_workers()]
        return tables

    def _table_of_workers(self) -> str:
        stages = [stage for stage in STAGES if any(stage in shares for shares in self.workers)]
        rows = [
            (str(number), *(f"{shares.get(stage, 0.0):.0%}" for stage in stages))
            for number, shares in enumerate(self.workers)
        ]
        if len(rows) > _MAX_WORKERS:
            rows[_MAX_WORKERS - 1 : -1] = [("...", *("" for _ in stages))]
        return format_table(("worker", *stages), rows, right=("worker", *stages))


def _workers(number: int) -> str:
    return f"{number or 'no'} worker{'' if number == 1 else 's'}"
