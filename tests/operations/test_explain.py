"""explain: the planner's answer, and its table."""

import numpy as np
import pytest
import torch

import tensorlift
from support.inputs import misaligned, odd_strides, read_only


def test_reasons(tl):
    arrays = [
        np.zeros((2, 3), np.float32),
        np.zeros((2, 3))[::-1],
        odd_strides(np.zeros(4)),
        np.zeros(3, ">i4"),
        misaligned(np.zeros(3)),
        np.float64(1),
        read_only(np.zeros(3)),
        np.array(["a"]),
        "no array",
    ]
    entries = tl.explain(arrays)
    assert [(e.action, e.reason) for e in entries] == [
        ("shared", "same memory"),
        ("copied", "negative stride"),
        ("copied", "stride is no multiple of the itemsize"),
        ("copied", "foreign byte order"),
        ("copied", "misaligned data"),
        ("copied", "NumPy scalar"),
        ("shared", "same memory"),
        ("rejected", "dtype without a torch counterpart"),
        ("rejected", "not an array"),
    ]
    assert [e.nbytes for e in entries] == [24, 48, 32, 12, 24, 8, 24, 0, 0]
    assert [e.index for e in entries] == list(range(9))
    assert entries[0].shape == (2, 3)
    assert entries[3].dtype_in == np.dtype(">i4")
    assert entries[3].dtype_out == torch.int32
    assert entries[8].shape is None
    assert (entries.shared, entries.copied, entries.rejected) == (2, 5, 2)
    assert (entries.nbytes_shared, entries.nbytes_copied) == (48, 124)


def test_reasons_that_options_give(tl):
    array = np.zeros(3)

    def reason(a, **options):
        (entry,) = tl.explain([a], **options)
        return entry.action, entry.reason

    assert reason(array, dtype=torch.float32) == ("copied", "cast")
    assert reason(array, copy=True) == ("copied", "copy=True")
    assert reason(array[::-1], copy=True) == ("copied", "negative stride")
    assert reason(array[::-1], copy=False) == ("rejected", "negative stride and copy=False")
    assert reason(read_only(array), readonly="copy") == ("copied", 'read-only and readonly="copy"')
    assert reason(read_only(array), readonly="error") == (
        "rejected",
        'read-only and readonly="error"',
    )


def test_broadcast_memory_counts_once(tl):
    (entry,) = tl.explain([np.broadcast_to(np.zeros(3), (1000, 3))])
    assert entry.nbytes == 24
    (entry,) = tl.explain([np.broadcast_to(np.zeros(3), (1000, 3))], copy=True)
    assert entry.nbytes == 24_000


def test_it_does_nothing(steady_references):
    array = np.arange(4)
    steady_references(array)
    tensorlift.explain([array, array[::-1], "x"])


def test_the_error_is_the_one_that_from_numpy_raises():
    arrays = [np.zeros(1), np.array([None])]
    entry = tensorlift.explain(arrays)[1]
    with pytest.raises(TypeError) as caught:
        tensorlift.from_numpy(arrays)
    assert entry.error == str(caught.value)


def test_options_are_checked(tl):
    with pytest.raises(ValueError, match="readonly: expected"):
        tl.explain([], readonly="maybe")


def test_a_short_list_prints_a_row_each():
    text = str(tensorlift.explain([np.zeros((2, 3)), np.zeros(3, np.int32)[::-1]]))
    assert text.splitlines() == [
        "2 arrays: 1 shared (48 B), 1 copied (12 B)",
        "index  shape   dtype    action  reason           bytes",
        "-----  ------  -------  ------  ---------------  -----",
        "    0  (2, 3)  float64  shared  same memory       48 B",
        "    1  (3,)    int32    copied  negative stride   12 B",
    ]


def test_a_long_list_is_summarised_by_reason():
    arrays = [np.zeros(3)] * 40 + [np.zeros((2, 2))[::-1]] * 3 + ["x"] * 9
    lines = str(tensorlift.explain(arrays)).splitlines()
    assert lines[0] == "52 arrays: 40 shared (960 B), 3 copied (96 B), 9 rejected"
    assert [line.split()[0] for line in lines[3:6]] == ["shared", "rejected", "copied"]
    assert lines[6].startswith("arrays[43]: expected numpy.ndarray, got str")
    assert lines[-1] == "... and 4 more like these"


def test_it_is_a_sequence():
    entries = tensorlift.explain([np.zeros(1), np.zeros(2)[::-1]])
    assert len(entries) == 2
    assert [e.action for e in entries[1:]] == ["copied"]
    assert isinstance(entries[:1], tensorlift.Explanation)
    assert str(tensorlift.explain([])) == "0 arrays"
    assert "2 arrays" in repr(entries)
    assert entries == tensorlift.explain([np.zeros(1), np.zeros(2)[::-1]])
    assert entries != tensorlift.explain([np.zeros(1), np.zeros(2)])
    assert len({entries, entries}) == 1


@pytest.mark.parametrize("strategy", ["first_fit_decreasing", "sequential"])
def test_pack(tl, strategy):
    arrays = [
        np.arange(n, dtype=dtype) for n, dtype in ((3, "f4"), (0, "f4"), (2, "i2"), (4, "f4"))
    ]
    explained = tl.explain(arrays, operation="pack", max_tokens=6, strategy=strategy)
    packed = tl.pack(arrays, 6, strategy=strategy)
    assert explained.shape == packed.tokens.shape
    assert explained.dtype == packed.tokens.dtype
    assert explained.rows == tuple(tuple(row.sequences.tolist()) for row in packed.unbind())
    reasons = ["part of the batch", "empty, left out", "cast", "part of the batch"]
    assert [entry.reason for entry in explained] == reasons
    assert [entry.nbytes for entry in explained] == [12, 0, 8, 16]
    assert "into one torch.float32 tensor of shape (9,), 2 rows" in str(explained)


def test_pack_of_what_is_longer_than_a_row(tl):
    arrays = [np.arange(3), np.arange(9), [1, 2]]
    explained = tl.explain(arrays, operation="pack", max_tokens=4)
    assert [entry.action for entry in explained] == ["copied", "rejected", "copied"]
    assert explained.error.startswith("arrays[1]: expected at most")
    assert explained.rows is None
    explained = tl.explain(arrays, operation="pack", max_tokens=4, truncate="left")
    assert explained.rows == ((1,), (0,), (2,))
    assert explained[1].reason == "truncated"
    assert explained[1].nbytes == 32
    with pytest.raises(TypeError, match="max_tokens: expected"):
        tl.explain(arrays, operation="pack")
    with pytest.raises(ValueError, match="strategy"):
        tl.explain(arrays, operation="pack", max_tokens=4, strategy="best")
    assert tl.explain([], operation="pack", max_tokens=4).error is not None
    assert tl.explain([np.zeros(0)], operation="pack", max_tokens=4).rows == ()
