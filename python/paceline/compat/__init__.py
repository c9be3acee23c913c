"""Other libraries' interfaces on Paceline's engine, for programs that were written for them: one file for each.

- `paceline.compat.pyrallel`: `ParallelProcessor`, `Mapper` and `MapReduce`.
"""
