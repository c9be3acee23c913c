"""A notebook with a real kernel, for the tests: `Notebook`. Run as a program, this file is its client.

The client runs in a process of its own, because it leaves event loops and sockets for the garbage collector to find.
"""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class Notebook:
    """A notebook that is written while it runs."""

    def __init__(self, folder):
        folders = [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
            env={**os.environ, "IPYTHONDIR": str(folder), "PYTHONPATH": os.pathsep.join(filter(None, folders))},
        )
        self.kernel_pid = self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        assert line, "the notebook's client is gone"
        return json.loads(line)

    def outputs(self, source):
        """Runs a cell; what it put out, as notebooks have it."""
        self.process.stdin.write(json.dumps(source) + "\n")
        self.process.stdin.flush()
        return self.answer()

    def run(self, source):
        """Runs a cell; what it printed, followed by its value."""
        outputs = self.outputs(source)
        errors = [output for output in outputs if output["output_type"] == "error" or output.get("name") == "stderr"]
        assert not errors, errors
        return "".join(output["text"] if "text" in output else output["data"]["text/plain"] for output in outputs)

    def run_failing(self, source):
        """Runs a cell that raises; the name of the exception, and the traceback as the notebook shows it."""
        [error] = [output for output in self.outputs(source) if output["output_type"] == "error"]
        return error["ename"], COLOURS.sub("", "\n".join(error["traceback"]))

    def interrupt(self):
        """What the button of that name does."""
        os.killpg(os.getpgid(self.kernel_pid), signal.SIGINT)

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def main():
    import nbformat
    from jupyter_client import KernelManager
    from nbclient import NotebookClient

    manager = KernelManager(kernel_name="python3")
    client = NotebookClient(nbformat.v4.new_notebook(), km=manager, timeout=150, allow_errors=True)
    client.start_new_kernel()
    client.start_new_kernel_client()
    print(json.dumps(manager.provisioner.process.pid), flush=True)
    for line in sys.stdin:
        cell = nbformat.v4.new_code_cell(json.loads(line))
        client.nb.cells.append(cell)
        client.execute_cell(cell, len(client.nb.cells) - 1)
        print(json.dumps(cell.outputs), flush=True)
    client._cleanup_kernel()
    manager.shutdown_kernel(now=True)


if __name__ == "__main__":
    main()
