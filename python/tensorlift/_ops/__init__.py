"""The public operations on lists of arrays: names, defaults, documentation. The work is native."""
