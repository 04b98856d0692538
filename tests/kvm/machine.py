"""The emulated machines: TCG emulates a processor with AMD's SVM, so KVM works in their Debian."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.kvm import image, sources

from microvm import MicroVM
from microvm.options import MachineOptions

MACHINES = 2
"""Number of machines that run at the same time. Each runs one test file at a time."""

ENVIRONMENT = {
    "CI": "true",
    "HOME": "/root",
    "LC_ALL": "C.UTF-8",
    "MICROVM_CACHE": f"/{sources.CACHE}",
    "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
    "MICROVM_PATIENCE": "10",
    "MICROVM_TEST_PATIENCE": "10",
    "TERM": "xterm",
}

# An overlay does not support idmapped mounts, so the launcher would copy each file that QEMU opens.
# A tmpfs supports them, and is faster than the emulated disk.
_MOUNT = "mount -t tmpfs -o size=2G,mode=1777 tmpfs /tmp"

# The editable installation of the project, without pip: its modules, plugins and commands.
# All folders of the cache must be private.
_SET_UP = f"""
set -eu
for module in {" ".join(image.MODULES)}; do insmod {image.FOLDER}/$module.ko.xz; done
groupadd -f kvm; chgrp kvm /dev/kvm; chmod 660 /dev/kvm
useradd -m plain; useradd -m -G kvm member
find /{sources.CACHE} -type d -exec chmod 700 {{}} +
site=$(python3 -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
for folder in codegen guest host image; do echo /{sources.SOURCE}/$folder; done >$site/microvm.pth
info=$site/microvm_proto-0.dist-info
mkdir $info
python3 -c '
import tomllib
project = tomllib.load(open("/{sources.SOURCE}/pyproject.toml", "rb"))["project"]
print("[console_scripts]", *("=".join(each) for each in project["scripts"].items()), sep="\\n")
for group, entries in project["entry-points"].items():
    print(f"[{{group}}]", *("=".join(each) for each in entries.items()), sep="\\n")
' >$info/entry_points.txt
printf 'Metadata-Version: 2.1\\nName: microvm-proto\\nVersion: 0\\n' >$info/METADATA
printf '#!/bin/sh\\nexec python3 -m microvm "$@"\\n' >/usr/local/bin/microvm
chmod 755 /usr/local/bin/microvm
cd /{sources.SOURCE}
python3 -m compileall -q codegen/microvm_proto host/microvm image/microvm_image tests
python3 -c '
import os
from microvm import arches, images
from microvm_image import defaults
defaults.remember(arches.find(), images.load(os.environ["DEFAULT"]))'
"""


@asynccontextmanager
async def started(number: int = 0) -> AsyncIterator[MicroVM]:
    """Start an emulated machine with the checkout, a cache and a working /dev/kvm in it.

    Each machine has one CPU. If a machine has two CPUs, which QEMU emulates in two threads, its
    guests sometimes hang or are reset, and its kernel sometimes crashes.
    """
    sources.BUILD.mkdir(parents=True, exist_ok=True)
    options = MachineOptions(
        memory="3G",
        cpus=1,
        disk="8G",
        accel="tcg",
        cold=True,
        console=sources.BUILD / f"console-{number}",  # of the Debian, whose kernel may crash
    )
    async with MicroVM(image.find(), **options) as vm:
        with tempfile.TemporaryFile() as archive:
            default = sources.write_archive(archive)
            archive.seek(0)
            await vm.run(["sh", "-c", _MOUNT], env=ENVIRONMENT, check=True)
            await vm.put_archive(archive, "/")
        await vm.run(
            ["sh", "-c", _SET_UP], env={**ENVIRONMENT, "DEFAULT": default.name}, check=True
        )
        yield vm
