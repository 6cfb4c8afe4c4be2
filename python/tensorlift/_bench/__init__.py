"""`python -m tensorlift bench`: ours against what else is installed, on this machine.

One file an idea: `harness` checks and times a case; `convert`, `cast`, `batch`, `loader` and
`transfer` are the suites of cases, `own` makes them of the user's arrays; `report` puts results
into words, `plots` into pictures; `command` is the command line.
`import tensorlift` imports none of it.
"""
