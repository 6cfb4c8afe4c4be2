"""stack, cat and pad do with tensors of every kind, and with out=, what torch's functions do, and
raise what those raise. What differs is a row of differences.py."""

import numpy as np
import pytest
import torch

import tensorlift
from against_torch.differences import DIFFERENCES
from against_torch.outcome import outcome
from against_torch.values import KINDS, labelled, quantised

pytestmark = pytest.mark.filterwarnings("ignore")  # of values; those of calls are compared

ONES = torch.ones


def pad(module, items, value=0):
    if module is torch:
        return torch.nn.utils.rnn.pad_sequence(items, batch_first=True, padding_value=value)
    return module.pad(items, padding_value=value).batch


def over_itself(module, operation):
    memory = torch.arange(6.0)
    out = memory.view(2, 3) if operation == "stack" else memory
    return getattr(module, operation)([memory[:3], memory[3:]], out=out)


def float4():
    return torch.zeros(3, dtype=torch.uint8).view(torch.float4_e2m1fn_x2)


CALLS = {
    "nothing": lambda m, join: join([]),
    "a tuple": lambda m, join: join((ONES(2), ONES(2))),
    "other shapes": lambda m, join: join([ONES(2, 2), ONES(2, 3)]),
    "other dimensions": lambda m, join: join([ONES(2, 2), ONES(2)]),
    "no dimensions": lambda m, join: join([torch.tensor(1.0), torch.tensor(2.0)]),
    "a dimension that is not there": lambda m, join: join([ONES(2)], 5),
    "a dimension beyond 64 bits": lambda m, join: join([ONES(2)], 1 << 70),
    "a negative dimension": lambda m, join: join([ONES(2, 3)] * 2, -2),
    "a dimension that is a float": lambda m, join: join([ONES(2)], 1.0),
    "a dimension that is a bool": lambda m, join: join([ONES(2)], True),
    "a dimension of NumPy's": lambda m, join: join([ONES(2, 2)], np.int64(1)),
    "None": lambda m, join: join([ONES(2), None]),
    "None first": lambda m, join: join([None, ONES(2)]),
    "numbers": lambda m, join: join([1, 2]),
    "None for a list": lambda m, join: join(None),
    "sparse tensors": lambda m, join: join([KINDS["tensor, COO"](), KINDS["tensor, COO"]()]),
    "a sparse tensor": lambda m, join: join([ONES(3), KINDS["tensor, COO"]()]),
    "a compressed tensor": lambda m, join: join([torch.eye(2), KINDS["tensor, CSR"]()]),
    "a nested tensor": lambda m, join: join([ONES(2), KINDS["tensor, nested"]()]),
    "a jagged tensor": lambda m, join: join([ONES(2), KINDS["tensor, jagged"]()]),
    "jagged tensors": lambda m, join: join([KINDS["tensor, jagged"]()] * 2),
    "a quantised tensor": lambda m, join: join([ONES(3), quantised()]),
    "quantised tensors": lambda m, join: join([quantised(), quantised()]),
    "a meta tensor": lambda m, join: join([ONES(3), ONES(3, device="meta")]),
    "meta tensors": lambda m, join: join([ONES(3, device="meta")] * 2),
    "a subclass": lambda m, join: join([ONES(3), labelled("a")]),
    "subclasses": lambda m, join: join([labelled("a"), labelled("b")]),
    "float4": lambda m, join: join([float4(), float4()]),
    "float4 and float32": lambda m, join: join([ONES(3), float4()]),
    "bits": lambda m, join: join([torch.zeros(3, dtype=torch.uint8).view(torch.bits8)] * 2),
    "dtypes that do not promote": lambda m, join: join(
        [ONES(3, dtype=torch.uint16), ONES(3, dtype=torch.int64)]
    ),
    "float8 of two kinds": lambda m, join: join(
        [ONES(3).to(torch.float8_e5m2), ONES(3).to(torch.float8_e4m3fn)]
    ),
    "real and complex": lambda m, join: join([ONES(3), ONES(3) * 1j]),
    "pending conjugation": lambda m, join: join([KINDS["tensor, conjugated"]()] * 2),
    "out, empty": lambda m, join: join([ONES(3)] * 2, out=torch.empty(0)),
    "out, an empty view": lambda m, join: join([ONES(3)] * 2, out=torch.empty(4)[:0]),
    "out, empty, of NumPy's": lambda m, join: join(
        [ONES(3)] * 2, out=torch.from_numpy(np.empty(0, "f4"))
    ),
    "out, empty, channels last": lambda m, join: join(
        [KINDS["tensor, channels last"]()] * 2, out=torch.empty(0)
    ),
    "out, wider": lambda m, join: join(
        [ONES(2, 3)] * 2, out=join([ONES(2, 3)] * 2).to(torch.float64)
    ),
    "out, narrower": lambda m, join: join(
        [ONES(2, 3)] * 2, out=join([ONES(2, 3)] * 2).to(torch.float16)
    ),
    "out, of integers": lambda m, join: join(
        [ONES(2, 3)] * 2, out=join([ONES(2, 3)] * 2).to(torch.int32)
    ),
    "out, elements at one address": lambda m, join: join(
        [ONES(2, 3)] * 2, out=torch.empty(1).expand(join([ONES(2, 3)] * 2).shape)
    ),
    "out, elsewhere": lambda m, join: join([ONES(2, 3)] * 2, out=join([ONES(2, 3)] * 2).to("meta")),
    "out, requires grad": lambda m, join: join(
        [ONES(2, 3)] * 2, out=join([ONES(2, 3)] * 2).requires_grad_()
    ),
    "out, an array": lambda m, join: join([ONES(3)] * 2, out=np.empty((2, 3), "f4")),
    "pad, nothing": lambda m, join: pad(m, []),
    "pad, other dimensions": lambda m, join: pad(m, [ONES(2), ONES(3, 3)]),
    "pad, out of range": lambda m, join: pad(m, [ONES(2).byte(), ONES(3).byte()], 300),
    "pad, below zero": lambda m, join: pad(m, [ONES(2).byte(), ONES(3).byte()], -1),
    "pad, too large for float32": lambda m, join: pad(m, [ONES(2), ONES(3)], 1e40),
    "pad, infinite": lambda m, join: pad(m, [ONES(2), ONES(3)], float("inf")),
    "pad, too large for complex64": lambda m, join: pad(m, [ONES(2) * 1j, ONES(3) * 1j], 1e40),
    "pad, no integer": lambda m, join: pad(m, [ONES(2).int(), ONES(3).int()], float("nan")),
    "pad, cut to an integer": lambda m, join: pad(m, [ONES(2).int(), ONES(3).int()], 2.5),
    "pad, a large integer": lambda m, join: pad(m, [ONES(2), ONES(3)], 1 << 70),
    "pad, too large an integer": lambda m, join: pad(m, [ONES(2).long(), ONES(3).long()], 1 << 70),
    "pad, a tensor": lambda m, join: pad(m, [ONES(2), ONES(3)], torch.tensor(2.5)),
    "pad, a tensor of int": lambda m, join: pad(m, [ONES(2), ONES(3)], torch.tensor(2)),
    "pad, a tensor of 1 element": lambda m, join: pad(m, [ONES(2), ONES(3)], torch.tensor([2.5])),
    "pad, None": lambda m, join: pad(m, [ONES(2), ONES(3)], None),
    "pad, text": lambda m, join: pad(m, [ONES(2), ONES(3)], "a"),
}


@pytest.mark.parametrize("function", ["stack", "cat"])
@pytest.mark.parametrize("name", CALLS)
def test_what_torch_gives_or_raises(name, function):
    def call(module):
        return CALLS[name](module, getattr(module, function))

    theirs = outcome(call, torch)
    ours = outcome(call, tensorlift)
    assert ours.result == theirs.result, (theirs, ours)
    if theirs.error is not None:
        assert ours.error is not None
        assert issubclass(ours.error, theirs.error), (theirs, ours)
    assert ours.warned == theirs.warned


def test_arrays_may_stand_among_them():
    """Where torch's functions take tensors alone."""
    result = tensorlift.stack([np.ones(3, "f4")[::-1], labelled("a")], dtype=torch.float64)
    assert type(result).__name__ == "Labelled"
    assert result.label == "a"
    assert result.dtype == torch.float64
    sparse = tensorlift.cat([KINDS["tensor, COO"]()] * 2, dtype=torch.float64)
    assert sparse.layout == torch.sparse_coo
    assert sparse.dtype == torch.float64
    last = tensorlift.stack(
        [labelled("a").expand(4, 5, 3)] * 2, channel_dim=-1, memory_format=torch.channels_last
    )
    assert last.shape == (2, 3, 4, 5)
    assert last.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("name", ["a sparse tensor", "a quantised tensor", "a meta tensor"])
def test_what_torch_does_not_join_either_is_named(name):
    with pytest.raises(RuntimeError, match=r"^arrays\[1\]: expected .*, got "):
        CALLS[name](tensorlift, tensorlift.stack)


def test_storage_that_was_cut_off_is_never_handed_to_torch():
    """It reads past the end."""
    for cut in (ONES(40), labelled("a")):
        cut.untyped_storage().resize_(4)
        with pytest.raises(TypeError, match=r"^arrays\[0\]: "):
            tensorlift.stack([cut, cut])


# ---- rows of the table that have a test of their own


def test_tensors_that_require_grad():
    leaf = ONES(3, requires_grad=True)
    assert torch.stack([leaf]).requires_grad
    for function in (tensorlift.stack, tensorlift.cat, tensorlift.pad, tensorlift.jagged):
        with pytest.raises(ValueError, match=r"^arrays\[0\]: .* requires grad"):
            function([leaf])


def test_an_out_that_is_a_source():
    for function in ("stack", "cat"):
        with pytest.raises(RuntimeError):
            over_itself(torch, function)
        assert over_itself(tensorlift, function).flatten().tolist() == [0, 1, 2, 3, 4, 5]


def test_an_out_of_another_shape():
    for function in ("stack", "cat"):
        with pytest.warns(UserWarning, match="resized"):
            getattr(torch, function)([ONES(3)] * 2, out=torch.empty(9))
        with pytest.raises(ValueError, match=r"^out: expected shape"):
            getattr(tensorlift, function)([ONES(3)] * 2, out=torch.empty(9))


def test_padding_that_torch_does_not_do():
    with pytest.raises(RuntimeError):
        pad(torch, [torch.tensor(1.0)])
    assert pad(tensorlift, [torch.tensor(1.0)]).tolist() == [1]
    with pytest.raises(TypeError):
        pad(torch, [ONES(1) * 1j, ONES(2) * 1j], 2j)
    assert pad(tensorlift, [ONES(1) * 1j, ONES(2) * 1j], 2j)[0, 1] == 2j


def test_padding_of_several_dtypes_promotes():
    items = [ONES(1).int(), ONES(2) / 2]
    assert pad(torch, items).dtype == torch.int32
    assert pad(tensorlift, items).dtype == torch.float32


def test_padding_of_what_torch_knows_better():
    assert type(pad(torch, [labelled("a"), labelled("b")])).__name__ == "Labelled"
    assert type(pad(tensorlift, [labelled("a"), labelled("b")])) is torch.Tensor
    elsewhere = [ONES(2, device="meta"), ONES(3, device="meta")]
    assert pad(torch, elsewhere).is_meta
    for function in (tensorlift.pad, tensorlift.jagged):
        with pytest.raises(ValueError, match=r"^arrays\[0\]: "):
            function(elsewhere)


def test_each_of_these_is_a_row():
    names = {row.shown_by.partition("::")[2] for row in DIFFERENCES}
    assert names >= {
        "test_tensors_that_require_grad",
        "test_an_out_that_is_a_source",
        "test_an_out_of_another_shape",
        "test_padding_that_torch_does_not_do",
        "test_padding_of_several_dtypes_promotes",
        "test_padding_of_what_torch_knows_better",
    }
