"""The manual's pages, and the Python blocks on them."""

import re
from pathlib import Path

from support.tree import ROOT

README = (ROOT / "README.md").read_text()
GUIDES = ROOT / "python" / "docs"
PAGES = [ROOT / "README.md", *sorted(GUIDES.rglob("*.md"))]


def blocks_of(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def is_for_a_device(block: str) -> bool:
    """Such a block runs in tests/device/test_device_docs.py, after those before it on its page."""
    return 'device="cuda"' in block


def is_for_torchdata(block: str) -> bool:
    """tests/data/test_threads_as_workers.py runs these."""
    return "torchdata" in block


def is_for_ray(block: str) -> bool:
    """Such a block runs in tests/world/test_ray_data.py."""
    return "ray.data" in block or "tensorlift.ray" in block


def check(block: str, names: dict[str, object]) -> None:
    """Runs a block; where a line ends in `# → text`, its value prints as text.

    The names that it defines are there for the next blocks of its page.
    """
    statement = ""
    for line in block.splitlines():
        code, arrow, expected = line.partition("  # → ")
        statement += code + "\n"
        if arrow:
            *before, last = statement.strip().splitlines()
            exec("\n".join(before), names)
            assert repr(eval(last, names)) == expected.strip()
            statement = ""
    exec(statement, names)
