"""What a call takes at most: the batch, and a pointer or so for each number or array."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource
import numpy as np, tensorlift

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * UNIT

UNIT = 1 if __import__("sys").platform == "darwin" else 1024
samples = {samples}
tensorlift.{call}(samples[:2])  # what is made once
before = peak()
batch = tensorlift.{call}(samples)
tensors = [t for t in (batch.values() if isinstance(batch, dict) else [batch])
           if hasattr(t, "nbytes")]
print(peak() - before, sum(t.nbytes for t in tensors))
"""
IMAGES = "[np.ones((3, 256, 256), np.float32) for _ in range(96)]"  # 72 MiB
DICTS = "[{'x': image, 'i': i, 's': str(i)} for i, image in enumerate(" + IMAGES + ")]"
NUMBERS = "[{'a': i, 'b': float(i)} for i in range(1_000_000)]"  # 15 MiB


@pytest.mark.parametrize(
    ("samples", "call"),
    [(IMAGES, "stack"), (IMAGES, "collate"), (DICTS, "collate"), (NUMBERS, "collate")],
    ids=["stack", "collate arrays", "collate dicts", "collate numbers"],
)
def test_the_peak_is_little_more_than_the_batch(samples, call):
    program = PROGRAM.replace("{samples}", samples).replace("{call}", call)
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120
    )
    peak, batch = map(int, run.stdout.split())
    assert batch > 10 << 20
    values = 2_000_000 if samples is NUMBERS else 300
    assert peak < 1.1 * batch + 10 * values + (4 << 20)
