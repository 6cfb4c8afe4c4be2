"""fakeacc: a device of torch for tests, whose timing is as hostile as the rules allow.

Streams run as late as the program allows (LAZY), at once (EAGER) or on a thread after a delay
(THREAD). Freed memory of the device, and freed pinned memory, is full of poison at once. Host code
that touches device memory dies. So a missing wait, record or event is wrong data every time, not
once in a thousand runs.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, cast

import torch

SOURCES = Path(__file__).parent
BUILD = Path(os.environ.get("TENSORLIFT_TEST_BUILD", SOURCES.parent.parent / "build"))


class FakeAccelerator(Protocol):
    """The module, which is torch.fakeacc as well."""

    EAGER: int
    LAZY: int
    THREAD: int
    DEVICE_POISON: int  # the byte that freed and new device memory is full of
    PINNED_POISON: int

    # -- what torch asks of a device module, as far as tests call it

    def device_count(self) -> int: ...
    def current_device(self) -> int: ...
    def set_device(self, device: int) -> None: ...
    def is_available(self) -> bool: ...
    def _is_in_bad_fork(self) -> bool:
        """Is this a forked child of a process that had used the device?"""

    # -- what tests control

    def reset(self) -> None:
        """LAZY, nothing pending, blocked, capturing, counted, logged or about to fail."""

    def set_mode(self, mode: int, delay_us: int = 0) -> None:
        """Runs all that is pending first; the delay is before each operation of THREAD."""

    def set_capturing(self, capturing: bool) -> None:
        """Lets every wait of the host fail; torch sees the capture from 2.13 on."""

    def block_stream(self, stream: int | None = None) -> None:
        """What the current device's stream is given from now on cannot run before `unblock()`.

        By default the current stream. To wait for it meanwhile is a RuntimeError. To free memory
        that it uses is no error: that counts as "forbidden_wait" and unblocks.
        """

    def unblock(self) -> None: ...

    def fail_device_allocation(self, after: int) -> None:
        """The (after + 1)-th allocation from now is an OutOfMemoryError, once; -1: none is."""

    def fail_pinned_allocation(self, after: int) -> None:
        """The (after + 1)-th allocation from now is a RuntimeError, once; -1: none is."""

    def refuse_registration(self, after: int) -> None:
        """The (after + 1)-th cudaHostRegister from now is refused, once; -1: none is."""

    def fail_copy(self, after: int) -> None:
        """The (after + 1)-th copy from the host from now is a RuntimeError, once; -1: none is."""

    # -- what tests observe

    def pending(self) -> int:
        """Operations of all streams that have not run yet."""

    def log(self) -> list[str]:
        """What ran, in that order.

        "h2d 4096 stream 1", "d2h 4096 stream 0", "d2d stream 1", "d2d_cast stream 1" or
        "mul stream 1", and with " device 1" at the end on the second device.
        """

    def stats(self) -> dict[str, int]:
        """All counters by name: see counters.h."""

    def reset_stats(self) -> None:
        """Empties the log, too."""

    def live_device_bytes(self) -> int:
        """Bytes of device memory asked for and not freed."""

    def live_pinned_bytes(self) -> int:
        """Bytes of pinned memory asked for and not freed."""

    def registered_bytes(self) -> int:
        """Bytes of other memory of the host that are registered as pinned."""


@contextlib.contextmanager
def _ninja_on_path() -> Iterator[None]:
    """That of this interpreter, whose environment need not be activated."""
    before = os.environ.get("PATH", "")
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), before])
    try:
        yield
    finally:
        os.environ["PATH"] = before


def load() -> FakeAccelerator:
    """The module; built when its sources have changed, which takes a minute or two."""
    loaded = getattr(torch, "fakeacc", None)
    if loaded is not None:
        return cast(FakeAccelerator, loaded)
    from torch.utils import cpp_extension  # imports setuptools: only where it is needed

    build = BUILD / f"fake_accelerator-{torch.__version__}-{sys.implementation.cache_tag}"
    build.mkdir(parents=True, exist_ok=True)
    with _ninja_on_path():
        module = cpp_extension.load(
            "fakeacc_native",  # not the name of this package, which it would replace
            sorted(str(source) for source in SOURCES.glob("*.cpp")),
            extra_cflags=["-O1", "-std=c++20"],
            build_directory=str(build),
        )
    torch._register_device_module("fakeacc", module)
    atexit.register(module.reset)  # ends its thread before torch goes
    return cast(FakeAccelerator, module)
