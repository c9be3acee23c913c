"""Many runs with parameters: the statistics of their results, the tables and the pictures."""
