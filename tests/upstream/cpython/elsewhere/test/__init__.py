"""Stands for the `test` package of an interpreter that came without all of it: Debian's, of the same version.

Found before the interpreter's own when this folder's parent is on `sys.path`, in this process as in any other.
"""

import sys

__path__ = [f"/usr/lib/python{sys.version_info.major}.{sys.version_info.minor}/test"]
