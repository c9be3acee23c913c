"""Futures: calls that are polled, waited for, and asked whether they were successful. One of them fails.

`apply` waits for its result; `apply_async` returns a future, which has the methods of `multiprocessing`'s results
(`ready`, `wait`, `successful`, `get`) and those of `concurrent.futures` (`done`, `result`, `exception`, ...).

    python examples/futures.py [SECONDS]
"""

import sys
import time

from paceline import Pool


def brew(drink: str, seconds: float) -> str:
    """Makes tea or coffee; anything else is a mistake."""
    time.sleep(seconds)
    if drink not in {"tea", "coffee"}:
        raise ValueError(f"cannot brew {drink}")
    return f"a cup of {drink}"


def main(seconds: float = 1.0) -> None:
    """Brews three drinks, of which one cannot be brewed."""
    with Pool(2) as pool:
        print("apply waits:", pool.apply(brew, ("tea", 0.0)))

        futures = {drink: pool.apply_async(brew, (drink, seconds)) for drink in ("coffee", "sand", "tea")}

        # Polled: is it ready?
        coffee = futures["coffee"]
        print("coffee is ready:", coffee.ready())
        while not coffee.ready():
            # Waited for, but not for longer than we like.
            coffee.wait(timeout=seconds / 4)
        print("coffee is ready:", coffee.ready())

        # Asked whether it was successful, which is an error before it is ready.
        for drink, future in futures.items():
            future.wait()
            if future.successful():
                print(f"{drink}: {future.get()}")
            else:
                print(f"{drink}: failed with {future.exception()!r}")

        # `get` raises what the function raised, with the worker's traceback as its cause.
        try:
            futures["sand"].get()
        except ValueError as error:
            print("get raised:", error)


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
