"""The sdist holds what a build, a test run and a benchmark need; no MANIFEST.in to forget."""

from __future__ import annotations

from pathlib import Path

from setuptools.command.sdist import sdist

_FOLDERS = (".github", "csrc", "python/build_backend", "python/docs", "tests", "benchmarks")
_SUFFIXES = (".py", ".c", ".cpp", ".h", ".md", ".json", ".txt", ".png", ".css")


class WholeTreeSdist(sdist):
    """setuptools' sdist, with the folders that no package lists."""

    def make_distribution(self) -> None:
        """Adds the build, the tests, the benchmarks and all pages to what setuptools found."""
        for folder in _FOLDERS:
            files = sorted(path for path in Path(folder).rglob("*") if path.suffix in _SUFFIXES)
            self.filelist.extend(map(str, files))
        self.filelist.prune("build")  # setuptools adds its own list of files, which lies there
        super().make_distribution()
