"""How the images of a place of samples are normalized."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .. import _C
from .._typing import ChannelOrder, PerChannel


@dataclass(frozen=True)
class Normalize:
    """How :class:`tensorlift.Collate` normalizes the images of a place: (x * scale - mean) / std.

    The arguments are those of :func:`tensorlift.stack`, but for the default of `scale`, which is
    for images of uint8.

    Args:
        mean: what is subtracted: one number, or one for each channel; None is 0.
        std: what is divided by, likewise; None is 1.
        scale: what is multiplied by first.
        channel_order: "bgr" for images whose channels are blue, green and red, as OpenCV has them;
            they become red, green and blue, which is the order of `mean` and `std`.

    Raises:
        TypeError: an argument is no number, and no sequence of them.
        ValueError: a number is infinite or NaN, a standard deviation is not above 0, or there is no
            such order.

    Example:
        >>> import tensorlift
        >>> tensorlift.Normalize(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
        Normalize(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), scale=0.00392156862745098, channel_order='rgb')
    """  # noqa: E501

    mean: PerChannel | None = None
    std: PerChannel | None = None
    scale: float = 1 / 255
    channel_order: ChannelOrder = "rgb"

    def __post_init__(self) -> None:
        """Refuses what is wrong before a worker meets it."""
        for name in ("mean", "std"):  # as they are compared, and have a hash
            numbers = getattr(self, name)
            has_items = isinstance(numbers, Iterable) and getattr(numbers, "shape", None) != ()
            if has_items and not isinstance(numbers, (str, bytes)):
                object.__setattr__(self, name, tuple(numbers))
        _C.check_normalize(*self.column_options())
        for name in ("mean", "std"):
            numbers = getattr(self, name)
            if isinstance(numbers, tuple):
                object.__setattr__(self, name, tuple(map(float, numbers)))

    def column_options(self) -> tuple[object, ...]:
        """As csrc/ops/columns.h has them."""
        return (self.scale, self.mean, self.std, self.channel_order)
