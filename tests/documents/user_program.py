"""What a user writes, for type checkers alone: tests/documents/test_typing.py runs them over it."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset
from typing_extensions import assert_type

import tensorlift

arrays: list[npt.NDArray[np.float32]] = [np.zeros(3, np.float32)]
mixed: tuple[npt.NDArray[Any] | torch.Tensor, ...] = (np.zeros(3), torch.zeros(3))


def generator() -> Iterator[npt.NDArray[np.uint8]]:
    yield np.zeros(3, np.uint8)


assert_type(tensorlift.from_numpy(arrays), list[torch.Tensor])
assert_type(tensorlift.from_numpy(generator(), dtype=torch.float32), list[torch.Tensor])
tensorlift.from_numpy(arrays, device="cpu", readonly="copy", copy=True, threads=2)
tensorlift.from_numpy([np.float32(3), arrays[0]])
assert_type(tensorlift.stack(mixed, -1, memory_format=torch.contiguous_format), torch.Tensor)
assert_type(tensorlift.cat(arrays, dim=0, out=torch.empty(3)), torch.Tensor)
assert_type(
    tensorlift.pad(arrays, padding_value=-1, padding_side="left", pad_to_multiple_of=8),
    tensorlift.Padded,
)
batch, sizes = tensorlift.pad(arrays, pad_to_multiple_of=(8,))
assert_type(batch, torch.Tensor)
assert_type(sizes, torch.Tensor)
with_mask = tensorlift.pad(arrays, mask=torch.int64, mask_dim=0)
assert_type(with_mask, tensorlift.PaddedWithMask)
batch, sizes, mask = with_mask
assert_type(mask, torch.Tensor)
assert_type(tensorlift.pad([[1, 2], [3]], max_length=1, truncate="left").lengths, torch.Tensor)
tensorlift.pad(arrays, padding_side=("left", "right"), max_length=(None, 4), truncate="right")
values = tensorlift.jagged(arrays)
assert_type(values, tensorlift.Jagged)
assert_type(values.to_nested(), torch.Tensor)
assert_type(values.offsets, torch.Tensor)

explanation = tensorlift.explain(arrays, dtype=torch.float64, operation="stack")
assert_type(explanation, tensorlift.Explanation)
assert_type(explanation.transfer, tensorlift.Transfer | None)
assert_type(explanation[0].reason, str)
for entry in explanation:
    assert_type(entry, tensorlift.Entry)


class Samples(Dataset[dict[str, npt.NDArray[np.float32]]]):
    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> dict[str, npt.NDArray[np.float32]]:
        return {"x": arrays[index]}


collate = tensorlift.Collate(dtype={"x": torch.float32}, pad={"tokens": 0}, jagged=["points"])
loader: DataLoader[Any] = DataLoader(Samples(), batch_size=1, collate_fn=collate)
DataLoader(Samples(), collate_fn=partial(tensorlift.collate, collate_fn_map={int: len}))
for sample in tensorlift.DevicePrefetcher(loader, torch.device("cpu"), depth=3):
    sample["x"].mean()
report = tensorlift.profile_loader(loader, 10, lambda batch: batch["x"].mean())
assert_type(report, tensorlift.LoaderReport)
assert_type(report.gain, float)
if report.verdict == "too few workers":
    print(report.shares["worker"]["reading"], report.explanation.copied)
report.plot("report.png")
tensorlift.profile_loader(tensorlift.DevicePrefetcher(loader, "cpu"), step=print)
buffers = tensorlift.collate([{"x": arrays[0]}], out=None)
tensorlift.collate([{"x": arrays[0]}], out=buffers)
tensorlift.Collate(dtype=torch.float32, out=buffers)
tensorlift.DevicePrefetcher(loader, "cpu", into=buffers)
with tensorlift.install():
    pass
tensorlift.uninstall()
tensorlift.convert({"x": arrays[0]}, dtype=torch.float16)
frame = tensorlift.empty_pinned((2, 3), np.uint8)
frame[...] = 1
ids = tensorlift.Pad(0, padding_side="left", max_length=8, truncate="left", mask="attention_mask")
tensorlift.Collate(pad={"input_ids": ids, "labels": -100}, channel_dim={"image": -1})
numbers = tensorlift.Normalize((0.5, 0.4, 0.3), np.ones(3), channel_order="bgr")
tensorlift.Collate(normalize={"image": numbers})
tensorlift.stack(arrays, channel_order="rgb", scale=1 / 255, mean=0.5, std=[0.25])
tensorlift.pad(arrays, channel_order="bgr", scale=1, mean=(0.5, 0.4, 0.3), std=0.25)
jagged = tensorlift.jagged([[1, 2], [3]], offsets_dtype=torch.int32)
assert_type(jagged.max_length, int)
assert_type(jagged.position_ids(), torch.Tensor)
tensorlift.Collate(jagged={"tokens": torch.int32})
packed = tensorlift.pack([[1, 2], [3]], 4, strategy="sequential", truncate="right")
assert_type(packed, tensorlift.Packed)
tensorlift.explain([[1, 2], [3]], operation="pack", max_tokens=4, strategy="sequential")
assert_type(packed.unbind()[0].max_length, int)
assert_type(tensorlift.staging(), tensorlift.Staging)
assert_type(tensorlift.set_staging(chunk_bytes=1 << 20, threads=2), tensorlift.Staging)
assert_type(tensorlift.to_numpy([batch])[0], npt.NDArray[Any])
assert_type(tensorlift.__version__, str)
tensorlift.empty_cache()
tensorlift.reference.stack(arrays)

tensorlift.from_numpy(arrays, readonly="never")  # an error
tensorlift.stack(arrays, dtype="float32")  # an error
tensorlift.from_numpy(3)  # an error
tensorlift.pad(arrays, padding_side="top")  # an error
tensorlift.Collate(padding=3)  # an error
tensorlift.stack(arrays, channel_order="grb")  # an error
tensorlift.Collate(normalize={"image": 3})  # an error
tensorlift.profile_loader([1])  # an error
