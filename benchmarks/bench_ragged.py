"""`python -m tensorlift bench --suite ragged`, with the same options; see its --help."""

import sys

from tensorlift.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["bench", "--suite", "ragged", *sys.argv[1:]]))
