"""Where there is no memory for a tensor the exception is torch's, whichever function asked."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import json, resource, warnings
import numpy as np, torch, tensorlift
from torch.utils.data import default_collate
from torch.utils.data._utils import worker

warnings.simplefilter("ignore")
arrays = [np.zeros(30 << 20, "f4") for _ in range(2)]
tensors = [torch.from_numpy(array) for array in arrays]
calls = {
    "torch.stack": lambda: torch.stack(tensors),
    "default_collate": lambda: default_collate(arrays),
    "stack": lambda: tensorlift.stack(arrays),
    "cat": lambda: tensorlift.cat(arrays),
    "pad": lambda: tensorlift.pad(arrays),
    "jagged": lambda: tensorlift.jagged(arrays),
    "stack, cast": lambda: tensorlift.stack(arrays, dtype=torch.float64),
    "stack of tensors": lambda: tensorlift.stack(tensors),
    "cat over a source": lambda: tensorlift.cat([arrays[0][::-1]], out=tensors[0]),
    "from_numpy": lambda: tensorlift.from_numpy(arrays, copy=True),
    "from_numpy, cast": lambda: tensorlift.from_numpy(arrays, dtype=torch.float64),
    "convert": lambda: tensorlift.convert(arrays, copy=True),
    "collate": lambda: tensorlift.collate(arrays),
    "Collate": lambda: tensorlift.Collate(dtype=torch.float64)(arrays),
    "Collate, padded": lambda: tensorlift.Collate(pad=["x"])([{"x": array} for array in arrays]),
}
raised = {}


def run(name):
    try:
        calls[name]()
        return "nothing"
    except BaseException as error:
        return type(error).__name__


with open("/proc/self/statm") as file:
    pages = int(file.read().split()[0])
limit = pages * resource.getpagesize() + (100 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
raised.update((name, run(name)) for name in calls)
worker._worker_info = "anything"
for name in ("default_collate", "collate", "Collate"):
    raised[name + " in a worker"] = run(name)
print(json.dumps(raised))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_the_exception_is_torchs():
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    raised = json.loads(run.stdout)
    assert raised["torch.stack"] == "RuntimeError"
    assert {name: kind for name, kind in raised.items() if kind != "RuntimeError"} == {}
