"""Which devices (GPUs) the libraries that a task loads may see, while it runs in a worker.

Owns the environment variables by which they are told. Which devices a task has is the scheduler's decision.
"""

from __future__ import annotations

import os

__all__ = ["numbers", "show"]

# CUDA's, which other libraries heed as well, and ROCm's.
_VARIABLES = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
# As the worker found them.
_own: dict[str, str | None] = {}


def numbers(devices: int) -> tuple[int, ...]:
    """The numbers of the devices in a set that has a bit for each.

    >>> numbers(0b1101)
    (0, 2, 3)
    """
    return tuple(number for number in range(devices.bit_length()) if devices >> number & 1)


def show(devices: int) -> None:
    """Has libraries that are initialised from now on see these devices alone; as before, if there is none.

    Where this process was given some of the machine's devices, they are counted among those.
    """
    for variable in _VARIABLES:
        own = _own.setdefault(variable, os.environ.get(variable))
        if devices:
            names = own.split(",") if own else None
            shown = [names[number] if names and number < len(names) else str(number) for number in numbers(devices)]
            os.environ[variable] = ",".join(shown)
        elif own is None:
            os.environ.pop(variable, None)
        else:
            os.environ[variable] = own
