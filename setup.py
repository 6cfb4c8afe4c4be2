"""What pyproject.toml cannot say: the extension, its build command, the sdist's files."""

import sys
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "python"))  # for `python setup.py …`; the backend has it already

from tensorlift_build.extension import NinjaBuildExt, tensorlift_extension  # noqa: E402
from tensorlift_build.sdist import WholeTreeSdist  # noqa: E402

setup(
    ext_modules=[tensorlift_extension(ROOT)],
    cmdclass={"build_ext": NinjaBuildExt, "sdist": WholeTreeSdist},
)
