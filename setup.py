"""What pyproject.toml cannot say: the extension, its build command, the sdist's files."""

import sys
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).resolve().parent
# For `python setup.py …`; a build front end has done so already.
sys.path.insert(0, str(ROOT / "python" / "build_backend"))

from tensorlift_build.egg_info import EggInfoInBuild  # noqa: E402
from tensorlift_build.extension import NinjaBuildExt, tensorlift_extension  # noqa: E402
from tensorlift_build.sdist import WholeTreeSdist  # noqa: E402

setup(
    ext_modules=[tensorlift_extension(ROOT)],
    cmdclass={
        "build_ext": NinjaBuildExt,
        "egg_info": EggInfoInBuild,
        "sdist": WholeTreeSdist,
    },
)
