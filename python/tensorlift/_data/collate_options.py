"""collate with options, as an object that pickles."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, SupportsIndex, TypeAlias, get_args

import torch

from .. import _C
from .._typing import Device, Number
from .collate import CollateFnMap, collate_into, default_fn_map, merged
from .into import device_of
from .normalize import Normalize
from .pad import Pad
from .send import pin, send, send_plainly
from .shared import memory_for_batches
from .tree import Attribute, Path, path_text

Optional: TypeAlias = Literal["drop", "list"]


@dataclass(frozen=True)
class Collate:
    """A `collate_fn` with options: :func:`tensorlift.collate`, changed for the places they name.

    A place is named by its last step: a key, the name of a field, an index; or by all of its steps
    as a tuple, ``("inputs", "image")``.

    Args:
        dtype: what arrays, NumPy scalars, tensors and Python floats are cast to: one dtype for all,
            or a mapping from places to dtypes. Python ints and bools, which are labels more often
            than not, keep torch's dtypes unless their place is named.
        pad: places of different shapes, which are padded: a mapping from places to
            :class:`tensorlift.Pad` or to the padding value, or a collection of places (0). They
            become a :class:`tensorlift.Padded`, or tensors with ``Pad(sizes=False)``. Lists of
            Python numbers, such as a tokenizer's, may stand there as well.
        jagged: places of different lengths that become a :class:`tensorlift.Jagged`
            (values, offsets). Lists of Python numbers, too. A mapping has the dtype of the offsets
            for each place, ``torch.int64`` or ``torch.int32``.
        channel_dim: a mapping from places to the channel dimension of what stands there, which is
            moved to the front, as by :func:`tensorlift.stack`: ``{"image": -1}`` for images of
            shape (height, width, channels), which thus become a batch (N, C, H, W).
        channels_last: places whose batch of 4 dimensions lies in ``torch.channels_last`` memory.
            For images of shape (height, width, channels) that are named in `channel_dim` as well,
            that is a straight copy.
        normalize: a mapping from places of images to :class:`tensorlift.Normalize`. The batch is of
            the floating-point dtype that `dtype` says, else of torch's default one for integers.
            With `device` images of uint8 are sent as they are, and normalized there.
        optional: places where values may be None: a mapping from places to "drop" (the batch is of
            the samples that have something there, None where no sample has) or to "list" (the batch
            is the list of the values wherever one of them is None); one of these words for all
            places. An error of a place from which values were dropped counts those that are left.
        out: a tree like that of the batch whose tensors are written to, as for
            :func:`tensorlift.collate`. The options say which dtypes and shapes these have. Batches
            share them: what is kept of one is overwritten by the next. With tensors on a device the
            batch is sent there in one transfer, after what the current stream was given.
        pin_memory: whether all tensors of the batch are written to page-locked memory.
        device: where all tensors of the batch are sent, in one transfer. They are ready on the
            current stream. It does not work in forked workers.
        non_blocking: as for :func:`tensorlift.stack`, with `device`.
        stream: as for :func:`tensorlift.stack`, with `device`.
        threads: as for :func:`tensorlift.stack`.
        collate_fn_map: as for :func:`tensorlift.collate`.

    Raises:
        TypeError: an option is of the wrong type.
        ValueError: a place is named by `jagged` and by `pad`, `channel_dim`, `channels_last` or
            `normalize`;
            `pin_memory` together with `device`; `stream` without `device`, or of another one; torch
            has no such device here; `pin_memory` together with `out`, or a `device` that `out` is
            not on; in a batch, there is nothing at a place that is named.

    Example:
        >>> import numpy as np, tensorlift, torch
        >>> samples = [{"x": np.ones(2), "tokens": np.arange(n)} for n in (1, 3)]
        >>> batch = tensorlift.Collate(dtype={"x": torch.float32}, pad={"tokens": -1})(samples)
        >>> batch["x"].dtype, batch["tokens"].batch
        (torch.float32, tensor([[ 0, -1, -1],
                [ 0,  1,  2]]))
    """

    dtype: torch.dtype | Mapping[Any, torch.dtype] | None = None
    pad: Mapping[Any, Pad | Number] | Collection[Any] = ()
    jagged: Mapping[Any, torch.dtype] | Collection[Any] = ()
    channel_dim: Mapping[Any, int] = field(default_factory=dict)
    channels_last: Collection[Any] = ()
    normalize: Mapping[Any, Normalize] = field(default_factory=dict)
    optional: Optional | Mapping[Any, Optional] = field(default_factory=dict)
    out: Any = field(default=None, compare=False, repr=False)
    pin_memory: bool = False
    device: Device | None = None
    non_blocking: bool = True
    stream: torch.Stream | None = None
    threads: int | None = None
    collate_fn_map: CollateFnMap | None = None

    def __post_init__(self) -> None:
        """Refuses contradictions before a worker meets them."""
        for name in ("pad", "jagged", "channels_last"):
            places = getattr(self, name)
            if isinstance(places, (str, bytes)) or not isinstance(places, Collection):
                raise TypeError(
                    f"{name}: expected a collection of places, such as ['image'], got {places!r}."
                )
        _check_dtype(self.dtype)
        if isinstance(self.pad, Mapping):
            _check_pads(self.pad)
        if isinstance(self.jagged, Mapping):
            _check_offsets_dtypes(self.jagged)
        _check_channel_dims(self.channel_dim)
        _check_normalize(self.normalize)
        for name in ("pad", "channel_dim", "channels_last", "normalize"):
            twice = next((place for place in self.jagged if place in getattr(self, name)), None)
            if twice is not None:
                raise ValueError(f"{twice!r}: expected one of jagged and {name}, got both.")
        _check_optional(self.optional)
        if self.pin_memory and self.device is not None:
            raise ValueError("pin_memory: expected False with device=, got True.")
        if self.device is not None:
            _check_device(self.device)
        if not isinstance(self.non_blocking, bool):
            raise TypeError(f"non_blocking: expected True or False, got {self.non_blocking!r}.")
        if self.out is not None:
            _check_out(self.out, self.pin_memory, self.device)
        _check_stream(self.stream, self.device if self.out is None else device_of(self.out))
        _C.check_threads(self.threads)

    def __hash__(self) -> int:
        """Of what the options say."""
        return hash(tuple(_hashable(getattr(self, f.name)) for f in fields(self) if f.compare))

    def __call__(self, samples: Sequence[Any]) -> Any:
        """The batch."""
        fn_map = default_fn_map() if self.collate_fn_map is None else merged(self.collate_fn_map)
        places = _Places(self)
        if self.out is not None:
            return collate_into(
                samples,
                self.out,
                fn_map,
                places.options_for,
                places.check,
                non_blocking=self.non_blocking,
                stream=self.stream,
                threads=self.threads,
            )
        is_sent = self.device is not None and _C.can_send_to(self.device)
        device = None if self.device is None else torch.device(self.device)
        if self.stream is not None and not is_sent:
            raise ValueError(f"stream: expected None for {device}, got {self.stream!r}.")
        transfer = (device if is_sent else None, self.non_blocking, self.stream, self.threads)
        memory = "pinned" if self.pin_memory else memory_for_batches()
        batch = _C.collate(samples, fn_map, places.options_for, memory, transfer, None, None)
        places.check()
        if device is not None and device.type != "cpu":
            if not is_sent:
                return send_plainly(batch, device)
            return send(batch, device, self.stream, self.threads, non_blocking=self.non_blocking)
        return pin(batch) if self.pin_memory else batch


class _Places:
    """The places of one batch, and which of them the options name."""

    def __init__(self, options: Collate) -> None:
        self.options = options
        dtypes = options.dtype if isinstance(options.dtype, Mapping) else ()
        self.missing = dict.fromkeys(
            [
                *options.pad,
                *options.jagged,
                *options.channel_dim,
                *options.channels_last,
                *options.normalize,
                *dtypes,
            ]
        )
        self.seen: list[Path] = []

    def options_for(self, path: Path, kind: str) -> tuple[Any, ...] | str | None:
        """What csrc/ops/columns.h parses.

        That is (operation, dtype, channel_dim, memory_format, own, normalize).
        `kind` is "array", "float", "integer" (also for bools) or "list", which is not yet known to
        be one of numbers; or "none", where one of the values is None: the word of `optional`.
        """
        names = _names_of(path)
        options = self.options
        if kind == "none":
            if isinstance(options.optional, str):
                return options.optional
            place = self._named(names, options.optional)
            return None if place is _NOWHERE else options.optional[place]
        self.seen.append(path)
        if kind in ("array", "list"):
            if (place := self._named(names, options.pad)) is not _NOWHERE:
                pad = _value_at(options.pad, place, 0)
                padding = self._padding_for(path, pad if isinstance(pad, Pad) else Pad(pad))
                layout = self._layout_for(names)
                normalize = self._normalize_for(names)
                return ("pad", self._dtype_for(names, kind), *layout, padding, normalize)
            if (place := self._named(names, options.jagged)) is not _NOWHERE:
                offsets_dtype = _value_at(options.jagged, place, torch.int64)
                return ("jagged", self._dtype_for(names, kind), None, None, offsets_dtype, None)
        if kind == "list":
            self.seen.pop()  # the places below it are
            return None
        dtype = self._dtype_for(names, kind)
        if kind != "array":
            return None if dtype is None else ("stack", dtype, None, None, None, None)
        given = (dtype, *self._layout_for(names), None, self._normalize_for(names))
        return None if given == (None,) * len(given) else ("stack", *given)

    def _padding_for(self, path: Path, pad: Pad) -> tuple[Any, ...]:
        dtype = None
        if isinstance(pad.mask, str) and isinstance(self.options.dtype, Mapping):
            dtype = self._dtype_for(_names_of((*path[:-1], pad.mask)), "mask")
        return pad.column_options(torch.bool if dtype is None else dtype)

    def _layout_for(self, names: list[Any]) -> tuple[int | None, torch.memory_format | None]:
        place = self._named(names, self.options.channel_dim)
        is_last = self._named(names, self.options.channels_last) is not _NOWHERE
        return (
            None if place is _NOWHERE else self.options.channel_dim[place],
            torch.channels_last if is_last else None,
        )

    def _normalize_for(self, names: list[Any]) -> tuple[Any, ...] | None:
        place = self._named(names, self.options.normalize)
        return None if place is _NOWHERE else self.options.normalize[place].column_options()

    def _dtype_for(self, names: list[Any], kind: str) -> torch.dtype | None:
        dtype = self.options.dtype
        if isinstance(dtype, Mapping):
            place = self._named(names, dtype)
            return None if place is _NOWHERE else dtype[place]
        return None if kind == "integer" else dtype

    def _named(self, names: list[Any], places: Collection[Any]) -> Any:
        place = next((name for name in names if name in places), _NOWHERE)
        self.missing.pop(place, None)
        return place

    def check(self) -> None:
        """Of places that are named and not there: a slip of the pen, most likely."""
        if not self.missing:
            return
        there = ", ".join(path_text(0, path) for path in self.seen) or "none"
        raise ValueError(
            f"Collate: expected something to collate with these options at the place "
            f"{next(iter(self.missing))!r}, got nothing. The places there are: {there}."
        )


_NOWHERE = object()


def _names_of(path: Path) -> list[Any]:
    """The names that a place has: all of its steps; the last one."""
    steps = tuple(str(step) if isinstance(step, Attribute) else step for step in path)
    return [steps, steps[-1]] if steps else [steps]


def _value_at(places: Collection[Any], place: Any, default: Any) -> Any:
    return places[place] if isinstance(places, Mapping) else default


def _hashable(option: Any) -> Any:
    if isinstance(option, Mapping):
        return frozenset(option.items())
    if isinstance(option, Collection) and not isinstance(option, str):
        return frozenset(option)
    return option


def _check_dtype(dtype: Any) -> None:
    if isinstance(dtype, (list, tuple)):
        raise TypeError(
            f"dtype: expected a torch.dtype, a mapping from places to those, or None, got a "
            f"{type(dtype).__name__}. Samples are for the object: collate_fn=tensorlift.Collate(), "
            "with its options, or collate_fn=tensorlift.collate."
        )
    places = dtype if isinstance(dtype, Mapping) else {None: dtype}
    for place, wanted in places.items():
        if wanted is None or isinstance(wanted, torch.dtype):
            continue
        expected = f"a torch.dtype for {place!r}"
        if places is not dtype:
            expected = "a torch.dtype, a mapping from places to those, or None"
        got = repr(wanted) if isinstance(wanted, (str, type)) else type(wanted).__name__
        raise TypeError(f"dtype: expected {expected}, got {got}. Pass for instance torch.float32.")


def _check_pads(pad: Mapping[Any, Any]) -> None:
    for place, value in pad.items():
        try:
            if not isinstance(value, Pad):
                Pad(value)
        except TypeError:
            raise TypeError(
                f"pad: expected a number or a tensorlift.Pad for {place!r}, got {value!r}."
            ) from None


def _check_offsets_dtypes(jagged: Mapping[Any, Any]) -> None:
    for place, dtype in jagged.items():
        try:
            _C.check_offsets_dtype(dtype)
        except (TypeError, ValueError) as error:
            raise type(error)(
                f"jagged: expected torch.int64 or torch.int32 for {place!r}, got {dtype!r}."
            ) from None


def _check_channel_dims(channel_dim: Mapping[Any, int]) -> None:
    if not isinstance(channel_dim, Mapping):
        raise TypeError(
            "channel_dim: expected a mapping from places to dimensions, such as {'image': -1}, "
            f"got {channel_dim!r}."
        )
    for place, dim in channel_dim.items():
        if isinstance(dim, bool) or not isinstance(dim, SupportsIndex):
            raise TypeError(f"channel_dim: expected an int for {place!r}, got {dim!r}.")


def _check_optional(optional: Any) -> None:
    words = optional.values() if isinstance(optional, Mapping) else [optional]
    for wrong in (word for word in words if word not in get_args(Optional)):
        raise ValueError(
            'optional: expected "drop" or "list", or a mapping from places to one of them, got '
            f"{wrong!r}."
        )


def _check_normalize(normalize: Mapping[Any, Normalize]) -> None:
    if not isinstance(normalize, Mapping):
        raise TypeError(
            "normalize: expected a mapping from places to tensorlift.Normalize, such as "
            f"{{'image': Normalize(mean, std)}}, got {normalize!r}."
        )
    for place, how in normalize.items():
        if not isinstance(how, Normalize):
            raise TypeError(
                f"normalize: expected a tensorlift.Normalize for {place!r}, got {how!r}. Pass "
                "Normalize(mean, std)."
            )


def _check_out(out: Any, pin_memory: bool, device: Device | None) -> None:
    if pin_memory:
        raise ValueError("pin_memory: expected False with out=, got True. Pin the tensors of out.")
    if device is None:
        return
    _C.check_device_name(device)
    there = device_of(out)
    given = torch.device(device)
    if given.type != there.type or given.index not in (None, there.index):
        raise ValueError(
            f"device: expected None or {there}, where the tensors of out are, got {given}."
        )


def _check_stream(stream: torch.Stream | None, device: Device | None) -> None:
    if stream is None:
        return
    if not isinstance(stream, torch.Stream):
        raise TypeError(f"stream: expected a torch.Stream or None, got {stream!r}.")
    if device is None:
        raise ValueError(f"stream: expected None without device=, got {stream!r}.")


def _check_device(device: Device) -> None:
    """Raises where it names none, or none that torch can use here. It is not made ready."""
    _C.check_device_name(device)  # with an index alone, torch.device() would ask the accelerator
    if isinstance(device, int):
        return
    target = torch.device(device)
    module = None if target.type == "cpu" else getattr(torch, target.type, None)
    if module is not None and hasattr(module, "is_available") and not module.is_available():
        raise ValueError(
            f"device: expected a device that torch can use here, got {target}: "
            f"torch.{target.type}.is_available() is False."
        )
