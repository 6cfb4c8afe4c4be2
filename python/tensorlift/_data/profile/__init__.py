"""`profile_loader`: why a data loader is slow.

One file an idea: `watch` notes inside of a copied loader when what happens, in workers as well;
`run` takes its batches; `log` has the intervals of time, `shares` sums them up; `verdict` says what
the others wait for and what to do; `trial` measures the one remedy that can be tried; `report` is
the result in words, `picture` in pictures; `loader` puts these together.
"""
