"""stack, cat, pad and jagged mean what torch's functions of the same names mean."""

import gc
import weakref
from functools import partial

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

import tensorlift
from support.inputs import misaligned, odd_strides, read_only

RNG = np.random.default_rng(0)


def floats(*shape):
    return RNG.random(shape, np.float32)


@pytest.mark.parametrize("dim", [-4, -3, -2, -1, 0, 1, 2, 3])
def test_stack_is_torch_stack(tl, dim):
    arrays = [floats(2, 3, 4) for _ in range(5)]
    expected = torch.stack([torch.from_numpy(a) for a in arrays], dim)
    result = tl.stack(arrays, dim)
    assert torch.equal(result, expected)
    assert result.stride() == expected.stride()


@pytest.mark.parametrize("dim", [-3, -2, -1, 0, 1, 2])
def test_cat_is_torch_cat(tl, dim):
    shape = [2, 3, 4]
    arrays = []
    for size in (3, 0, 5, 1):
        shape[dim] = size
        arrays.append(floats(*shape))
    arrays.insert(2, np.zeros(0, np.float32))  # torch passes over these
    expected = torch.cat([torch.from_numpy(a) for a in arrays], dim)
    result = tl.cat(arrays, dim)
    assert torch.equal(result, expected)
    assert result.stride() == expected.stride()


@pytest.mark.parametrize("side", ["right", "left"])
def test_pad_is_pad_sequence_with_the_batch_first(tl, side):
    sequences = [RNG.integers(0, 99, n) for n in (3, 7, 1, 0, 7)]
    tensors = [torch.from_numpy(a) for a in sequences]
    batch, sizes = tl.pad(sequences, padding_value=-1, padding_side=side)
    expected = pad_sequence(tensors, batch_first=True, padding_value=-1, padding_side=side)
    assert torch.equal(batch, expected)
    assert sizes.tolist() == [[3], [7], [1], [0], [7]]
    assert sizes.dtype == torch.int64


def test_pad_pads_every_dimension(tl):
    images = [floats(3, 5, 8), floats(3, 9, 2), floats(3, 1, 1)]
    padded = tl.pad(images, padding_value=float("nan"), pad_to_multiple_of=(1, 4, 5))
    assert padded.batch.shape == (3, 3, 12, 10)
    assert padded.sizes.tolist() == [[3, 5, 8], [3, 9, 2], [3, 1, 1]]
    for slot, image in zip(padded.batch, images, strict=True):
        _, h, w = image.shape
        assert np.array_equal(slot[:, :h, :w].numpy(), image)
        assert slot.isnan().sum() == slot.numel() - image.size


@pytest.mark.parametrize("tail", [(), (3,), (2, 5)])
def test_jagged_is_torchs_jagged_layout(tl, tail):
    arrays = [floats(n, *tail) for n in (4, 1, 7)]
    expected = torch.nested.nested_tensor(
        [torch.from_numpy(a) for a in arrays], layout=torch.jagged
    )
    jagged = tl.jagged(arrays)
    nested = jagged.to_nested()
    assert torch.equal(nested.values(), expected.values())
    assert torch.equal(nested.offsets(), expected.offsets())
    assert nested.shape[0] == expected.shape[0]
    assert nested.shape[2:] == expected.shape[2:]
    for view, array in zip(jagged.unbind(), arrays, strict=True):
        assert np.array_equal(view.numpy(), array)
        assert view.untyped_storage().data_ptr() == jagged.values.untyped_storage().data_ptr()


def test_jagged_takes_arrays_without_elements(tl):
    values, offsets = tl.jagged([np.zeros(0), np.arange(2.0), np.zeros(0)])
    assert values.tolist() == [0, 1]
    assert offsets.tolist() == [0, 0, 2, 2]
    with pytest.raises(ValueError, match=r"^arrays\[0\]: "):
        tl.jagged([np.float32(1)])


PROMOTED = ["?", "u1", "i1", "i2", "i4", "i8", "f2", "f4", "f8", "c8", "c16"]


@pytest.mark.parametrize("first", PROMOTED)
@pytest.mark.parametrize("second", PROMOTED)
def test_mixed_dtypes_promote_as_torch_promotes(tl, first, second):
    arrays = [np.ones(3, first), np.ones(3, second), np.ones(3, first)]
    tensors = [torch.from_numpy(a) for a in arrays]
    assert tl.stack(arrays).dtype == torch.stack(tensors).dtype
    assert torch.equal(tl.cat(arrays), torch.cat(tensors))


def test_what_torch_does_not_promote_needs_a_dtype(tl):
    arrays = [np.ones(2, "u2"), np.ones(2, "i4")]
    with pytest.raises(TypeError, match=r"^arrays"):
        tl.stack(arrays)
    assert tl.stack(arrays, dtype=torch.int64).tolist() == [[1, 1], [1, 1]]


def test_tensors_may_stand_among_the_arrays(tl):
    tensor = torch.arange(6.0).reshape(2, 3).T
    result = tl.stack([tensor, np.ones((3, 2), np.float32), tensor.conj().neg()])
    assert torch.equal(result[0], tensor)
    assert torch.equal(result[2], -tensor)
    pending = torch.tensor([1 + 2j]).conj()
    assert pending.is_conj()
    assert tl.stack([pending])[0].item() == 1 - 2j
    assert pending.imag.is_neg()
    assert tl.stack([pending.imag])[0].item() == -2


def test_tensors_that_cannot_be_read_are_named(tl):
    for bad, error in [
        (torch.zeros(3, requires_grad=True), ValueError),
        (torch.zeros(3, device="meta"), ValueError),
        (torch.zeros(3).to_sparse(), TypeError),
    ]:
        with pytest.raises(error, match=r"^arrays\[1\]: "):
            tl.stack([np.zeros(3), bad])
    with torch.no_grad():
        assert tl.stack([torch.zeros(3, requires_grad=True)]).shape == (1, 3)


def test_scalars_are_0d(tl):
    result = tl.stack([np.float32(1), np.int64(2), np.array(3.0), torch.tensor(4)])
    assert result.dtype == torch.float64
    assert result.tolist() == [1, 2, 3, 4]
    with pytest.raises(ValueError, match=r"^arrays\[0\]: "):
        tl.cat([np.float32(1)])


@pytest.mark.parametrize(
    "layout",
    [
        lambda a: a[::-1],
        lambda a: a[:, ::-2],
        lambda a: a.T,
        odd_strides,
        misaligned,
        read_only,
        lambda a: a.astype(a.dtype.newbyteorder(">")),
        lambda a: np.broadcast_to(a[:1], (5, 6)),
        lambda a: np.ma.masked_array(a),
        lambda a: a[:, 2:3][:, 0],
    ],
)
@pytest.mark.parametrize("dtype", [None, torch.float64, torch.uint8, torch.bfloat16])
def test_every_layout_is_gathered(tl, layout, dtype):
    arrays = [layout(np.arange(30).reshape(5, 6).astype("f4") + i) for i in range(3)]
    expected = torch.stack([torch.from_numpy(np.array(a, "f4")) for a in arrays])
    expected = expected if dtype is None else expected.to(dtype)
    for dim in (0, 1, -1):
        assert torch.equal(tl.stack(arrays, dim, dtype=dtype), expected.movedim(0, dim))


def test_hwc_images_become_channels_last_batches(tl):
    images = [RNG.integers(0, 255, (4, 5, 3)).astype("u1") for _ in range(2)]
    chw = torch.stack([torch.from_numpy(i) for i in images]).permute(0, 3, 1, 2)
    for arrays, channel_dim in (
        (images, -1),
        ([i.transpose(2, 0, 1) for i in images], None),
        ([np.ascontiguousarray(i.transpose(2, 0, 1)) for i in images], 0),
    ):
        for memory_format in (torch.channels_last, torch.contiguous_format, None):
            for dtype in (None, torch.float32):
                result = tl.stack(
                    arrays, channel_dim=channel_dim, memory_format=memory_format, dtype=dtype
                )
                expected = chw.contiguous(memory_format=memory_format or torch.contiguous_format)
                assert torch.equal(result, expected.to(dtype or torch.uint8))
                assert result.stride() == expected.stride()
    padded, sizes = tl.pad(
        [images[0], images[1][:3, :2]], channel_dim=-1, memory_format=torch.channels_last
    )
    assert padded.is_contiguous(memory_format=torch.channels_last)
    assert sizes.tolist() == [[3, 4, 5], [3, 3, 2]]
    with pytest.raises(ValueError, match=r"^memory_format: "):
        tl.stack([np.zeros((3, 4))], memory_format=torch.channels_last)
    with pytest.raises(IndexError, match=r"^arrays\[1\]: "):
        tl.stack([np.zeros(3), np.float64(2)], channel_dim=0)


def test_errors_name_the_array_and_both_shapes():
    arrays = [np.zeros((3, 32, 32))] * 7 + [np.zeros((3, 32, 31))]
    message = r"^arrays\[7\]: expected shape \(3, 32, 32\) like arrays\[0\], got \(3, 32, 31\)\. "
    with pytest.raises(ValueError, match=message + r"Use pad\(\)"):
        tensorlift.stack(arrays)
    with pytest.raises(ValueError, match=r"^arrays\[7\]: expected shape \(\*, 32, 32\) like"):
        tensorlift.cat(arrays)
    with pytest.raises(ValueError, match=r"^arrays\[1\]: expected a 3-D array like arrays\[0\]"):
        tensorlift.pad([arrays[0], np.zeros(3)])


@pytest.mark.parametrize("other", [np.zeros(4), np.zeros((3, 1))], ids=["length", "dimensions"])
@pytest.mark.parametrize("join", [tensorlift.stack, tensorlift.collate])
def test_different_shapes_are_refused_with_the_words_of_torch(join, other):
    words = "equal size"  # what MONAI looks for, to add the key and its hint
    with pytest.raises(RuntimeError, match=words):
        torch.stack([torch.zeros(3), torch.from_numpy(other)])
    with pytest.raises((RuntimeError, ValueError), match=words):
        join([np.zeros(3), other])


@pytest.mark.parametrize("name", ["stack", "cat", "pad", "jagged"])
def test_a_batch_needs_arrays(tl, name):
    function = getattr(tl, name)
    with pytest.raises(ValueError, match=r"^arrays: expected at least one"):
        function([])
    for wrong in (np.zeros((2, 2)), torch.zeros(2, 2), "text", {"a": np.zeros(2)}):
        with pytest.raises(TypeError, match=r"^arrays: "):
            function(wrong)
    for item in (None, 1.0, "text", [1, "a"], np.array(["a"]), np.zeros(2, object)):
        with pytest.raises(TypeError, match=r"^arrays\[1\]: "):
            function([np.zeros(2), item])
    masked = np.ma.masked_array(np.zeros(2), [True, False])
    with pytest.raises(TypeError, match=r"^arrays\[1\]: .*mask"):
        function([np.zeros(2), masked])


def test_options_are_checked(tl):
    arrays = [np.zeros(3)]
    for option, bad, error in [
        ("dtype", float, TypeError),
        ("threads", 0, ValueError),
        ("dim", 2, IndexError),
        ("dim", 1.0, TypeError),
    ]:
        with pytest.raises(error, match=f"^{option}: "):
            tl.stack(arrays, **{option: bad})
    for option, bad, error in [
        ("padding_value", "0", TypeError),
        ("padding_value", 1e300, ValueError),
        ("padding_side", "top", ValueError),
        ("padding_side", 1, TypeError),
        ("pad_to_multiple_of", 0, ValueError),
        ("pad_to_multiple_of", 1.5, TypeError),
        ("pad_to_multiple_of", (1, 2), ValueError),
        ("pad_to_multiple_of", np.array([4, 4]), (TypeError, ValueError)),
        ("padding_value", np.array([1.5, 2]), TypeError),
        ("padding_value", np.str_("1"), TypeError),
        ("padding_value", 1 << 40, ValueError),
    ]:
        with pytest.raises(error, match=f"^{option}: "):
            tl.pad([np.zeros(3, np.int32)], **{option: bad})


@pytest.mark.skipif(torch.accelerator.is_available(), reason="there is an accelerator")
def test_pinned_memory_needs_an_accelerator(tl):
    with pytest.raises(ValueError, match=r"^pinned memory: expected an accelerator"):
        tl.stack([np.zeros(3)], pin_memory=True)


def test_casting_complex_numbers_to_real_ones_warns(tl):
    with pytest.warns(UserWarning, match="discards the imaginary part"):
        result = tl.stack([np.array([1 + 2j])], dtype=torch.float32)
    assert result.tolist() == [[1.0]]


def test_datetimes_are_counts_only_when_asked(tl):
    days = np.array(["1970-01-03"], "M8[D]")
    with pytest.raises(TypeError, match=r"^arrays\[0\]: "):
        tl.stack([days])
    assert tl.stack([days], dtype=torch.int64).tolist() == [[2]]


@pytest.mark.parametrize("operation", ["stack", "cat", "pad", "jagged"])
def test_datetimes_of_several_units_are_refused(tl, operation):
    """Counts of days beside counts of seconds would be wrong numbers."""
    join = partial(getattr(tl, operation), dtype=torch.int64)
    days = np.array(["1970-01-03"], "M8[D]")
    join([days, days.astype(">M8[D]"), torch.ones(1)])  # the byte order is no unit
    join([days[0], np.datetime64("1971-01-01")]) if operation in ("stack", "pad") else None
    if operation != "stack":
        join([days, np.zeros(0, "M8[s]")])  # counts nothing
    with pytest.raises(TypeError, match=r"got datetime64\[s\]\. Use") as raised:
        tensorlift.stack([days, days.astype("M8[s]")], dtype=torch.int64)
    assert str(raised.value).endswith('Use array.astype("datetime64[s]") for all.')
    for other in ("M8[s]", "M8[2D]", "m8[D]"):
        different = np.zeros(1, "i8").view(other)
        with pytest.raises(TypeError, match=r"^arrays\[2\]: expected datetime64\[D\]"):
            join([days, days, different])
    explained = tl.explain([days, different], operation=operation, dtype=torch.int64)
    assert explained.error.startswith("arrays[1]: expected datetime64[D]")
    error = tensorlift.explain([days, different], operation=operation, dtype=torch.int64).error
    expected = "arrays[1]: expected datetime64[D] like arrays[0], got timedelta64[D]. "
    assert error == expected + "Make a batch of each."


@pytest.mark.parametrize("threads", [None, 1, 2, 5])
def test_large_batches_are_cut_anywhere(tl, threads):
    arrays = [RNG.integers(0, 99, (n, 7, 50)) for n in (300, 1, 999, 0, 40)]
    expected = torch.cat([torch.from_numpy(a) for a in arrays])
    assert torch.equal(tl.cat(arrays, threads=threads), expected)
    turned = [a.T for a in arrays]
    assert torch.equal(tl.cat(turned, -1, threads=threads), expected.permute(2, 1, 0))
    same = [RNG.random((64, 33, 65))[..., ::-1] for _ in range(9)]
    expected = torch.stack([torch.from_numpy(a.copy()) for a in same])
    for dim in (0, 1, 2, 3):
        result = tl.stack(same, dim, dtype=torch.float32, threads=threads)
        assert torch.equal(result, expected.movedim(0, dim).float())


def test_more_arrays_than_are_gathered_at_once():
    """Jobs are made for some ten thousands of arrays at a time."""
    arrays = [np.full(2, i, np.int32) for i in range(70_001)]
    result = tensorlift.stack(arrays)
    assert torch.equal(result[:, 0], torch.arange(70_001, dtype=torch.int32))
    ragged = [a[: i % 3] for i, a in enumerate(arrays)]
    values, offsets = tensorlift.jagged(ragged)
    assert torch.equal(offsets.diff(), torch.arange(70_001) % 3)
    assert values[offsets[-2]] == 70_000 or offsets[-2] == offsets[-1]
    batch = tensorlift.pad(ragged, padding_value=-1).batch
    assert (batch == -1).sum() == 2 * 70_001 - len(values)
    assert torch.equal(tensorlift.stack(arrays, 1), result.T)


def test_nothing_is_kept_alive(steady_references):
    class Array(np.ndarray):
        pass

    arrays = [np.zeros(3).view(Array), np.ones(3), np.zeros(3)]
    steady_references(arrays[2])
    watch = weakref.ref(arrays[0])
    for _ in range(50):
        tensorlift.stack(arrays)
        tensorlift.pad(arrays)
        tensorlift.jagged(arrays)
        with pytest.raises(TypeError):
            tensorlift.stack([*arrays, "text"])
        with pytest.raises(ValueError, match="expected shape"):
            tensorlift.stack([*arrays, np.zeros(4)])
    del arrays[0]
    gc.collect()
    assert watch() is None


def test_the_result_is_torchs_in_every_way():
    result = tensorlift.stack([np.zeros(1000)] * 10)
    assert result.untyped_storage().resizable()
    result.requires_grad_().sum().backward()
    result.detach().resize_(20_000)
    assert result.grad.sum() == 10_000


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        *[("u1", v) for v in (-1, 256, 1e3, -200, float("nan"), float("inf"), 1j)],
        *[("u2", v) for v in (-1, 1 << 16)],
        *[("i8", v) for v in (1 << 63, 2.0**63, -(1 << 64), 1 << 70)],
        *[("u8", v) for v in (-1, 1 << 64, 2.0**64)],
        *[("f2", v) for v in (1e6, 70000, 1 << 70)],
        *[("f4", v) for v in (1e300, 1j)],
        ("f4", 10**400),
    ],
)
def test_padding_is_within_the_range_of_the_dtype(dtype, value):
    with pytest.raises(ValueError, match=r"^padding_value: expected a number within the range of"):
        tensorlift.pad([np.ones(1, dtype), np.ones(2, dtype)], padding_value=value)


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        *[("u1", v) for v in (0, 255, 2.9, True, np.uint8(7), np.float32(3.5))],
        *[("i1", v) for v in (-128, 127, -0.5)],
        *[("i8", v) for v in ((1 << 63) - 1, -(1 << 63))],
        *[("u8", v) for v in ((1 << 64) - 1, 0)],
        *[("f2", v) for v in (65504, float("inf"), -float("inf"), 1e-9)],
        *[("f4", v) for v in (1 << 70, 3, 0.1, float("nan"))],
        *[("f8", v) for v in (1e300, 1 << 70)],
        *[("?", v) for v in (0, 2, 0.5, 1j)],
        *[("c8", v) for v in (1j, 2, 0.5)],
    ],
)
def test_padding_is_the_number_in_the_dtype(tl, dtype, value):
    batch = tl.pad([np.ones(1, dtype), np.ones(2, dtype)], padding_value=value).batch
    expected = np.array(value).astype(dtype)
    assert np.array_equal(batch[0, 1].numpy(), expected, equal_nan=dtype[0] in "fc")


def test_tensors_whose_storage_was_taken_away_are_refused(tl):
    for size in (0, 8):
        gone = torch.ones(4)
        gone.untyped_storage().resize_(size)
        with pytest.raises(TypeError, match=r"^arrays\[1\]: "):
            tl.stack([np.ones(4), gone])
        out = torch.ones(1, 4)
        out.untyped_storage().resize_(size)
        with pytest.raises(ValueError, match=r"^out: "):
            tl.stack([np.ones(4, np.float32)], out=out)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own
def test_inside_modes_and_transformations_of_torch():
    """Plain arrays stay plain; what tensors become is torch's to say; nothing crashes."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    arrays = [np.ones(2, np.float32), np.ones(3, np.float32)]
    pending = torch.ones(3, dtype=torch.complex64).conj()
    with FakeTensorMode(allow_non_fake_inputs=True):
        batch = tensorlift.pad(arrays, padding_value=2).batch
        fake = tensorlift.stack([pending, pending])
        assert type(fake) is type(tensorlift.stack([torch.ones(3)])) is type(torch.ones(3))

    assert batch.tolist() == [[1, 1, 2], [1, 1, 1]]
    assert type(fake).__name__ == "FakeTensor"

    def through(x):
        return (tensorlift.pad(arrays).batch * x).sum() + tensorlift.stack([pending]).real.sum()

    assert torch.func.grad(through)(torch.ones(3)).tolist() == [2, 2, 1]
    functional = torch.func.functionalize(lambda x: tensorlift.stack([x]))(torch.ones(3))
    assert functional.tolist() == [[1, 1, 1]]
    assert torch.vmap(lambda x: tensorlift.stack([x]))(torch.ones(3, 2)).shape == (3, 1, 2)
    with pytest.raises(TypeError, match=r"^arrays\[0\]: "):
        torch.vmap(lambda x: tensorlift.pad([x]).batch)(torch.ones(3, 2))


@pytest.mark.filterwarnings("ignore:`torch.jit")  # torch's own, in make_dual
def test_forward_mode_gradients_are_not_dropped(tl):
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(torch.ones(3), torch.ones(3))
        tangent = torch.autograd.forward_ad.unpack_dual(tl.stack([dual, dual])).tangent
        assert tangent.tolist() == [[1, 1, 1], [1, 1, 1]]
        with pytest.raises(ValueError, match=r"^arrays\[0\]: "):
            tl.pad([dual])
        out = torch.autograd.forward_ad.make_dual(torch.ones(1, 3), torch.ones(1, 3))
        with pytest.raises(ValueError, match=r"^out: "):
            tl.stack([np.ones(3, np.float32)], out=out)


def test_nested_tensors_are_refused_by_index(tl):
    nested = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=torch.jagged)
    with pytest.raises((TypeError, ValueError), match=r"^arrays\[1\]: "):  # torch 2.8: the latter
        tl.stack([np.ones(2), nested])


def test_cat_of_nothing_but_arrays_without_elements(tl):
    empty = np.zeros(0, np.float32)
    assert tl.cat([empty, empty], dim=1).shape == (0,)
    assert tl.cat([empty, floats(2, 3, 4)], channel_dim=-1).shape == (4, 2, 3)


@pytest.mark.parametrize("side", ["right", "left"])
def test_no_boxes_beside_boxes(tl, side):
    """An annotation without boxes is an array of shape (0,) more often than one of (0, 4)."""
    boxes, none = floats(3, 4), np.zeros(0, np.float32)
    for arrays in ([boxes, none], [none, boxes], [none, torch.ones(1, 4), boxes]):
        batch, sizes = tl.pad(arrays, padding_side=side, padding_value=7, pad_to_multiple_of=(1, 3))
        filled = [a if len(a) else np.zeros((0, 4), np.float32) for a in arrays]
        expected = tl.pad(filled, padding_side=side, padding_value=7, pad_to_multiple_of=(1, 3))
        assert torch.equal(batch, expected.batch)
        assert torch.equal(sizes, expected.sizes)
        assert tl.explain(arrays, operation="pad", pad_to_multiple_of=(1, 3)).shape == batch.shape
    values, offsets = tl.jagged([none, boxes, none])
    assert torch.equal(values, torch.from_numpy(boxes))
    assert offsets.tolist() == [0, 0, 3, 3]
    assert tl.pad([none, none]).sizes.tolist() == [[0], [0]]
    with pytest.raises(ValueError, match=r"^arrays\[1\]: expected a 1-D array"):
        tl.pad([none, np.float32(1)])


def test_explain_ignores_what_the_operation_does_not_have(tl):
    arrays = [np.ones((2, 3)), np.ones((2, 5))]
    assert tl.explain(arrays, operation="jagged", dim=1, channel_dim=-1).error is not None
    assert tl.explain(arrays, operation="pad", dim=7).shape == (2, 2, 5)


def test_explain_knows_the_errors_of_sizes():
    wide = np.broadcast_to(np.uint8(0), (2**62,))
    explanation = tensorlift.explain([wide] * 4, operation="stack")
    assert "64 bits" in str(explanation.error)
    for bad, error in (("sort", ValueError), (3, TypeError)):
        with pytest.raises(error, match=r"^operation: "):
            tensorlift.explain([wide], operation=bad)


@pytest.mark.parametrize("dtype", ["f4", "f8", "c16", "i2"])
def test_misaligned_tensors_are_read(tl, dtype):
    """torch can make them, and crash on them."""
    values = np.arange(40).astype(dtype)
    tensor = torch.from_numpy(misaligned(values))
    assert tensor.data_ptr() % tensor.itemsize
    assert np.array_equal(tl.stack([tensor, values]).numpy(), [values, values])
    result = tl.cat([tensor], dtype=torch.complex128)
    assert np.array_equal(result.numpy(), values.astype("c16"))
