"""Lists of NumPy arrays to PyTorch tensors: zero-copy where possible, one fused pass where not."""

from pathlib import Path

from ._import_checks.interpreter_check import refuse_subinterpreter

refuse_subinterpreter()

from ._import_checks import build_check as _build_check  # noqa: E402

_build_check.load_native(__name__, Path(__file__).parent)

from importlib.metadata import version  # noqa: E402

from . import reference  # noqa: E402
from ._data.collate import collate  # noqa: E402
from ._data.collate_options import Collate  # noqa: E402
from ._data.install import install, uninstall  # noqa: E402
from ._data.normalize import Normalize  # noqa: E402
from ._data.pad import Pad  # noqa: E402
from ._data.prefetch import DevicePrefetcher  # noqa: E402
from ._data.profile.loader import profile_loader  # noqa: E402
from ._data.profile.report import LoaderReport  # noqa: E402
from ._data.tree_convert import convert  # noqa: E402
from ._ops.batch import Jagged, Padded, PaddedWithMask, cat, jagged, pad, stack  # noqa: E402
from ._ops.convert import from_numpy  # noqa: E402
from ._ops.explain import explain  # noqa: E402
from ._ops.explanation import Entry, Explanation, Transfer  # noqa: E402
from ._ops.memory import Staging, empty_cache, empty_pinned, set_staging, staging  # noqa: E402
from ._ops.pack import Packed, pack  # noqa: E402
from ._ops.to_numpy import to_numpy  # noqa: E402

#: The version of the installed package, as text.
__version__ = version("tensorlift")

__all__ = [
    "Collate",
    "DevicePrefetcher",
    "Entry",
    "Explanation",
    "Jagged",
    "LoaderReport",
    "Normalize",
    "Packed",
    "Pad",
    "Padded",
    "PaddedWithMask",
    "Staging",
    "Transfer",
    "__version__",
    "cat",
    "collate",
    "convert",
    "empty_cache",
    "empty_pinned",
    "explain",
    "from_numpy",
    "install",
    "jagged",
    "pack",
    "pad",
    "profile_loader",
    "reference",
    "set_staging",
    "stack",
    "staging",
    "to_numpy",
    "uninstall",
]
