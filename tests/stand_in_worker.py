"""A worker without the engine: a fresh interpreter that is sent pickled calls over a pipe, for the tests of pickling.

`StandInWorker` is the parent's side; run as a program, this file is the worker's.
"""

import marshal
import os
import pickle
import struct
import subprocess
import sys
from pathlib import Path

from paceline import pickling


def plain_or(fallback, obj):
    """What the native module does with arguments and results."""
    try:
        data = pickle.dumps(obj, 5)
    except Exception:
        return fallback(obj)
    return fallback(obj) if b"__main__" in data else data


class StandInWorker:
    def __init__(self, initializer=None, *initargs):
        function = positional = None
        if initializer is not None:
            function, _ = pickling.dump_function(initializer)
            positional = plain_or(pickling.dump_argument_fallback, (initargs, None))
        surroundings = sys.path, os.getcwd(), ["program", "argument"], {}, None  # noqa: PTH109
        setup = marshal.dumps((*surroundings, function, positional, 0, 1, {}))
        source = str(Path(pickling.__file__).parent.parent)
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": source},
        )
        write_block(self.process.stdin, setup)
        self.functions = {}

    def call(self, fn, *args):
        data, _ = pickling.dump_function(fn)
        return self.call_bytes(data, plain_or(pickling.dump_argument_fallback, args))

    def call_bytes(self, function, arguments):
        write_block(self.process.stdin, function)
        write_block(self.process.stdin, arguments)
        answer = read_block(self.process.stdout)
        if answer[:1] == b"E":
            raise pickling.unpack_exception(answer[1:])
        return pickle.loads(answer[1:])

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def write_block(stream, data):
    stream.write(struct.pack("!Q", len(data)) + data)
    stream.flush()


def read_block(stream):
    header = stream.read(8)
    return stream.read(*struct.unpack("!Q", header)) if header else None


def main():
    from paceline import _paceline, worker

    source = os.fdopen(os.dup(0), "rb")
    target = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    worker.set_up(read_block(source), _paceline)
    functions = {}
    while (data := read_block(source)) is not None:
        arguments = read_block(source)
        try:
            if data not in functions:
                functions[data] = pickle.loads(data)
            result = functions[data](*pickle.loads(arguments))
            try:
                answer = b"R" + plain_or(pickling.dump_by_value, result)
            except Exception as error:
                answer = b"E" + pickling.pack_unpicklable_result(result, error)
        except Exception as error:
            answer = b"E" + pickling.pack_exception(error)
        write_block(target, answer)
    source.close()
    target.close()


if __name__ == "__main__":
    main()
