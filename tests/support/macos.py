"""Runs a Python program as on macOS, as far as Linux can imitate it.

The name of the system is the one of macOS, and the functions that only Linux has do not exist.

python -m tests.support.macos MODULE ARGUMENT…
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import resource
import runpy
import select
import signal
import socket
import subprocess
import sys
import time
import urllib.request

ABSENT = {
    os: "memfd_create MFD_CLOEXEC MFD_ALLOW_SEALING O_PATH pidfd_open posix_fallocate pipe2 "
    "getxattr listxattr sched_getaffinity sendfile waitid ST_NOEXEC eventfd unshare setns",
    signal: "pidfd_send_signal",
    resource: "prlimit",
    select: "POLLRDHUP epoll",
    socket: "SO_PEERCRED MSG_CMSG_CLOEXEC SOCK_NONBLOCK SOCK_CLOEXEC",
    fcntl: "F_ADD_SEALS F_SEAL_WRITE F_SEAL_GROW F_SEAL_SHRINK F_SEAL_SEAL",
    time: "CLOCK_BOOTTIME",
}
"""The names that the standard library has on Linux and not on macOS, by module."""

_IMPORTED_BEFORE = asyncio, subprocess, urllib  # these modules would look for functions of macOS


def imitate() -> None:
    """Make this process see macOS, on the architecture of this host."""
    from microvm.system import platform

    sys.platform = "darwin"
    platform.PROC = "/absent"
    for module, names in ABSENT.items():
        for name in names.split():
            if hasattr(module, name):
                delattr(module, name)


if __name__ == "__main__":
    sys.argv.pop(0)
    imitate()
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
