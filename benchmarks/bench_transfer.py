"""`python -m tensorlift bench --suite transfer`, with the same options; see its --help.

On a machine with a GPU, this one command; it takes a few minutes:

    python benchmarks/bench_transfer.py --json benchmarks/results/transfer-<device>.json --sweep

`--device fakeacc` takes the accelerator of tests/fake_accelerator, to see that everything runs.
"""

import sys
from pathlib import Path

from tensorlift.__main__ import main

FAKE = "fakeacc"


def load_fake(arguments: list[str]) -> list[str]:
    """Makes it torch's accelerator; what to run with it: small inputs, and nothing is kept."""
    if any(argument.startswith(("--j", "--p")) for argument in arguments):
        print(f"--json, --plot: figures of {FAKE} mean nothing and are not kept", file=sys.stderr)
        raise SystemExit(2)
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    import fake_accelerator

    fake_accelerator.load()
    print(f"{FAKE} is no accelerator: it shows that this runs. ITS FIGURES MEAN NOTHING.\n")
    return [*arguments, "--quick"]


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if FAKE in arguments or f"--device={FAKE}" in arguments:
        arguments = load_fake(arguments)
    sys.exit(main(["bench", "--suite", "transfer", *arguments]))
