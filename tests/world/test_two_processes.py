"""DistributedSampler, and accelerate's ways of sharing batches, in two gloo processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

PROGRAM = Path(__file__).with_name("two_processes.py")


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="needs gloo")
@pytest.mark.parametrize("part", ["distributed_sampler", "accelerate"])
def test_each_process_gets_what_it_gets_without_tensorlift(part):
    if part == "accelerate":
        pytest.importorskip("accelerate", minversion="1.0")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    done = subprocess.run(
        [*command, "--nproc-per-node=2", str(PROGRAM), part],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
