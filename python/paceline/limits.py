"""Limits as users write them: amounts of memory and of resources, and seconds.

Owns how they are read and what is wrong with them. The engine keeps them.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["bytes_of", "check_resources", "check_seconds", "nanoseconds_of"]

_UNITS = {
    "": 1,
    "B": 1,
    "K": 10**3,
    "KB": 10**3,
    "M": 10**6,
    "MB": 10**6,
    "G": 10**9,
    "GB": 10**9,
    "T": 10**12,
    "TB": 10**12,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "TIB": 2**40,
}


def bytes_of(name: str, amount: int | str | None) -> int:
    """A number of bytes: an integer, or a text such as `500MB` or `1.5 GiB`; zero for None, which is no limit.

    >>> from paceline.limits import bytes_of
    >>> bytes_of("memory_limit", "1.5 GiB")
    1610612736

    Raises `TypeError` and `ValueError`, with `name`, for what is none.
    """
    if amount is None:
        return 0
    if isinstance(amount, str):
        number = amount.strip().rstrip("bBiIkKmMgGtT \t")
        unit = amount.strip()[len(number) :].strip().upper()
        try:
            count = int(float(number) * _UNITS[unit])
        except (ValueError, KeyError, OverflowError):
            raise ValueError(f"{name} must be a number of bytes, or one such as '500MB', not {amount!r}") from None
    elif type(amount) is int:
        count = amount
    else:
        raise TypeError(f"{name} must be an integer or a string such as '500MB', not {amount!r}")
    if not 0 < count < 2**63:
        raise ValueError(f"{name} must be more than 0 bytes, and less than 2**63, not {amount!r}")
    return count


def check_seconds(name: str, seconds: object) -> float:
    """A number of seconds that is not negative. Raises `TypeError` and `ValueError` for what is none."""
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise TypeError(f"{name} must be a number of seconds, not {seconds!r}")
    if not seconds >= 0:
        raise ValueError(f"{name} must be at least 0 seconds, not {seconds!r}")
    return float(seconds)


def check_resources(resources: Mapping[str, float] | None) -> dict[str, float] | None:
    """Amounts by name; none at all is None. Raises `TypeError` for what is none of these."""
    if resources is None:
        return None
    from collections.abc import Mapping

    if not isinstance(resources, Mapping):
        raise TypeError(f"resources must be a dict such as {{'gpu': 1}}, not {resources!r}")
    for name, amount in resources.items():
        if type(name) is not str or isinstance(amount, bool) or not isinstance(amount, (int, float)):
            raise TypeError(f"resources must be numbers by name, such as {{'gpu': 1}}, not {name!r}: {amount!r}")
    return {name: float(amount) for name, amount in resources.items()} or None


def nanoseconds_of(name: str, seconds: float | None) -> int:
    """Nanoseconds of a number of seconds; zero for None, which is no limit. Raises as `check_seconds` does."""
    if seconds is None:
        return 0
    if check_seconds(name, seconds) == 0:
        raise ValueError(f"{name} must be more than 0 seconds")
    return int(min(max(1.0, seconds * 1e9), 2.0**63))
