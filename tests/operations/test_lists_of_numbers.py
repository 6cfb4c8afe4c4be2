"""Lists of Python numbers, as tokenizers return them, beside arrays and tensors: pad and jagged."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tensorlift

NUMBERS = st.one_of(
    st.lists(st.booleans()),
    st.lists(st.integers(-(2**63), 2**63 - 1)),
    st.lists(st.one_of(st.booleans(), st.integers(-(2**40), 2**40))),
    st.lists(st.floats()),
    st.lists(st.one_of(st.floats(), st.integers(-1000, 1000))),
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9))),
    st.lists(st.lists(st.floats(), min_size=2, max_size=2)),
)


@settings(deadline=None)  # the first call imports, and machines are busy
@given(NUMBERS.filter(len))
def test_values_and_dtypes_are_those_of_torch_tensor(numbers):
    expected = torch.tensor(numbers)
    for function in (tensorlift, tensorlift.reference):
        for ours in (function.pad([numbers]).batch[0], function.jagged([numbers]).values):
            assert ours.dtype == expected.dtype
            assert torch.equal(ours.nan_to_num(7.0), expected.nan_to_num(7.0))


@pytest.mark.parametrize("bits", [0, 1, 15, 29, 30, 31, 59, 60, 61, 62])
def test_ints_of_any_number_of_digits(bits):
    """Python keeps them in digits of 15 or 30 bits."""
    numbers = [sign * ((1 << bits) + more) for sign in (1, -1) for more in (-1, 0, 1)]
    assert tensorlift.pad([numbers]).batch.tolist() == [numbers]
    assert tensorlift.pad([[*numbers, True]]).batch.tolist() == [[*numbers, 1]]


def test_an_int_that_does_not_fit_is_torchs_error():
    assert tensorlift.pad([[(1 << 63) - 1, -(1 << 63)]]).batch.tolist() == [
        [(1 << 63) - 1, -(1 << 63)]
    ]
    with pytest.raises(TypeError, match=r"arrays\[0\]: expected an array, a tensor or a list"):
        tensorlift.pad([[1, 1 << 63]])


@pytest.mark.parametrize("depth", [4, 12])  # more bytes than memory, and than 64 bits can count
def test_a_small_list_with_too_many_numbers_is_a_memory_error(depth):
    """torch.tensor looks at each of them before it finds out."""
    numbers = [0] * 1000
    for _ in range(depth):
        numbers = [numbers] * 1000
    with pytest.raises(MemoryError):
        tensorlift.pad([numbers])


def test_an_inner_list_that_is_shorter_or_longer_is_refused():
    for last in ([1], [1, 2, 3], 1, [[1, 2]], []):
        with pytest.raises(TypeError, match=r"arrays\[0\]: expected an array, a tensor or a list"):
            tensorlift.pad([[[1, 2], [3, 4], last]])


def test_the_default_dtype_is_followed():
    torch.set_default_dtype(torch.float64)
    try:
        assert tensorlift.pad([[0.1]]).batch.tolist() == [[0.1]]
        assert tensorlift.pad([[0.1]]).batch.dtype == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


def test_lists_beside_arrays_and_tensors(tl):
    mixed = [[1, 2, 3], np.array([4]), torch.tensor([5, 6]), (7,), []]
    batch, sizes = tl.pad(mixed)
    assert batch.tolist() == [[1, 2, 3], [4, 0, 0], [5, 6, 0], [7, 0, 0], [0, 0, 0]]
    assert batch.dtype == torch.int64
    assert sizes.flatten().tolist() == [3, 1, 2, 1, 0]
    assert tl.jagged(mixed).values.tolist() == [1, 2, 3, 4, 5, 6, 7]


def test_numbers_that_are_no_python_numbers(tl):
    strange = [[np.int64(3), 4], [torch.tensor(5)], [True]]
    assert tl.pad(strange).batch.tolist() == [[3, 4], [5, 0], [1, 0]]


@pytest.mark.parametrize("bad", [[1, "a"], [1, [2]], [[1, 2], [3]], [2**70], [None], [{}]], ids=str)
def test_errors_name_the_list(tl, bad):
    with pytest.raises(
        TypeError, match=r"arrays\[1\]: expected an array, a tensor or a list of numbers, got list"
    ):
        tl.pad([[1], bad])
    with pytest.raises(TypeError, match=r'samples\[1\]\["ids"\]: expected an array'):
        tensorlift.Collate(jagged=["ids"])([{"ids": [1]}, {"ids": bad}])


@pytest.mark.parametrize("kind", [list, tuple])
def test_subclasses_are_no_lists_of_numbers(tl, kind):
    subclass = type("Subclass", (kind,), {})
    for function in (tl.pad, tl.jagged):
        with pytest.raises(TypeError, match=r"arrays\[1\]: expected numpy.ndarray, got Subclass"):
            function([[1], subclass([2])])


def test_a_list_that_contains_itself():
    endless = [1]
    endless.append(endless)
    first = []
    first.append(first)
    for bad in (endless, first):
        with pytest.raises((TypeError, RecursionError)):
            tensorlift.pad([bad])


def test_lists_are_no_arrays_elsewhere():
    for function in (tensorlift.stack, tensorlift.cat, tensorlift.from_numpy):
        with pytest.raises(TypeError, match=r"arrays\[0\]: expected numpy.ndarray, got list"):
            function([[1, 2]])
