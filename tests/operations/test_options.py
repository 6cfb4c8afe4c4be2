"""Options: their values, their errors, and the read-only choices."""

import types
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

import tensorlift
from support.inputs import read_only


@pytest.mark.parametrize(
    ("option", "value", "error"),
    [
        ("dtype", np.float32, TypeError),
        ("dtype", "float32", TypeError),
        ("dtype", torch.qint8, TypeError),
        ("copy", 1, TypeError),
        ("copy", "never", TypeError),
        ("readonly", "no", ValueError),
        ("readonly", None, TypeError),
        ("threads", 0, ValueError),
        ("threads", -1, ValueError),
        ("threads", 1.5, TypeError),
        ("threads", True, TypeError),
        ("threads", "2", TypeError),
    ],
)
def test_a_bad_value_names_the_option(tl, option, value, error):
    for arrays in ([], [np.zeros(3)]):
        with pytest.raises(error, match=f"^{option}: expected"):
            tl.from_numpy(arrays, **{option: value})


def test_options_are_keywords_and_data_is_positional(tl):
    with pytest.raises(TypeError, match="positional"):
        tl.from_numpy([], torch.float32)
    with pytest.raises(TypeError, match="arrays"):
        tl.from_numpy(arrays=[])


@pytest.mark.parametrize(
    "arrays",
    [
        *(np.zeros(3), np.zeros((2, 2)), torch.zeros(2), "abc", b"abc", 5, None),
        *({"a": np.zeros(1)}, types.MappingProxyType({})),
    ],
    ids=lambda a: type(a).__name__,
)
def test_what_is_no_list_of_arrays(tl, arrays):
    with pytest.raises(TypeError):
        tl.from_numpy(arrays)


@pytest.mark.parametrize("item", [[1, 2], 3, 1.5, "a", None, torch.zeros(1), object()])
def test_what_is_no_array(tl, item):
    with pytest.raises(TypeError, match=r"^arrays\[1\]: expected numpy.ndarray, got "):
        tl.from_numpy([np.zeros(1), item])


def test_readonly_warn_is_one_warning_at_the_callers_line(tl):
    arrays = [np.zeros(2), read_only(np.zeros(2)), read_only(np.zeros(3))]
    with pytest.warns(UserWarning, match="^The given NumPy array is not writable") as caught:
        tl.from_numpy(arrays)
    assert len(caught) == 1
    assert caught[0].filename == __file__


def test_the_warning_says_which_and_how_many():
    import tensorlift

    arrays = [np.zeros(2), read_only(np.zeros(2)), read_only(np.zeros(3))]
    with pytest.warns(UserWarning, match=r"arrays\[1\] and 1 more; see the option readonly="):
        tensorlift.from_numpy(arrays)


def test_a_copy_never_warns(tl):
    array = read_only(np.arange(4))
    for options in ({"copy": True}, {"dtype": torch.float32}, {"readonly": "copy"}):
        (tensor,) = tl.from_numpy([array], **options)
        tensor[0] = 9
        assert array[0] == 0
    tl.from_numpy([array[::-1]])
    tl.from_numpy([array[::-1]], readonly="error")


def test_readonly_share_is_silent(tl):
    (tensor,) = tl.from_numpy([read_only(np.arange(4))], readonly="share", copy=False)
    assert tensor.tolist() == [0, 1, 2, 3]


def test_readonly_error_and_forbidden_copy(tl):
    arrays = [np.zeros(1), read_only(np.zeros(2))]
    with pytest.raises(ValueError, match=r"^arrays\[1\]: expected "):
        tl.from_numpy(arrays, readonly="error")
    with pytest.raises(ValueError, match=r"^arrays\[1\]: expected "):
        tl.from_numpy(arrays, readonly="copy", copy=False)


def test_a_warning_made_an_error_raises(tl, steady_references):
    array = read_only(np.zeros(2))
    steady_references(array)
    for _ in range(100):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(UserWarning, match="not writable"):
                tl.from_numpy([array, np.zeros(3)[::-1]])


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize(
    "call",
    [
        lambda number: tensorlift.stack([np.ones(2)], dim=number),
        lambda number: tensorlift.pad([np.ones(2)], padding_value=number),
        lambda number: tensorlift.pad([np.ones(2)], pad_to_multiple_of=number),
    ],
)
def test_what_is_not_about_the_value_is_passed_on(error, call):
    class Number:
        def __index__(self):
            raise error

    with pytest.raises(error):
        call(Number())


def test_what_is_long_to_print_is_named_by_its_type():
    with pytest.raises(TypeError, match=r"^out: .*, got one of type numpy.ndarray\.$"):
        tensorlift.stack([np.zeros((9, 9))], out=np.zeros((1, 9, 9)))


@pytest.mark.parametrize("item", ["a.npy", b"a.npy", Path("a.npy")])
def test_a_file_name_is_to_be_loaded(item):
    with pytest.raises(TypeError, match=r"Load the file with numpy.load\(\)"):
        tensorlift.from_numpy([item])


@pytest.mark.parametrize(("name", "like"), [("|V1", "float8_e4m3fn"), ("|V2", "bfloat16")])
def test_what_numpy_files_make_of_ml_dtypes(name, like):
    with pytest.raises(TypeError, match=rf"array.view\(ml_dtypes.{like}\)"):
        tensorlift.from_numpy([np.zeros(2, name)])
