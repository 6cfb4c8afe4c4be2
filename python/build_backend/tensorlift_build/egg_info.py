"""The metadata that setuptools keeps from one command to the next lies in `build/`."""

from __future__ import annotations

from pathlib import Path

from setuptools.command.egg_info import egg_info

_FOLDER = Path("build")


class EggInfoInBuild(egg_info):
    """setuptools' egg_info, which on its own writes into the source tree, beside the package."""

    def finalize_options(self) -> None:
        """Chooses the folder, unless another command (dist_info, editable_wheel) has chosen one."""
        if self.egg_base is None:
            _FOLDER.mkdir(exist_ok=True)
            self.egg_base = str(_FOLDER)
        super().finalize_options()
