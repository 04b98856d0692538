"""The emulated machine: TCG emulates a processor with AMD's SVM, so KVM works in its Debian."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.kvm import image, sources

from microvm import MicroVM
from microvm.options import MachineOptions

LANES = 2
"""Number of test files that run at the same time, one on each virtual CPU."""

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

# The kernel cannot map the owners of files in an overlay, so the launcher would copy all files that
# QEMU opens. A file system in memory supports this, and is faster than the emulated disk.
_MOUNT = "mount -t tmpfs -o size=4G,mode=1777 tmpfs /tmp"

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
python3 -m compileall -q -j2 codegen/microvm_proto host/microvm image/microvm_image tests
python3 -c '
import os
from microvm import arches, images
from microvm_image import defaults
defaults.remember(arches.find(), images.load(os.environ["DEFAULT"]))'
"""

# While a VM with a virtual CPU exists, KVM does not patch the kernel at each start of another VM.
# Two emulated CPUs sometimes execute text that is being patched, and the kernel then dies of int3.
_HOLD = """
import fcntl, signal
vm = fcntl.ioctl(open("/dev/kvm", "r+b", 0), 0xAE01, 0)  # KVM_CREATE_VM
fcntl.ioctl(vm, 0xAE60, 0), fcntl.ioctl(vm, 0xAE41, 0)  # KVM_CREATE_IRQCHIP, KVM_CREATE_VCPU
print("held", flush=True)
signal.pause()
"""


@asynccontextmanager
async def started() -> AsyncIterator[MicroVM]:
    """Start the emulated machine with the checkout, a cache and a working /dev/kvm in it."""
    sources.BUILD.mkdir(parents=True, exist_ok=True)
    options = MachineOptions(
        memory="6G",
        cpus=2,
        disk="8G",
        accel="tcg",
        cold=True,
        commands=LANES + 1,
        console=sources.BUILD / "console",  # of the Debian, whose kernel may crash
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
        async with await vm.exec(["python3", "-c", _HOLD]) as holder:
            await holder.stdout.readline()
            yield vm
