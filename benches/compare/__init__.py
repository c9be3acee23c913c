"""Paceline beside the process pools that people use today, on the same workloads, in the same run.

`__main__` reads the options, `rounds` runs every measurement in a process of its own with the peers interleaved,
`measurement` is that process, `peers` says how each peer is spoken to, `rows` holds one question in each file,
`tasks` and `arrays` hold what the workers run, `processes` what can be seen of a process tree from outside, `machine`
where it ran, and `table` turns the figures into Markdown.
"""
