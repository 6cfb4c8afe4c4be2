"""`python -m tensorlift bench --suite convert`, with the same options; see its --help."""

import sys

from tensorlift.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["bench", "--suite", "convert", *sys.argv[1:]]))
