"""How the images of a place of samples are normalized."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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
        scale: what is multiplied by first: 1/255 for images of uint8, 1 for those from 0 to 1.
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
        _C.check_normalize(*self.column_options())
        for name in ("mean", "std"):
            numbers = getattr(self, name)
            if numbers is not None and type(numbers) is not float:
                object.__setattr__(self, name, _plain(numbers))

    def column_options(self) -> tuple[object, ...]:
        """As csrc/ops/columns.h has them."""
        return (self.scale, self.mean, self.std, self.channel_order)


def _plain(numbers: Any) -> float | tuple[float, ...]:
    """Of Python's numbers, which compare, and have a hash."""
    has_items = hasattr(numbers, "__len__") and getattr(numbers, "shape", None) != ()
    return tuple(map(float, numbers)) if has_items else float(numbers)
