"""What the experiments of these tests evaluate; workers and programs import it by name."""

import os
import signal
import sys
import time
from pathlib import Path


def score(alg, dataset, rep, rng):
    return {"accuracy": float(rng.random()), "name": f"{alg} on {dataset}", "parts": [rep, None], "n": int(rep)}


def noted(log, alg, rep, rng, seconds=0.0):
    """Takes some time, and leaves a line in a file at its end."""
    value = rng.random()
    time.sleep(seconds)
    with open(log, "a") as file:  # noqa: PTH123
        file.write(f"{alg}/{rep}\n")
    return {"value": float(value), "rep": int(rep)} if rep % 2 else float(value)


def nothing(n):
    return n


def failing(kind, rep):
    if kind == "error":
        raise ValueError(f"bad {rep}")
    if kind == "died":
        os.kill(os.getpid(), signal.SIGKILL)
        signal.pause()
    if kind == "timeout":
        time.sleep(600)
    return rep


def fails_at_first(folder, name):
    """Fails until its third call, which a file counts."""
    path = Path(folder, name)
    calls = int(path.read_text()) + 1 if path.exists() else 1
    path.write_text(str(calls))
    if calls < 3:
        raise ConnectionError(f"call {calls}")
    return calls


def main(store, log, count, seconds, workers, *grid):
    """A program of one experiment: says that it begins, and at the end what it has."""
    import paceline

    exp = paceline.Experiment(noted, store, seed=42)
    exp.add_grid(log=[log], alg=["a", "b", "c", "d"], rep=range(int(count) // 4), seconds=[float(seconds)])
    sys.stdout.write("begins\n")
    sys.stdout.flush()
    results = exp.run(workers=int(workers))
    sys.stdout.write(f"{len(results)} {exp.status()}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
