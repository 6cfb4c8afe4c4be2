"""Which interpreters: the main one alone, until its very end."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | environment,
    )


@pytest.mark.parametrize("first", ["import tensorlift", ""])
def test_a_subinterpreter_is_refused_in_one_sentence(first):
    """Whether or not the main interpreter has it; torch's own import would hang."""
    done = run(f"""
        {first}
        try:
            import _interpreters as interpreters
        except ImportError:
            import _xxsubinterpreters as interpreters
        other = interpreters.create()
        try:
            raised = interpreters.run_string(other, "import tensorlift")
        except Exception as error:
            raised = error
        print(raised)
        interpreters.destroy(other)
        {first}
    """)
    assert done.returncode == 0, done.stderr
    assert "ImportError" in done.stdout
    assert "tensorlift: expected the main interpreter, got a subinterpreter" in done.stdout


ENDINGS = {
    "tensors in globals, cycles, threads; calls in atexit, destructors, threads": """
        kept = all_kinds()
        cycle = [all_kinds()]
        cycle.append(cycle)
        local = threading.local()
        local.kept = all_kinds()
        atexit.register(lambda: print(len(all_kinds())))
        class Last:
            def __init__(self):
                self.convert = all_kinds
            def __del__(self):
                try:
                    self.convert()
                except BaseException:
                    pass  # modules may be gone; a crash would be another thing
        last = Last()
        cycle.append(Last())
        def work():
            for _ in range(50):
                all_kinds()
        threading.Thread(target=work).start()
    """,
    "daemon threads inside of long batches": """
        kept = []  # torch ends the process where a daemon thread frees a tensor at the end
        array = np.ones(1 << 22)
        def work(threads):
            for _ in range(10):
                kept.append(tensorlift.stack([array, array], dtype=torch.float32, threads=threads))
            time.sleep(60)
        for threads in (1, 2, 2):
            threading.Thread(target=work, args=(threads,), daemon=True).start()
        time.sleep(0.05)
    """,
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_end_of_the_interpreter(ending):
    done = run(
        textwrap.dedent("""
            import atexit, threading, time
            import numpy as np, torch, tensorlift
            a = np.arange(1000.0)
            def all_kinds():
                return [
                    *tensorlift.from_numpy([a, a[::-1], a[:3]]), tensorlift.stack([a, a]),
                    tensorlift.pad([a, a[:5]]), tensorlift.jagged([a, a[:5]]),
                    tensorlift.collate([{"x": a}] * 3), tensorlift.convert({"x": [a]}),
                ]
            all_kinds()
        """)
        + textwrap.dedent(ENDINGS[ending])
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
