"""Starts pip on the host as if it ran in the guest, with limits. It runs in a process of its own.

pip can choose wheels for another Python, but it evaluates markers for the Python that runs it, such
as `python_version < "3.9"`. So this script replaces the functions that tell the version and the
machine, before it starts pip.

The script is run by its path, by any Python from 3.8 that has pip, and imports nothing of microvm.
"""

from __future__ import annotations

import os
import platform
import resource
import runpy
import sys


def main() -> None:
    """Run pip. The arguments of this script, before those for pip, describe the guest, and limits.

    They are the guest's version of Python, its architecture, and the maximum sizes of pip's memory
    and of a file, in bytes.
    """
    version, machine, memory, size, *arguments = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_AS, (int(memory), int(memory)))
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(size), int(size)))
    os.dup2(2, 1)  # pip explains some of its errors on standard output
    major, minor, patch = version.split(".")
    platform.python_version = lambda: version
    platform.python_version_tuple = lambda: (major, minor, patch)
    platform.machine = lambda: machine
    sys.argv[:] = ["pip", *arguments]
    runpy.run_module("pip", run_name="__main__", alter_sys=True)


main()
