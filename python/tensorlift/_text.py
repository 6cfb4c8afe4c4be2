"""Numbers, names and tables as plain text."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def printable(name: object) -> str:
    """The name, as Python's repr() where a terminal would not show it but obey it.

    Files that mean harm have escape sequences and line ends in their names.
    """
    text = str(name)
    return text if text.isprintable() else repr(text)


def format_bytes(nbytes: float) -> str:
    """`1.5 MiB`: three digits at most, binary units."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if nbytes < 999.5:
            return f"{nbytes:.0f} B" if unit == "B" else f"{nbytes:.3g} {unit}"
        nbytes /= 1024
    return f"{nbytes:.3g} TiB"


def format_time(seconds: float) -> str:
    """`12.3 us`: three digits."""
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("us", 1e6)):
        if seconds * factor >= 0.9995:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def format_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[str] = ()
) -> str:
    """Columns as wide as their longest cell; those named in `right` are aligned to the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        aligned = (
            cell.rjust(width) if name in right else cell.ljust(width)
            for name, cell, width in zip(header, cells, widths, strict=True)
        )
        return "  ".join(aligned).rstrip()

    return "\n".join([line(header), line(["-" * width for width in widths]), *map(line, rows)])
