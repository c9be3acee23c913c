"""The soak: a million tasks through a few pools, while something goes wrong every fifty milliseconds.

`tasks` is what the workers run; `load` calls them in every way there is, from a thread for each; `chaos` does harm from
outside and asks the load to plant harm inside; `ledger` holds what became of every single task, and compares it with
the notes that the tasks themselves have left; `gauges` measures memory and descriptors; `summary` says how it went, and
`__main__` reads the options.
"""
