"""How many examples hypothesis makes up."""

_part = 4


def make_all_examples() -> None:
    """For runs with --all; before a test is imported."""
    global _part
    _part = 1


def examples(number: int) -> int:
    """A quarter of them where only short tests run."""
    return number // _part
