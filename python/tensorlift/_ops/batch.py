"""One tensor per list: stack, cat, pad and jagged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, TypedDict, overload

import torch

from .. import _C
from .._typing import ArraysOrTensors, ChannelOrder, Device, Number, PerChannel, Ragged, Side

if TYPE_CHECKING:
    from typing_extensions import Unpack


def stack(
    arrays: ArraysOrTensors,
    /,
    dim: int = 0,
    *,
    dtype: torch.dtype | None = None,
    channel_dim: int | None = None,
    channel_order: ChannelOrder = "rgb",
    scale: float | None = None,
    mean: PerChannel | None = None,
    std: PerChannel | None = None,
    memory_format: torch.memory_format | None = None,
    out: torch.Tensor | None = None,
    pin_memory: bool = False,
    device: Device | None = None,
    non_blocking: bool = True,
    stream: torch.Stream | None = None,
    threads: int | None = None,
) -> torch.Tensor:
    """Joins arrays of one shape along a new dimension, as :func:`torch.stack` does.

    Every element is copied exactly once, by several threads: cast, byte swap, strides and memory
    format included. No second copy is made on the way.

    Args:
        arrays: a sequence or iterable of :class:`numpy.ndarray`, all of the same shape ``S``; NumPy
            scalars count as 0-d arrays; CPU tensors may stand among them, and objects with memory,
            as for :func:`from_numpy`.
        dim: where the new dimension goes; counted from the end where negative.
        dtype: of the result. None promotes as :func:`torch.stack` does; integers that are
            normalized become :func:`torch.get_default_dtype`. datetime64 and timedelta64 need
            ``torch.int64``. A cast gives the bits that :meth:`torch.Tensor.to` gives.
        channel_dim: the arrays' channel dimension, moved to the front of each: -1 for images of
            shape (height, width, channels), which thus become (channels, height, width). None
            leaves them as they are.
        channel_order: "bgr" for arrays of shape (3, ...), counted after `channel_dim`, whose
            channels are blue, green and red, as OpenCV has them: they become red, green and blue.
        scale: what every number x of the arrays is multiplied by: 1/255 for images of uint8. With
            `scale`, `mean` or `std` the result has (x * scale - mean) / std: x is cast to float32
            (to float64 for a result of that), each of the three operations rounds, and the result
            is cast to `dtype`. Those are the bits of the same three operations in torch.
        mean: what is subtracted then: one number, or one for each channel, the arrays' first
            dimension after `channel_dim`, in the order of the result. None is 0. It needs `scale`.
        std: what is divided by then, likewise. None is 1.
        memory_format: ``torch.channels_last`` for a result of 4 dimensions (N, C, H, W) or
            ``torch.channels_last_3d`` for 5, counted after `channel_dim`. Images of shape
            (height, width, channels) with ``channel_dim=-1`` lie in memory as it asks for already,
            and are copied straight. None keeps a format that all arrays have, as
            :func:`torch.stack` does, and is contiguous else.
        out: a tensor of the result's shape, of any strides, to write to; an empty one is resized.
            Without `dtype` it may have any dtype that the result's can be cast to. It may share
            memory with the arrays: then they are read before it is written. One on a device is
            written to by one packed transfer, as :meth:`torch.Tensor.copy_` with `non_blocking`
            would: after all that the stream was given before, and before what it is given next. It
            must wait for another stream that uses the tensor.
        pin_memory: whether the result's memory is page-locked, for asynchronous transfers.
        device: where the result is to be; None for where `out` is, or a CPU for the host's memory;
            with `out` no other than that of `out`. For an accelerator the arrays are gathered into
            page-locked staging memory (:func:`tensorlift.staging`), one part at a time; each part
            is sent while the next one is gathered. Where all arrays have a dtype narrower than the
            result's, they are sent as they are and cast there.
        non_blocking: True returns as soon as everything was read. The arrays may be changed then,
            and the result may be used on the stream, which waits for the copies. With False the
            host waits for the copies as well.
        stream: of `device`, on which the result is ready; None for the calling thread's current
            one. The copies run on a stream of their own, for which that one waits.
        threads: how many threads may copy; None for as many as torch uses
            (:func:`torch.get_num_threads`).

    Returns:
        A tensor of shape ``S`` with ``len(arrays)`` inserted at `dim`; `out` where that is given.

    Tensors that torch knows better are joined by :func:`torch.stack`: subclasses that override its
    functions, sparse, nested and quantised ones, those on a device or inside a transformation.

    Raises:
        TypeError: an item is no array, or its dtype has no torch counterpart or does not promote;
            `dtype` is not of floating-point numbers, or an array is complex, with `scale`.
        ValueError: no arrays, different shapes, an `out` that does not fit, a tensor that requires
            grad or is not in the host's memory, no accelerator to pin memory for, a `device` that
            torch cannot use, a `stream` of another one, another `device` than that of `out`,
            `pin_memory` together with `device` or `out`; not one number of `mean` or `std` for each
            channel, one that is not finite, a `std` that is not above 0, no 3 channels for "bgr".
            What torch raises a RuntimeError for is one as well.
        IndexError: `dim` or `channel_dim` is out of range.
        RuntimeError: torch cannot allocate the memory; `device` during a graph capture, or in a
            forked child.

    All of this is found out before anything is written: after an error `out` is as it was, but for
    one on a device, to which a transfer that fails may have written some.

    Example:
        >>> import numpy as np, tensorlift
        >>> tensorlift.stack([np.array([1, 2]), np.array([3, 4])], dtype=torch.float32)
        tensor([[1., 2.],
                [3., 4.]])
        >>> images = [np.zeros((8, 10, 3), np.uint8)] * 4
        >>> batch = tensorlift.stack(images, channel_dim=-1, memory_format=torch.channels_last)
        >>> batch.shape, batch.is_contiguous(memory_format=torch.channels_last)
        (torch.Size([4, 3, 8, 10]), True)
        >>> mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
        >>> batch = tensorlift.stack(images, channel_dim=-1, scale=1 / 255, mean=mean, std=std)
        >>> batch[0, :, 0, 0]
        tensor([-2.1179, -2.0357, -1.8044])
    """
    return _C.stack(
        arrays,
        dim,
        dtype,
        channel_dim,
        channel_order,
        scale,
        mean,
        std,
        memory_format,
        out,
        pin_memory,
        device,
        non_blocking,
        stream,
        threads,
    )


def cat(
    arrays: ArraysOrTensors,
    /,
    dim: int = 0,
    *,
    dtype: torch.dtype | None = None,
    channel_dim: int | None = None,
    memory_format: torch.memory_format | None = None,
    out: torch.Tensor | None = None,
    pin_memory: bool = False,
    device: Device | None = None,
    non_blocking: bool = True,
    stream: torch.Stream | None = None,
    threads: int | None = None,
) -> torch.Tensor:
    """Joins arrays along a dimension that they have, as :func:`torch.cat` does.

    Every element is copied exactly once, by several threads.

    Args:
        arrays: as for :func:`stack`, but the sizes along `dim` may differ. Arrays of shape (0,) are
            passed over, as torch does it.
        dim: the dimension to join along; counted from the end where negative, after `channel_dim`.
        dtype: as for :func:`stack`.
        channel_dim: as for :func:`stack`.
        memory_format: as for :func:`stack`; None keeps a format that all arrays have, as
            :func:`torch.cat` does.
        out: as for :func:`stack`.
        pin_memory: as for :func:`stack`.
        device: as for :func:`stack`.
        non_blocking: as for :func:`stack`.
        stream: as for :func:`stack`.
        threads: as for :func:`stack`.

    Returns:
        A tensor whose size along `dim` is the sum of the arrays'; `out` where that is given.

    Raises:
        TypeError: as for :func:`stack`.
        ValueError: as for :func:`stack`, or an array has no dimensions.
        IndexError: as for :func:`stack`.
        RuntimeError: as for :func:`stack`.

    Example:
        >>> import numpy as np, tensorlift
        >>> tensorlift.cat([np.zeros((2, 3)), np.ones((1, 3))]).shape
        torch.Size([3, 3])
    """
    return _C.cat(
        arrays,
        dim,
        dtype,
        channel_dim,
        memory_format,
        out,
        pin_memory,
        device,
        non_blocking,
        stream,
        threads,
    )


class Padded(NamedTuple):
    """What :func:`pad` returns.

    Attributes:
        batch: [arrays, ...]: the arrays, each in a slot of the largest's shape.
        sizes: int64 [arrays, dimensions]: the shape of each before it was padded, and after it was
            truncated.
    """

    batch: torch.Tensor
    sizes: torch.Tensor

    @property
    def lengths(self) -> torch.Tensor:
        """int64 [arrays]: the sizes along the first dimension, a view of `sizes`."""
        return self.sizes[:, 0]

    @property
    def mask(self) -> None:
        """None: it was not asked for."""
        return None


class PaddedWithMask(NamedTuple):
    """What :func:`pad` returns where a mask is asked for.

    Attributes:
        batch: as for :class:`Padded`.
        sizes: as for :class:`Padded`.
        mask: 1 where the batch has an element of an array, 0 where it is padding.
    """

    batch: torch.Tensor
    sizes: torch.Tensor
    mask: torch.Tensor

    @property
    def lengths(self) -> torch.Tensor:
        """int64 [arrays]: the sizes along the first dimension, a view of `sizes`."""
        return self.sizes[:, 0]


def padded(
    batch: torch.Tensor, sizes: torch.Tensor, mask: torch.Tensor | None
) -> Padded | PaddedWithMask:
    """Of two tensors or of three: torch rebuilds named tuples from what they are made of."""
    return Padded(batch, sizes) if mask is None else PaddedWithMask(batch, sizes, mask)


class _PadOptions(TypedDict, total=False):
    """All options of pad() but `mask`, which decides what it returns."""

    padding_value: Number
    padding_side: Side | Sequence[Side]
    pad_to_multiple_of: int | Sequence[int] | None
    max_length: int | Sequence[int | None] | None
    truncate: Side | None
    mask_dim: int | Sequence[int] | None
    dtype: torch.dtype | None
    channel_dim: int | None
    channel_order: ChannelOrder
    scale: float | None
    mean: PerChannel | None
    std: PerChannel | None
    memory_format: torch.memory_format | None
    out: torch.Tensor | None
    pin_memory: bool
    device: Device | None
    non_blocking: bool
    stream: torch.Stream | None
    threads: int | None


@overload
def pad(
    arrays: Ragged, /, *, mask: Literal[False] = False, **options: Unpack[_PadOptions]
) -> Padded: ...
@overload
def pad(
    arrays: Ragged, /, *, mask: Literal[True] | torch.dtype, **options: Unpack[_PadOptions]
) -> PaddedWithMask: ...
def pad(
    arrays: Ragged,
    /,
    *,
    padding_value: Number = 0,
    padding_side: Side | Sequence[Side] = "right",
    pad_to_multiple_of: int | Sequence[int] | None = None,
    max_length: int | Sequence[int | None] | None = None,
    truncate: Side | None = None,
    mask: bool | torch.dtype = False,
    mask_dim: int | Sequence[int] | None = None,
    dtype: torch.dtype | None = None,
    channel_dim: int | None = None,
    channel_order: ChannelOrder = "rgb",
    scale: float | None = None,
    mean: PerChannel | None = None,
    std: PerChannel | None = None,
    memory_format: torch.memory_format | None = None,
    out: torch.Tensor | None = None,
    pin_memory: bool = False,
    device: Device | None = None,
    non_blocking: bool = True,
    stream: torch.Stream | None = None,
    threads: int | None = None,
) -> Padded | PaddedWithMask:
    """Joins arrays of different shapes: every dimension is padded to the largest.

    For 1-D arrays of one dtype the batch is what :func:`torch.nn.utils.rnn.pad_sequence` with
    ``batch_first=True`` gives; mixed dtypes promote, where that takes the first's. Every element of
    the result is written exactly once, and so is the mask, in the same pass.

    Args:
        arrays: as for :func:`stack`, with the same number of dimensions, of any sizes. One of shape
            (0,) is taken as one without rows: its size is 0, then those of the first of the others.
            Lists of Python numbers, such as a tokenizer's, may stand among them.
        padding_value: what the padding consists of; within the range of the result's dtype.
        padding_side: "right" pads behind the elements of every dimension, "left" before them; a
            sequence has one of them for each dimension.
        pad_to_multiple_of: every dimension is padded to a multiple of this; a sequence has one
            number for each dimension, for instance ``(1, 32, 32)`` for (channels, height, width).
        max_length: how long an array may be: its size along the first dimension. A sequence has one
            number, or None, for each dimension. What is padded to a multiple may become longer.
        truncate: what becomes of arrays that are longer: "right" drops their last elements, "left"
            the first ones. None refuses them.
        mask: True for a mask of ``torch.bool`` beside the batch, or a dtype for one of that.
        mask_dim: the dimensions of the arrays that the mask has, in this order, besides the one of
            the batch; None for all. For instance 0 for a mask [arrays, length] of arrays of shape
            (length, features), ``(1, 2)`` for one [arrays, height, width] of images.
        dtype: as for :func:`stack`.
        channel_dim: as for :func:`stack`. The dimensions above are counted after it.
        channel_order: as for :func:`stack`.
        scale: as for :func:`stack`. The padding is not normalized.
        mean: as for :func:`stack`.
        std: as for :func:`stack`.
        memory_format: as for :func:`stack`; None is contiguous.
        out: as for :func:`stack`; it gets the batch.
        pin_memory: as for :func:`stack`; the sizes stay in pageable memory.
        device: as for :func:`stack`; the sizes and the mask are there as well.
        non_blocking: as for :func:`stack`.
        stream: as for :func:`stack`.
        threads: as for :func:`stack`.

    Returns:
        The named tuple (batch, sizes); (batch, sizes, mask) where a mask is asked for.

    Raises:
        TypeError: as for :func:`stack`.
        ValueError: as for :func:`stack`, with different numbers of dimensions instead of shapes;
            an array is longer than `max_length`; a sequence has not one item for each dimension.
        IndexError: `channel_dim` or `mask_dim` is out of range.
        RuntimeError: as for :func:`stack`.

    Example:
        >>> import numpy as np, tensorlift
        >>> tokens = [np.array([1, 2, 3]), np.array([4])]
        >>> tensorlift.pad(tokens, padding_value=-1).batch
        tensor([[ 1,  2,  3],
                [ 4, -1, -1]])
        >>> batch, sizes, mask = tensorlift.pad(tokens, max_length=2, truncate="right", mask=True)
        >>> batch.tolist(), sizes.tolist(), mask.tolist()
        ([[1, 2], [4, 0]], [[2], [1]], [[True, True], [True, False]])
    """
    return padded(
        *_C.pad(
            arrays,
            padding_value,
            padding_side,
            pad_to_multiple_of,
            max_length,
            truncate,
            mask,
            mask_dim,
            dtype,
            channel_dim,
            channel_order,
            scale,
            mean,
            std,
            memory_format,
            out,
            pin_memory,
            device,
            non_blocking,
            stream,
            threads,
        )
    )


class Jagged(NamedTuple):
    """What :func:`jagged` returns.

    Attributes:
        values: [sum of lengths, ...]: the arrays, one after another along the first dimension.
        offsets: [arrays + 1]: array i is ``values[offsets[i]:offsets[i + 1]]``. As int32 these are
            the `cu_seqlens` of attention over sequences without padding.
    """

    values: torch.Tensor
    offsets: torch.Tensor

    @property
    def lengths(self) -> torch.Tensor:
        """[arrays]: how long each is."""
        return self.offsets.diff()

    @property
    def max_length(self) -> int:
        """The longest one's length. On a device it has to be waited for."""
        return int(self.lengths.max())

    def position_ids(self) -> torch.Tensor:
        """int64 [sum of lengths]: where in its array each value stands, from 0.

        Example:
            >>> import tensorlift
            >>> tensorlift.jagged([[7, 8, 9], [5, 6]]).position_ids()
            tensor([0, 1, 2, 0, 1])
        """
        if type(self.offsets) is torch.Tensor and self.offsets.device.type == "cpu":
            return _C.position_ids(self.offsets)
        total = self.values.shape[0]
        begins = self.offsets[:-1].repeat_interleave(self.lengths, output_size=total)
        return torch.arange(total, device=self.values.device) - begins

    def to_nested(self) -> torch.Tensor:
        """A nested tensor of the jagged layout over the same memory.

        Example:
            >>> import numpy as np, tensorlift
            >>> nested = tensorlift.jagged([np.zeros((2, 3)), np.zeros((5, 3))]).to_nested()
            >>> [tuple(t.shape) for t in nested.unbind()]
            [(2, 3), (5, 3)]
        """
        if self.offsets.device.type != "cpu":  # the device would be waited for
            return torch.nested.nested_tensor_from_jagged(self.values, self.offsets)
        shortest, longest = (int(length) for length in self.lengths.aminmax())
        return torch.nested.nested_tensor_from_jagged(
            self.values, self.offsets, min_seqlen=shortest, max_seqlen=longest
        )

    def unbind(self) -> tuple[torch.Tensor, ...]:
        """One view of the values for each array."""
        lengths: list[int] = self.offsets.diff().tolist()
        return torch.split_with_sizes(self.values, lengths)


def jagged(
    arrays: Ragged,
    /,
    *,
    offsets_dtype: torch.dtype = torch.int64,
    dtype: torch.dtype | None = None,
    out: torch.Tensor | None = None,
    pin_memory: bool = False,
    device: Device | None = None,
    non_blocking: bool = True,
    stream: torch.Stream | None = None,
    threads: int | None = None,
) -> Jagged:
    """Joins arrays that differ in their first dimension, and says where each begins.

    ``jagged(arrays).to_nested()`` is what
    ``torch.nested.nested_tensor(arrays, layout=torch.jagged)`` gives, without padding. Every
    element is copied exactly once.

    Args:
        arrays: as for :func:`stack`, of shapes (length, ...) with any lengths; (0,) is of length 0
            whatever the other dimensions are. Lists of Python numbers may stand among them.
        offsets_dtype: of the offsets; ``torch.int32`` for kernels of attention.
        dtype: as for :func:`stack`.
        out: as for :func:`stack`; it gets the values.
        pin_memory: as for :func:`stack`; the offsets stay in pageable memory.
        device: as for :func:`stack`; the offsets are there as well.
        non_blocking: as for :func:`stack`.
        stream: as for :func:`stack`.
        threads: as for :func:`stack`.

    Returns:
        The named tuple (values, offsets).

    Raises:
        TypeError: as for :func:`stack`.
        ValueError: as for :func:`stack`, with shapes that differ in more than the first dimension;
            the offsets are no numbers of `offsets_dtype`.
        RuntimeError: as for :func:`stack`.

    Example:
        >>> import numpy as np, tensorlift
        >>> values, offsets = tensorlift.jagged([np.array([1, 2, 3]), np.array([4])])
        >>> values, offsets
        (tensor([1, 2, 3, 4]), tensor([0, 3, 4]))
    """
    return Jagged(
        *_C.jagged(
            arrays,
            offsets_dtype,
            dtype,
            out,
            pin_memory,
            device,
            non_blocking,
            stream,
            threads,
        )
    )
