"""Images become normalised batches: the bits of (x * scale - mean) / std in torch."""

import pickle

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import tensorlift
from support.inputs import misaligned, odd_strides, same_bits
from tensorlift import Collate, Normalize, Pad

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
IMAGENET = {"scale": 1 / 255, "mean": MEAN, "std": STD}
DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn]
RNG = np.random.default_rng(0)


def images(count=3, shape=(17, 19, 3), dtype=np.uint8):
    return [RNG.integers(0, 256, shape).astype(dtype) for _ in range(count)]


def in_torch(batch, dtype=torch.float32, scale=1.0, mean=0.0, std=1.0, dim=1):
    """The three operations, on a batch whose channels are this dimension."""
    computed = torch.float64 if dtype == torch.float64 else torch.float32

    def number(numbers):
        tensor = torch.tensor(numbers, dtype=computed)
        return tensor.reshape(-1, *[1] * (batch.dim() - 1 - dim)) if tensor.dim() else tensor

    x = batch.to(computed) * number(scale)
    return ((x - number(mean)) / number(std)).to(dtype)


def stacked(arrays):
    """What torch makes of images of shape (height, width, channels)."""
    return torch.stack([torch.as_tensor(a) for a in arrays]).permute(0, 3, 1, 2)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 70])
def test_every_byte_in_every_channel(tl, channels, dtype):
    """Exhaustive for uint8: 256 values in each channel, with numbers of its own."""
    mean, std = RNG.random(channels), RNG.random(channels) + 0.01
    pixels = np.repeat(np.arange(256, dtype=np.uint8), channels).reshape(16, 16, channels)
    for scale in (1 / 255, 1, 0.0173):
        options = {"scale": scale, "mean": mean, "std": std}
        expected = in_torch(stacked([pixels]), dtype, **options)
        planes = np.ascontiguousarray(pixels.transpose(2, 0, 1))
        last = torch.channels_last
        for result in (
            tl.stack([pixels], channel_dim=-1, dtype=dtype, **options),
            tl.stack([pixels], channel_dim=-1, dtype=dtype, memory_format=last, **options),
            tl.stack([planes], dtype=dtype, **options),
            tl.stack([planes], dtype=dtype, memory_format=last, **options),
        ):
            assert same_bits(result, expected)


# Of which so many that the processor's own instructions pay: see csrc/copy/normalization.cpp.
MANY = 17


@pytest.mark.parametrize("dtype", DTYPES[:3], ids=str)
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 70])
def test_every_byte_of_many_images(channels, dtype):
    """As above; here there is one formula for all bytes, compared with the operations before."""
    pixels = np.repeat(np.arange(256, dtype=np.uint8), channels).reshape(16, 16, channels)
    odd = pixels[:, 1:]  # rows of 15: what is left over after 16 at once
    for seed in range(6):
        rng = np.random.default_rng(seed)
        mean, std = rng.random(channels), rng.random(channels) + 0.01
        scale = (1 / 255, 1, 0.0173)[seed % 3]
        options = {"scale": scale, "mean": mean, "std": std}
        for source in (pixels, odd, pixels[::-1, ::-1], pixels[:, ::5]):
            arrays = [source] * MANY * (6 if source.size < pixels.size / 2 else 2)
            expected = in_torch(stacked([np.ascontiguousarray(source)]), dtype, **options)
            for layout in (None, torch.channels_last):
                result = tensorlift.stack(
                    arrays, channel_dim=-1, dtype=dtype, memory_format=layout, **options
                )
                assert same_bits(result[:1], expected)
                assert same_bits(result[-1:], expected)
            planes = [np.ascontiguousarray(source.transpose(2, 0, 1))] * len(arrays)
            assert same_bits(tensorlift.stack(planes, dtype=dtype, **options)[-1:], expected)


@pytest.mark.parametrize("dtype", DTYPES[:3], ids=str)
@pytest.mark.parametrize(
    ("scale", "mean", "std"),
    [
        (1 / 255, 0.5, 0.5),  # many results lie halfway between two numbers
        (1, 0, 1),
        (0, 0, 1),
        (0, 5, 0.1),
        (1, 128, 1),
        (1, 0, 1e-38),
        (1, 0, 1e-45),
        (1e-45, 0, 1),
        (1e-30, 0, 1e-8),
        (3e38, 1e38, 1e-3),
        (1, 0, 3e38),
        (1 / 255, 0.2, 65504),
        (257.3, 1.5, 0.9999999),
    ],
)
def test_many_images_with_odd_numbers(dtype, scale, mean, std):
    pixels = np.repeat(np.arange(256, dtype=np.uint8), 3).reshape(16, 16, 3)
    for options in (
        {"scale": scale, "mean": mean, "std": std},
        {"scale": scale, "mean": (mean, 0.1, mean), "std": (std, 0.3, 0.7)},
    ):
        expected = in_torch(stacked([pixels]), dtype, **options)
        for layout in (None, torch.channels_last):
            result = tensorlift.stack(
                [pixels] * MANY, channel_dim=-1, dtype=dtype, memory_format=layout, **options
            )
            assert same_bits(result[-1:], expected)


def test_it_is_float32_arithmetic_as_numpy_has_it(tl):
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    result = tl.stack([pixels], channel_dim=-1, scale=1 / 255, mean=0.449, std=0.226)
    x = pixels.astype(np.float32) * np.float32(1 / 255)
    expected = (x - np.float32(0.449)) / np.float32(0.226)
    assert np.array_equal(result.flatten().numpy(), expected.flatten())


@pytest.mark.parametrize("mean", [0.5, MEAN, None], ids=str)
@pytest.mark.parametrize("std", [0.25, STD, None], ids=str)
def test_one_number_is_for_all_channels(tl, mean, std):
    arrays = images()
    given = {"mean": mean, "std": std}
    expected = in_torch(
        stacked(arrays), scale=1 / 255, **{k: v for k, v in given.items() if v is not None}
    )
    assert same_bits(tl.stack(arrays, channel_dim=-1, scale=1 / 255, **given), expected)


@pytest.mark.parametrize(
    "numbers",
    [list, np.array, np.float32, torch.tensor, lambda numbers: list(map(np.float64, numbers))],
    ids=["list", "array", "float32", "tensor", "list of NumPy's"],
)
def test_numbers_may_be_of_any_kind(tl, numbers):
    arrays = images()
    options = {"scale": np.float32(1 / 255), "mean": numbers(MEAN), "std": numbers(STD)}
    expected = in_torch(stacked(arrays), scale=1 / 255, mean=MEAN, std=STD)
    assert same_bits(tl.stack(arrays, channel_dim=-1, **options), expected)
    ints = tl.stack(arrays, channel_dim=-1, scale=1, mean=(1, 2, 3), std=np.array(2))
    assert same_bits(ints, in_torch(stacked(arrays), mean=(1.0, 2.0, 3.0), std=2.0))


SOURCES = {
    "cropped": lambda a: a[3:, 2:-4],
    "cropped to the width of a pixel": lambda a: a[:, 5:6],
    "flipped": lambda a: a[:, ::-1],
    "flipped and upside down": lambda a: a[::-1, ::-1],
    "channels reversed": lambda a: a[..., ::-1],
    "every other pixel": lambda a: a[::2, ::2],
    "transposed": lambda a: a.transpose(1, 0, 2),
    "planes": lambda a: np.ascontiguousarray(a.transpose(2, 0, 1)).transpose(1, 2, 0),
    "broadcast": lambda a: np.broadcast_to(a[:1], a.shape),
    "odd strides": odd_strides,
    "misaligned": misaligned,
    "foreign byte order": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "tensor": lambda a: torch.from_numpy(a.copy()),
}


@pytest.mark.parametrize("dtype", ["u1", "i1", "?", "u2", "i4", "i8", "f2", "f4", "f8"])
@pytest.mark.parametrize("source", SOURCES)
def test_whatever_the_images_are(tl, source, dtype):
    plain = images(3 if dtype != "u1" else 20, dtype=dtype)
    arrays = [SOURCES[source](a) for a in plain]
    values = [a if isinstance(a, torch.Tensor) else a.astype(dtype) for a in arrays]
    for result_dtype in (torch.float32, torch.bfloat16, torch.float64):
        expected = in_torch(stacked(values), result_dtype, **IMAGENET)
        for layout in (None, torch.channels_last):
            result = tl.stack(
                arrays, channel_dim=-1, dtype=result_dtype, memory_format=layout, **IMAGENET
            )
            assert same_bits(result, expected)


def test_large_images_are_cut_anywhere():
    arrays = images(5, (301, 503, 3))
    expected = in_torch(stacked(arrays), **IMAGENET)
    for threads in (1, 3):
        for layout in (None, torch.channels_last):
            options = IMAGENET | {"memory_format": layout, "threads": threads}
            assert same_bits(tensorlift.stack(arrays, channel_dim=-1, **options), expected)


@pytest.mark.parametrize("dim", [-4, -1, 0, 1, 2, 3])
def test_channels_are_the_first_dimension_of_each_array(tl, dim):
    arrays = images(4, (3, 5, 7))
    result = tl.stack(arrays, dim, **IMAGENET)
    each = [in_torch(torch.from_numpy(a)[None], **IMAGENET)[0] for a in arrays]
    assert same_bits(result, torch.stack(each, dim))


def test_the_dtype_is_that_of_torchs_arithmetic(tl):
    for dtype in ("u1", "i8", "?"):
        assert tl.stack(images(dtype=dtype), scale=0.5).dtype == torch.float32
    for dtype in ("f2", "f4", "f8"):
        expected = torch.from_numpy(np.zeros(1, dtype)).dtype
        assert tl.stack(images(dtype=dtype), scale=0.5).dtype == expected
    torch.set_default_dtype(torch.float64)
    try:
        result = tl.stack(images(1), scale=0.5)
        assert result.dtype == (torch.from_numpy(np.zeros(1, "u1")) * 0.5).dtype == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


def test_numbers_that_are_none_stay_what_they_become_in_torch(tl):
    arrays = [np.array([[np.nan, np.inf, -np.inf, 1e38, 1e-45, -0.0]], np.float32)]
    options = {"scale": 3, "mean": 1, "std": 0.5}
    result = tl.stack(arrays, **options)
    assert same_bits(result, in_torch(torch.from_numpy(arrays[0])[None], **options))


@pytest.mark.parametrize("shape", [(0, 4, 3), (4, 0, 3), (0, 0, 3)])
def test_images_without_pixels(tl, shape):
    result = tl.stack([np.zeros(shape, np.uint8)] * 2, channel_dim=-1, **IMAGENET)
    assert result.shape == (2, 3, *shape[:2])
    assert result.dtype == torch.float32


@pytest.mark.parametrize("dtype", [None, torch.float16])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "sliced", "misaligned"])
def test_into_memory_that_is_there(tl, layout, dtype):
    arrays = images()
    expected = tl.stack(arrays, channel_dim=-1, dtype=dtype, **IMAGENET)
    out = torch.empty_like(expected)
    if layout == "channels_last":
        out = out.contiguous(memory_format=torch.channels_last)
    elif layout == "sliced":
        out = torch.empty(3, 3, 17, 40, dtype=expected.dtype)[..., 1:39:2]
    elif layout == "misaligned":
        if tl is tensorlift.reference:
            pytest.skip("torch's own loops may crash on it")
        bits = misaligned(np.zeros(expected.shape, f"u{expected.itemsize}"))
        out = torch.from_dlpack(bits.view(expected.numpy().dtype))
    result = tl.stack(arrays, channel_dim=-1, dtype=dtype, out=out, **IMAGENET)
    assert result is out
    assert same_bits(out, expected)


def test_out_may_be_a_source():
    memory = np.arange(2 * 3 * 4 * 4, dtype=np.float32).reshape(2, 3, 4, 4)
    expected = tensorlift.stack(list(memory.copy()), **IMAGENET)
    out = torch.from_numpy(memory)
    assert same_bits(tensorlift.stack(list(memory), out=out, **IMAGENET), expected)


# ---- the order of channels ----------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, IMAGENET, IMAGENET | {"dtype": torch.float16}], ids=str)
@pytest.mark.parametrize("layout", [None, torch.channels_last])
@pytest.mark.parametrize("source", SOURCES)
def test_bgr_becomes_rgb(tl, source, layout, options):
    arrays = [SOURCES[source](a) for a in images()]
    turned = [np.asarray(a)[..., ::-1] for a in arrays]
    common = options | {"channel_dim": -1, "memory_format": layout}
    result = tl.stack(arrays, channel_order="bgr", **common)
    assert same_bits(result, tl.stack(turned, **common))


def test_bgr_of_planes_and_of_many_dimensions(tl):
    arrays = images(2, (3, 5, 7))
    assert same_bits(tl.stack(arrays, channel_order="bgr"), tl.stack([a[::-1] for a in arrays]))
    videos = images(2, (2, 4, 5, 3))
    result = tl.stack(videos, channel_dim=-1, channel_order="bgr")
    assert same_bits(result, tl.stack([v[..., ::-1] for v in videos], channel_dim=-1))


@pytest.mark.parametrize("shape", [(5, 7, 3), (4, 5), (), (1,)])
def test_bgr_needs_3_channels(tl, shape):
    with pytest.raises(ValueError, match=r"^arrays\[0\]: expected 3 channels.*shape \("):
        tl.stack([np.zeros(shape)], channel_order="bgr")


# ---- images of different sizes ------------------------------------------------------------------


def test_different_sizes_are_padded_after_they_are_normalised(tl):
    arrays = [images(1, shape)[0] for shape in ((5, 9, 3), (8, 4, 3), (8, 9, 3))]
    for value in (0, -7.5):
        options = {"channel_dim": -1, "padding_value": value, **IMAGENET}
        padded = tl.pad(arrays, mask=True, mask_dim=(1, 2), channel_order="bgr", **options)
        assert padded.batch.shape == (3, 3, 8, 9)
        for slot, mask, array in zip(padded.batch, padded.mask, arrays, strict=True):
            height, width, _ = array.shape
            expected = in_torch(stacked([array[..., ::-1].copy()]), **IMAGENET)[0]
            assert same_bits(slot[:, :height, :width], expected)
            assert mask.sum() == height * width
            assert (slot[:, ~mask] == value).all()


def test_padding_needs_the_channels_of_all(tl):
    arrays = [np.zeros((3, 2, 2)), np.zeros((4, 2, 2))]
    with pytest.raises(ValueError, match=r"^mean: .* arrays\[1\], of shape \(4, 2, 2\)"):
        tl.pad(arrays, **IMAGENET)
    nothing = np.zeros(0, np.uint8)
    assert tl.pad([np.zeros((3, 2, 2)), nothing], **IMAGENET).batch.shape == (2, 3, 2, 2)


def test_stack_names_both_sizes_and_says_what_to_do():
    arrays = [np.zeros((2, 3, 3), np.uint8), np.zeros((2, 4, 3), np.uint8)]
    with pytest.raises(ValueError, match=r"^arrays\[1\]: .*\(3, 2, 3\).*\(3, 2, 4\).*Use pad\(\)"):
        tensorlift.stack(arrays, channel_dim=-1, **IMAGENET)


# ---- what is refused ----------------------------------------------------------------------------

RGB = np.zeros((4, 5, 3), np.uint8)
REFUSED = {
    "too few": (ValueError, "mean", {"scale": 1, "mean": (1, 2)}),
    "too many": (ValueError, "std", {"scale": 1, "std": (1, 2, 3, 4)}),
    "none": (ValueError, "mean", {"scale": 1, "mean": ()}),
    "no scale": (ValueError, "scale", {"mean": MEAN}),
    "0": (ValueError, "std", {"scale": 1, "std": 0}),
    "0 among others": (ValueError, "std", {"scale": 1, "std": (1, 0, 1)}),
    "0 in float32": (ValueError, "std", {"scale": 1, "std": 1e-60}),
    "below 0": (ValueError, "std", {"scale": 1, "std": -1}),
    "nan std": (ValueError, "std", {"scale": 1, "std": float("nan")}),
    "nan mean": (ValueError, "mean", {"scale": 1, "mean": (0, float("nan"), 0)}),
    "infinite mean": (ValueError, "mean", {"scale": 1, "mean": float("inf")}),
    "infinite scale": (ValueError, "scale", {"scale": float("inf")}),
    "infinite in float32": (ValueError, "scale", {"scale": 1e300}),
    "text": (TypeError, "mean", {"scale": 1, "mean": "0.5"}),
    "text among numbers": (TypeError, "mean", {"scale": 1, "mean": (0, "0.5", 0)}),
    "a set": (TypeError, "std", {"scale": 1, "std": {1, 2, 3}}),
    "an iterator": (TypeError, "std", {"scale": 1, "std": iter((1, 2, 3))}),
    "a dict": (TypeError, "std", {"scale": 1, "std": {1: 2}}),
    "complex": (TypeError, "mean", {"scale": 1, "mean": 1j}),
    "bool": (TypeError, "scale", {"scale": True}),
    "nested": (TypeError, "mean", {"scale": 1, "mean": ((1, 2), (3, 4), (5, 6))}),
    "order": (ValueError, "channel_order", {"channel_order": "grb"}),
    "no order": (TypeError, "channel_order", {"channel_order": None}),
    "integers": (TypeError, "dtype", {"scale": 1, "dtype": torch.uint8}),
    "complex result": (TypeError, "dtype", {"scale": 1, "dtype": torch.complex64}),
    "bool result": (TypeError, "dtype", {"scale": 1, "dtype": torch.bool}),
    "out": (TypeError, "out", {"scale": 1, "out": torch.zeros(1, 3, 4, 5, dtype=torch.uint8)}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_wrong_is_named(tl, name):
    error, option, options = REFUSED[name]
    with pytest.raises(error, match=f"^{option}: expected"):
        tl.stack([RGB], channel_dim=-1, **options)


def test_a_wrong_number_of_means_names_the_channels():
    with pytest.raises(ValueError, match=r"each of the 3 channels of arrays\[0\].*got 2 of them"):
        tensorlift.stack([RGB], channel_dim=-1, scale=1, mean=(1, 2))
    with pytest.raises(ValueError, match=r"each of the 4 channels.*channel_dim.*-1"):
        tensorlift.stack([RGB], **IMAGENET)


def test_complex_arrays_are_refused(tl):
    with pytest.raises(TypeError, match=r"^arrays\[1\]: expected real numbers"):
        tl.stack([np.zeros(3), np.zeros(3, np.complex64)], scale=1, dtype=torch.float32)


def test_after_an_error_out_is_as_it_was(tl):
    out = torch.full((1, 3, 4, 5), 7.0)
    with pytest.raises(ValueError, match=r"^std: "):
        tl.stack([RGB], channel_dim=-1, scale=1, std=(1, 2), out=out)
    assert (out == 7).all()


def test_explain_says_so(tl):
    options = {"operation": "stack", "channel_dim": -1}
    explained = tl.explain([RGB, RGB.astype(np.float32)], **options, **IMAGENET)
    assert [entry.reason for entry in explained] == ["normalized", "normalized"]
    assert (explained.shape, explained.dtype) == ((2, 3, 4, 5), torch.float32)
    assert explained[0].nbytes == RGB.size * 4
    wrong = tl.explain([RGB], **options, scale=1, mean=(1, 2))
    assert str(wrong.error).startswith("mean: expected")
    wrong = tl.explain([RGB], operation="stack", channel_order="bgr")
    assert wrong[0].action == "rejected"
    ignored = tl.explain([RGB], operation="cat", channel_order="bgr", **IMAGENET)
    assert ignored.dtype == torch.uint8


# ---- Collate ------------------------------------------------------------------------------------


def samples(count=4, shape=(6, 5, 3)):
    return [{"image": image, "label": i} for i, image in enumerate(images(count, shape))]


HOW = Normalize(MEAN, STD)
COLLATE = Collate(normalize={"image": HOW}, channel_dim={"image": -1})


def expected_of(rows, dtype=torch.float32):
    return in_torch(stacked([row["image"] for row in rows]), dtype, **IMAGENET)


def test_a_place_is_normalised():
    rows = samples()
    batch = COLLATE(rows)
    assert same_bits(batch["image"], expected_of(rows))
    assert batch["label"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("dtype", [torch.float16, {"image": torch.float16}], ids=["all", "place"])
def test_with_the_other_options_of_a_place(dtype):
    rows = samples()
    order = Normalize(MEAN, STD, channel_order="bgr")
    batch = Collate(
        dtype=dtype,
        normalize={("image",): order},
        channel_dim={"image": -1},
        channels_last=["image"],
    )(rows)
    turned = [{"image": row["image"][..., ::-1].copy()} for row in rows]
    assert same_bits(batch["image"], expected_of(turned, torch.float16))
    assert batch["image"].is_contiguous(memory_format=torch.channels_last)


def test_with_pad():
    rows = samples(2) + samples(1, (3, 4, 3))
    pads = {"image": Pad(mask="pixels", mask_dim=(1, 2), sizes=False)}
    batch = Collate(normalize={"image": HOW}, channel_dim={"image": -1}, pad=pads)(rows)
    assert same_bits(batch["image"][2, :, :3, :4], expected_of(rows[2:])[0])
    assert batch["pixels"].sum((1, 2)).tolist() == [30, 30, 12]
    assert (batch["image"][2][:, ~batch["pixels"][2]] == 0).all()


def test_beside_a_place_that_is_not():
    """Both are written by the same jobs."""
    rows = [{"raw": row["image"].astype(np.float32), **row} for row in samples()]
    options = {"normalize": {"image": HOW}, "channel_dim": {"image": -1, "raw": -1}}
    batch = Collate(**options, pin_memory=False)(rows)
    assert same_bits(batch["raw"], stacked([row["raw"] for row in rows]).contiguous())
    assert same_bits(batch["image"], expected_of(rows))


def test_in_workers():
    rows = samples(8)
    loader = DataLoader(rows, 4, num_workers=1, collate_fn=COLLATE)
    result = torch.cat([batch["image"].clone() for batch in loader])
    assert same_bits(result, expected_of(rows))


@pytest.mark.parametrize("order", ["rgb", "bgr"])
@pytest.mark.parametrize("dtype", [None, torch.bfloat16, torch.float64])
def test_what_torch_makes_is_normalised_as_well(dtype, order):
    """Of values that are left to torch: subclasses of tensors, say."""

    class Special(torch.Tensor):
        @classmethod
        def __torch_function__(cls, function, types, args=(), kwargs=None):
            return super().__torch_function__(function, types, args, kwargs or {})

    how = {"image": Normalize(MEAN, STD, channel_order=order)}
    collate = Collate(dtype=dtype, normalize=how, channel_dim={"image": -1})
    rows = samples()
    special = [{"image": torch.from_numpy(row["image"]).as_subclass(Special)} for row in rows]
    result = collate(special)["image"]
    assert type(result) is Special
    expected = collate(rows)["image"]
    assert same_bits(result.as_subclass(torch.Tensor), expected)
    with torch.device("meta"):  # a mode
        meta = collate(rows)["image"]
    assert (meta.shape, meta.dtype, meta.device.type) == (expected.shape, expected.dtype, "meta")


def test_it_pickles_and_has_a_hash():
    how = Normalize(np.array(MEAN), list(STD))
    assert how == Normalize(MEAN, STD) == Normalize(torch.tensor(MEAN, dtype=torch.double), STD)
    assert Normalize(np.float32(0.5), np.array(0.25)) == Normalize(0.5, 0.25)
    assert pickle.loads(pickle.dumps(COLLATE)) == COLLATE
    assert hash(COLLATE) == hash(Collate(normalize={"image": how}, channel_dim={"image": -1}))


@pytest.mark.parametrize(
    ("error", "text", "make"),
    [
        (TypeError, "^normalize: expected a mapping", lambda: Collate(normalize=HOW)),
        (TypeError, "^normalize: expected a tens.*'x'", lambda: Collate(normalize={"x": MEAN})),
        (
            ValueError,
            "^'x': expected one of jagged and normalize",
            lambda: Collate(normalize={"x": HOW}, jagged=["x"]),
        ),
        (ValueError, "^std: expected finite numbers above 0", lambda: Normalize(0, 0)),
        (ValueError, "^channel_order: expected", lambda: Normalize(channel_order="gbr")),
        (TypeError, "^mean: expected a number", lambda: Normalize("x")),
        (ValueError, "^scale: expected a finite", lambda: Normalize(scale=float("nan"))),
    ],
)
def test_what_is_wrong_with_the_options_is_said_early(error, text, make):
    with pytest.raises(error, match=text):
        make()


def test_errors_of_a_batch_name_the_place():
    with pytest.raises(ValueError, match=r'^mean: .*6 channels of samples\[0\]\["image"\]'):
        Collate(normalize={"image": HOW})(samples())
    with pytest.raises(TypeError, match=r'^samples\[0\]\["image"\]: dtype: expected one of float'):
        Collate(normalize={"image": HOW}, channel_dim={"image": -1}, dtype=torch.int32)(samples())
    with pytest.raises(ValueError, match="nothing"):
        Collate(normalize={"label": HOW})(samples())
    order = Normalize(channel_order="bgr")
    with pytest.raises(ValueError, match=r'^samples\[0\]\["image"\]: expected 3 channels'):
        Collate(normalize={"image": order})(samples())
