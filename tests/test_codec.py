"""Whatever bytes a worker leaves where a value should be, they are a value or an error."""

from __future__ import annotations

import random

import pytest

from paceline._paceline import decode_value

TUPLE, PICKLE, LONG_STR, LONG_BYTES = 11, 12, 8, 10

both = pytest.mark.parametrize("shared", [False, True])


@both
def test_random_bytes_are_a_value_or_an_error(shared):
    numbers = random.Random(7)
    read = 0
    for _ in range(50_000):
        data = bytearray(numbers.randbytes(numbers.randrange(60)))
        for at in range(0, len(data), numbers.randrange(1, 9)):
            # Tags are likelier than other bytes; pickles, which are programs, are not tried at random.
            data[at] = numbers.randrange(PICKLE)
        try:
            decode_value(bytes(data.replace(bytes([PICKLE]), b"")), shared=shared)
            read += 1
        except ValueError:
            pass
    assert 1_000 < read < 49_000


@both
def test_tuples_inside_one_another_without_end_are_refused(shared):
    assert decode_value(bytes([TUPLE, 1] * 4 + [0]), shared=shared) == ((((None,),),),)
    with pytest.raises(ValueError, match="too deeply"):
        decode_value(bytes([TUPLE, 1] * 1_000_000), shared=shared)


@both
@pytest.mark.parametrize("tag", [PICKLE, LONG_STR, LONG_BYTES])
@pytest.mark.parametrize("length", [1, 1 << 20, 1 << 40, (1 << 63) - 1, (1 << 64) - 1])
def test_run_that_is_longer_than_what_there_is_is_refused(shared, tag, length):
    with pytest.raises(ValueError, match="cut off"):
        decode_value(bytes([tag]) + length.to_bytes(8, "little"), shared=shared)


@both
def test_text_that_is_none_is_refused(shared):
    with pytest.raises(UnicodeDecodeError):
        decode_value(bytes([LONG_STR]) + (2).to_bytes(8, "little") + b"\xff\xfe", shared=shared)


@both
def test_pickle_that_is_none_is_an_error(shared):
    for data in [b"", b"\x80", b"\x80\x05\x95\xff\xff\xff\xff\xff\xff\xff\x7f", b"\x80\x05]\x94(K\x01", b"." * 5_000]:
        with pytest.raises(Exception):  # noqa: B017, PT011 - whichever error the reader of pickles has for it
            decode_value(bytes([PICKLE]) + len(data).to_bytes(8, "little") + data, shared=shared)


@both
def test_nothing_at_all_is_refused(shared):
    with pytest.raises(ValueError, match="cut off"):
        decode_value(b"", shared=shared)
