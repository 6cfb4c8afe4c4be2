"""`python -m tensorlift bench --suite samples`, with the same options; see its --help."""

import sys

from tensorlift.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["bench", "--suite", "samples", *sys.argv[1:]]))
