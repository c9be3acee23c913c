"""The fault matrix: what Paceline and its peers do when things go wrong, each thing in a process of its own.

`families` holds the faults, one file for each kind; `fault` is what each of them is; `plan` crosses them with start
methods, calls and moments; `cell` is the process in which one of them happens, and `scene` what it has at hand there;
`tally` counts what a call gave; `subjects` says how each pool is spoken to; `tasks` is what the workers run; `victim`
is the program that is ended from outside; `runner` starts the cells, holds them to a deadline, and looks for what they
left; `table` turns the findings into Markdown, and `__main__` reads the options. `test_matrix` runs a quick selection.
"""
