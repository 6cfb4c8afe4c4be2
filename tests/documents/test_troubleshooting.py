"""The manual's page of errors has what users meet, and no text that the sources no longer have."""

import re
import warnings
from functools import cache

import numpy as np
import pytest
import torch
from torch.utils.data._utils import collate as torch_collate

import tensorlift as tl
from support.tree import ROOT

PAGE = (ROOT / "python" / "docs" / "troubleshooting.md").read_text()
# Each entry begins with its texts, in which … stands for what varies.
ENTRIES = re.findall(r"^- ((?:\*\*`[^`]+`\*\*(?:, )?)+)$", PAGE, re.MULTILINE)
TEXTS = [text for entry in ENTRIES for text in re.findall(r"`([^`]+)`", entry)]


def said_in_the_sources() -> str:
    """All sources, with the parts of a text that stands in several literals put together."""
    places = [
        *(ROOT / "csrc").rglob("*.cpp"),
        *(ROOT / "csrc").rglob("*.h"),
        *(ROOT / "python" / "tensorlift").rglob("*.py"),
        *(ROOT / "python" / "build_backend").rglob("*.py"),
    ]
    text = "\n".join(path.read_text() for path in places)
    joined = re.sub(r'(?<!\\)"\s*f?"', "", text).replace('\\"', '"')
    return joined + torch_collate.default_collate_err_msg_format


SOURCES = said_in_the_sources()


def explained(message: str) -> list[str]:
    patterns = {text: ".*".join(map(re.escape, text.split("…"))) for text in TEXTS}
    return [text for text, pattern in patterns.items() if re.search(pattern, message, re.DOTALL)]


def read_only() -> np.ndarray:
    array = np.zeros(3)
    array.flags.writeable = False
    return array


Z = np.zeros
DATES = [Z(2, "M8[s]"), Z(2, "M8[D]")]
CALLS = {
    "an array": lambda: tl.from_numpy(Z(3)),
    "a dict": lambda: tl.stack({"a": Z(3)}),
    "None": lambda: tl.from_numpy([Z(3), None]),
    "a list": lambda: tl.stack([[1, 2]]),
    "text in a list": lambda: tl.pad([[1, "a"]]),
    "objects": lambda: tl.from_numpy([np.array([1, None], object)]),
    "a date": lambda: tl.from_numpy(DATES),
    "masked": lambda: tl.from_numpy([np.ma.array([1, 2], mask=[0, 1])]),
    "copy": lambda: tl.from_numpy([Z(3)[::-1]], copy=False),
    "readonly": lambda: tl.from_numpy([read_only()], readonly="error"),
    "read-only": lambda: tl.from_numpy([read_only()]),
    "shapes": lambda: tl.stack([Z(3), Z(4)]),
    "cat": lambda: tl.cat([Z((3, 2)), Z((3, 3))]),
    "jagged": lambda: tl.jagged([Z((3, 2)), Z((3, 3))]),
    "pad": lambda: tl.pad([Z(3), Z((4, 2))]),
    "0-d": lambda: tl.cat([np.float32(2)]),
    "empty": lambda: tl.stack([]),
    "promotion": lambda: tl.stack([Z(2, np.uint16), Z(2, np.int32)]),
    "units": lambda: tl.stack(DATES, dtype=torch.int64),
    "dim": lambda: tl.stack([Z(3)], dim=5),
    "channel_dim": lambda: tl.stack([Z(3)], channel_dim=5),
    "memory_format": lambda: tl.stack([Z(3)], memory_format=torch.channels_last),
    "means": lambda: tl.stack([Z((3, 2))], scale=1, mean=(1, 2)),
    "deviations": lambda: tl.stack([Z((3, 2))], scale=1, std=(1, 2)),
    "bgr": lambda: tl.stack([Z((4, 2))], channel_order="bgr"),
    "no scale": lambda: tl.stack([Z(3)], mean=1),
    "a deviation of 0": lambda: tl.stack([Z(3)], scale=1, std=0),
    "a mean that is NaN": lambda: tl.stack([Z(3)], scale=1, mean=float("nan")),
    "an infinite scale": lambda: tl.stack([Z(3)], scale=float("inf")),
    "normalised integers": lambda: tl.stack([Z(3)], scale=1, dtype=torch.uint8),
    "normalised into integers": lambda: tl.stack(
        [Z(3)], scale=1, out=torch.zeros(1, 3, dtype=torch.uint8)
    ),
    "normalised complex numbers": lambda: tl.stack([Z(3, "c8")], scale=1),
    "channel_order=": lambda: tl.stack([Z(3)], channel_order="gbr"),
    "normalize": lambda: tl.Collate(normalize=3),
    "how to normalize": lambda: tl.Collate(normalize={"image": 3}),
    "value": lambda: tl.pad([Z(2, np.uint8)], padding_value=-1),
    "pad_to_multiple_of": lambda: tl.pad([Z(2)], pad_to_multiple_of=0),
    "multiples": lambda: tl.pad([Z(2)], pad_to_multiple_of=(1, 2)),
    "max_length": lambda: tl.pad([Z(2)], max_length=0),
    "too long": lambda: tl.pad([Z(2)], max_length=1),
    "truncate": lambda: tl.pad([Z(2)], truncate="left"),
    "mask": lambda: tl.pad([Z(2)], mask="bool"),
    "mask_dim": lambda: tl.pad([Z(2)], mask_dim=0),
    "sides": lambda: tl.pad([Z(2)], padding_side=("left", "left")),
    "offsets": lambda: tl.jagged([Z(2)], offsets_dtype=torch.int16),
    "offsets of a place": lambda: tl.Collate(jagged={"a": 0}),
    "a long sequence": lambda: tl.pack([Z(5)], 4),
    "max_tokens": lambda: tl.pack([Z(5)], 0),
    "strategy": lambda: tl.pack([Z(5)], 9, strategy="best"),
    "too many tokens": lambda: tl.pack([np.broadcast_to(Z((1, 0)), (1 << 31, 0))], 1 << 31),
    "out of another shape": lambda: tl.stack([Z(3)], out=torch.zeros(3)),
    "out of another dtype": lambda: tl.stack([Z(3)], out=torch.zeros(1, 3, dtype=torch.int64)),
    "out expanded": lambda: tl.stack([Z(3)], out=torch.zeros(1).double().expand(1, 3)),
    "out with a gradient": lambda: tl.stack(
        [Z(3)], out=torch.zeros(1, 3, dtype=torch.double, requires_grad=True)
    ),
    "a gradient": lambda: tl.stack([torch.zeros(2, requires_grad=True)]),
    "dtype": lambda: tl.stack([Z(3)], dtype="float32"),
    "dtype of Collate": lambda: tl.Collate(dtype="float32"),
    "a quantized dtype": lambda: tl.stack([Z(3)], dtype=torch.quint8),
    "threads": lambda: tl.stack([Z(3)], threads=0),
    "copy with pin_memory": lambda: tl.from_numpy([Z(2)], copy=False, pin_memory=True),
    "readonly=": lambda: tl.from_numpy([Z(2)], readonly="never"),
    "side=": lambda: tl.pad([Z(2)], padding_side="top"),
    "copy=": lambda: tl.from_numpy([Z(2)], copy="never"),
    "shapes of samples": lambda: tl.collate([{"x": Z(2)}, {"x": Z(3)}]),
    "lengths of samples": lambda: tl.collate([{"x": [1, 2]}, {"x": [1]}]),
    "a key": lambda: tl.collate([{"x": 1}, {"y": 1}]),
    "None in a sample": lambda: tl.collate([{"x": None}]),
    "None in another sample": lambda: tl.collate([{"x": 1}, {"x": None}]),
    "an array among tensors": lambda: tl.collate([torch.ones(2), Z(2)]),
    "Collate as a collate_fn": lambda: tl.Collate([{"x": 1}]),
    "a dtype of a place": lambda: tl.Collate(dtype={"x": "float32"}),
    "None for an array": lambda: tl.collate([{"x": Z(2)}, {"x": None}]),
    "another kind of sample": lambda: tl.collate([{"x": 1}, [2]]),
    "one more kind": lambda: tl.collate([[1], 2]),
    "no samples": lambda: tl.collate([]),
    "one sample": lambda: tl.collate({"x": Z(2)}),
    "a place that is not there": lambda: tl.Collate(pad=["tokes"])([{"tokens": Z(2)}]),
    "a place that is there twice": lambda: tl.Collate(pad=["a"], jagged=["a"]),
    "one place": lambda: tl.Collate(pad="a"),
    "no padding": lambda: tl.Collate(pad={"a": "left"}),
    "no mapping": lambda: tl.Collate(pad={0: tl.Pad(mask="m")})([([1],)]),
    "a key that is there": lambda: tl.Collate(pad={"a": tl.Pad(mask="b")})([{"a": [1], "b": 1}]),
    "a mask without a place": lambda: tl.Pad(mask=True, sizes=False),
    "mask of Pad": lambda: tl.Pad(mask=1),
    "places of channels": lambda: tl.Collate(channel_dim=["a"]),
    "a dimension of channels": lambda: tl.Collate(channel_dim={"a": "b"}),
    "pin_memory and device": lambda: tl.Collate(device="cpu", pin_memory=True),
    "an argument": lambda: tl.DevicePrefetcher([], "cpu", sampler=1),
    "no device": lambda: tl.stack([Z(2)], device="cud"),
    "staging": lambda: tl.set_staging(chunk_bytes=1),
    "no list of tensors": lambda: tl.to_numpy(torch.zeros(2)),
    "no tensor": lambda: tl.to_numpy([Z(2)]),
    "a tensor with a gradient": lambda: tl.to_numpy([torch.zeros(2, requires_grad=True)]),
    "conjugation": lambda: tl.to_numpy([torch.zeros(2, dtype=torch.complex64).conj()]),
}


@cache
def message_of(name: str) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(Exception) as caught:  # noqa: PT011
            CALLS[name]()
    return str(caught.value)


@pytest.mark.parametrize("name", CALLS)
def test_what_a_user_meets_is_on_the_page(name):
    assert explained(message_of(name)), message_of(name)


def fixed_parts(text: str) -> list[str]:
    """What stands between the parts that vary, and the words that most errors have."""
    parts = re.split(r"…|\bexpected\b|, got\b|\bsamples\[0\]", text)
    return [stripped for part in parts if (stripped := part.strip(" .,:[]()")) and len(part) > 8]


@pytest.mark.parametrize("text", TEXTS)
def test_there_is_an_error_of_that_text(text):
    if any(text in explained(message_of(name)) for name in CALLS):
        return
    parts = fixed_parts(text)
    assert parts
    for part in parts:  # it needs a device, another torch, or a lack of memory
        assert part in SOURCES, part


def test_there_are_entries():
    assert len(ENTRIES) > 60
