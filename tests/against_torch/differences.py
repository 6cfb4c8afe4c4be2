"""Where tensorlift differs from torch: the table of python/docs/differences.md, row by row.

A row explains the differences that the tests of this folder find; one that explains none is gone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from against_torch.outcome import Outcome


class Case(NamedTuple):
    """A call of torch's and ours of the same values."""

    call: str
    kinds: tuple[str, ...]  # of the values, by their names in values.py
    theirs: Outcome
    ours: Outcome
    is_in_worker: bool = False


class Difference(NamedTuple):
    what: str
    in_torch: str
    in_tensorlift: str
    why: str
    # Does it explain that results or exceptions differ? None: a test of its own shows it.
    explains: Callable[[Case], bool] | None = None
    # Does it explain that warnings differ?
    explains_warnings: Callable[[Case], bool] | None = None
    shown_by: str = ""  # that test


NOT_SHARED = {"array, mirrored", "array, odd strides", "array, big-endian"}
TWINS = {"array, bfloat16", "array, float8", "scalar, bfloat16", "scalar uint64"}
PENDING = {"tensor, conjugated", "tensor, negated"}
FLEXIBLE = {"scalar, bytes", "scalar, void", "scalar, record"}
READ_ONLY = ("UserWarning", "The given NumPy array is not")


def is_taken(case: Case) -> bool:
    return case.theirs.error is not None and case.ours.error is None


def are_both_refused(case: Case) -> bool:
    return case.theirs.error is not None and case.ours.error is not None


def dtypes_differ(case: Case) -> bool:
    return dtypes_in(case.theirs.result) != dtypes_in(case.ours.result)


def dtypes_in(result: Any) -> list[str]:
    """Of all tensors in what described() gives."""
    if isinstance(result, tuple):
        return [dtype for part in result for dtype in dtypes_in(part)]
    return [result] if isinstance(result, str) and result.startswith("torch.") else []


DIFFERENCES = [
    Difference(
        "arrays of negative strides, of strides that are no multiple of the itemsize, of foreign "
        "byte order",
        "ValueError",
        "read like all others",
        "every element is copied anyhow",
        lambda case: case.theirs.error is ValueError and bool(NOT_SHARED & {*case.kinds}),
    ),
    Difference(
        "arrays and scalars of ml_dtypes that torch has as well (bfloat16, float8, complex32); "
        "scalars of uint64",
        "TypeError",
        "tensors of that dtype",
        "the bits are the same",
        lambda case: is_taken(case) and bool(TWINS & {*case.kinds}),
    ),
    Difference(
        "dataclasses, classes of attrs and models of pydantic, as samples or in them",
        "TypeError; `default_convert` leaves them as they are",
        "a copy with batches, or tensors, in its fields",
        "they are what named tuples are",
        lambda case: any(
            "dataclass" in name for name in (case.kinds[0], case.call, case.kinds[-1])
        ),
        lambda case: "dataclass" in case.call,
    ),
    Difference(
        "objects with memory that are no sequences: by DLPack, `__array_interface__`, `__array__` "
        "or the buffer protocol (images of PIL, JAX's arrays, mmap)",
        "TypeError",
        "stacked as arrays are",
        "they are arrays by another name",
        shown_by="test_foreign_memory.py::test_collate_takes_them_where_torch_takes_nothing",
    ),
    Difference(
        "types with a method `__collate__(samples)`",
        "TypeError, or what their container type gives",
        "what it returns",
        "a type may know how a batch of it is made",
        shown_by="test_records.py::test_a_type_may_collate_itself",
    ),
    Difference(
        "masked arrays in which something is masked",
        "what lies under the mask is taken",
        "TypeError; `convert` leaves them as they are, as torch does",
        "values that are masked are wrong values",
        lambda case: (
            "array, masked" in case.kinds
            and case.theirs.error is None
            and case.ours.error is TypeError
        ),
    ),
    Difference(
        "read-only arrays in a batch",
        "UserWarning, once a process",
        "no warning",
        "the batch is a copy, to which anybody may write",
        None,
        lambda case: (
            case.call.startswith("collate") and case.theirs.warned - case.ours.warned == {READ_ONLY}
        ),
    ),
    Difference(
        "`convert`: misaligned arrays",
        "shared",
        "copied",
        "torch may crash on them",
        lambda case: case.call.startswith("convert") and "array, misaligned" in case.kinds,
    ),
    Difference(
        "`convert`: scalars of ml_dtypes that torch has as well",
        "left as they are",
        "tensors, as those of NumPy's own types",
        "a scalar is an array of no dimensions",
        lambda case: case.call.startswith("convert") and "scalar, bfloat16" in case.kinds,
    ),
    Difference(
        "`convert`: scalars of bytes and of structured dtypes",
        "TypeError",
        "left as they are",
        "text and arrays of text are left, too",
        lambda case: case.call.startswith("convert") and bool(FLEXIBLE & {*case.kinds}),
    ),
    Difference(
        "`convert`: a tree in which something is refused",
        "UserWarning of the read-only arrays that come before it",
        "no warning",
        "what is refused is refused before anything is converted",
        None,
        lambda case: (
            case.call.startswith("convert")
            and are_both_refused(case)
            and case.theirs.warned - case.ours.warned == {READ_ONLY}
        ),
    ),
    Difference(
        "in a worker: values of several dtypes",
        "cast to the dtype of the first, or a TypeError where that is not possible",
        "promoted, as without workers",
        "the batch does not depend on `num_workers`",
        lambda case: (
            case.is_in_worker and ("can't be cast" in case.theirs.text or dtypes_differ(case))
        ),
    ),
    Difference(
        "in a worker: tensors whose conjugation or negation is pending",
        "RuntimeError",
        "a batch, as without workers",
        "the batch does not depend on `num_workers`",
        lambda case: case.is_in_worker and is_taken(case) and case.kinds[0] in PENDING,
    ),
    Difference(
        "in a worker: tensors and arrays with the channels last in memory",
        "a contiguous batch",
        "a batch in that format, as without workers",
        "the batch does not depend on `num_workers`",
        lambda case: case.is_in_worker and {*case.kinds} == {"tensor, channels last"},
    ),
    Difference(
        "`stack`, `cat`, `pad`, `jagged`: tensors that require grad",
        "the result is part of their graph",
        "ValueError",
        "a batch is data; use torch's functions, or `tensor.detach()`",
        shown_by="test_stack_and_cat.py::test_tensors_that_require_grad",
    ),
    Difference(
        "`out=` that overlaps what is joined",
        "RuntimeError",
        "what is joined is read first",
        "a buffer may be filled from its own parts",
        shown_by="test_stack_and_cat.py::test_an_out_that_is_a_source",
    ),
    Difference(
        "`out=` of another shape that is not empty",
        "resized, with a warning that it will be an error",
        "ValueError",
        "torch's warning says so",
        shown_by="test_stack_and_cat.py::test_an_out_of_another_shape",
    ),
    Difference(
        "`pad` of several dtypes",
        "`pad_sequence` casts to the dtype of the first",
        "promoted, as by `stack` and `cat`",
        "no value is cut off",
        shown_by="test_stack_and_cat.py::test_padding_of_several_dtypes_promotes",
    ),
    Difference(
        "`pad` of arrays without dimensions, or with a complex padding value",
        "`pad_sequence` raises RuntimeError, TypeError",
        "done",
        "nothing is ambiguous about them",
        shown_by="test_stack_and_cat.py::test_padding_that_torch_does_not_do",
    ),
    Difference(
        "`pad`, `jagged`: subclasses of tensors; tensors on a device",
        "`pad_sequence` keeps them",
        "plain tensors; ValueError",
        "use `pad_sequence` for those",
        shown_by="test_stack_and_cat.py::test_padding_of_what_torch_knows_better",
    ),
    Difference(
        "from a worker: `tensor.is_shared()`",
        "True",
        "False; what is sent on is shared as long as the worker lives, and a copy afterwards",
        "it is no memory of torch's, which would not know when to let go of it",
        shown_by="test_worker_batches.py::test_shared_for_others_not_for_torch",
    ),
    Difference(
        "a batch that is one tensor, one array, or bytes, instead of a list of samples",
        "TypeError; memory of the array is shared where it is of numbers",
        "its elements are the samples",
        "a fetch of several samples may give one tensor",
        shown_by="test_pairs.py::test_a_batch_that_is_no_list",
    ),
    Difference(
        "samples with faults in several places",
        "the exception is of the place that torch comes to first",
        "the exception may be of another place",
        "the structure of all samples is read before any value",
        lambda case: are_both_refused(case) and is_container(case.kinds[0]),
        lambda case: are_both_refused(case) and is_container(case.kinds[0]),
    ),
]


def is_container(kind: str) -> bool:
    """Of several places."""
    first = kind.split(",")[0]
    return first in {"dict", "list", "tuple", "namedtuple", "NamedTuple", "array.array"}


def unexplained(case: Case, used: set[str]) -> str:
    """What differs and no row explains, in words; the rows that explain something are noted."""
    theirs, ours = case.theirs, case.ours
    is_same_error = ours.error is not None and issubclass(ours.error, theirs.error or ())
    parts = []
    if (theirs.result, theirs.error) != (ours.result, ours.error) and not is_same_error:
        parts.append(("explains", (theirs.result, theirs.text), (ours.result, ours.text)))
    if theirs.warned != ours.warned and not is_taken(case):  # else it came to more
        parts.append(("explains_warnings", theirs.warned, ours.warned))
    for how, expected, got in parts:
        rows = [row for row in DIFFERENCES if (f := getattr(row, how)) and f(case)]
        if not rows:
            return f"{case.call} of {case.kinds}: expected {expected}, got {got}"
        used.update(row.what for row in rows)
    return ""


def as_table() -> list[str]:
    """In Markdown."""
    rows = [(row.what, row.in_torch, row.in_tensorlift, row.why) for row in DIFFERENCES]
    head = ("what", "torch", "tensorlift", "why")
    return ["| " + " | ".join(row) + " |" for row in (head, ("---",) * 4, *rows)]
