#!/usr/bin/env bash
# QEMU and KVM on a hosted runner, and where caches are kept and under which key.
set -euo pipefail

sudo=$([ "$(id -u)" = 0 ] || echo sudo)
arch=$(uname -m)
qemu=qemu-system-$arch
if ! command -v "$qemu" >/dev/null || ! python3 -c 'import ensurepip' 2>/dev/null; then
	$sudo apt-get update -qq
	package=$([ "$arch" = aarch64 ] && echo qemu-system-arm || echo qemu-system-x86)
	$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" python3-venv >/dev/null
fi

# Hosted runners keep the device for root; those of arm64 have none.
if [ -e /dev/kvm ] && [ ! -w /dev/kvm ]; then
	$sudo chmod a+rw /dev/kvm
fi

# The home of a container's root is not root's own there, and a cache in it would not be used.
cache=$([ -O "$HOME" ] && echo "$HOME/.cache" || echo /var/cache)/microvm-action
echo "MICROVM_CACHE=$cache/microvm" >>"$GITHUB_ENV"

# What a template is good for: one version, under one QEMU, on one kind of processor.
version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' "$GITHUB_ACTION_PATH/host/microvm/_version.py")
key=$({
	"$qemu" --version
	grep -m 4 -E '^(model name|bogomips|BogoMIPS|CPU implementer|CPU part)' /proc/cpuinfo
	[ ! -w /dev/kvm ] || echo KVM
	[ -z "$WHEELS" ] || cat "$WHEELS"/*.whl
} | sha256sum | cut -c1-16)
echo "cache=$cache
version=$version
key=$arch-$version-$key" >>"$GITHUB_OUTPUT"
