#!/usr/bin/env bash
# microvm in a virtual environment of its own, first in the PATH from here on; and a machine that says hello.
set -euo pipefail
shopt -s nullglob

if [ -n "$WHEELS" ]; then
	main=("$WHEELS/microvm_proto-$VERSION"-*.whl)
	set -- "${main[0]}[vm]" "$WHEELS/microvm_proto_guest_$(uname -m)-$VERSION"-*.whl
else
	set -- "microvm-proto[vm,guest]==$VERSION"
fi
environment=$RUNNER_TEMP/microvm
python3 -m venv "$environment"
"$environment/bin/pip" install --quiet --disable-pip-version-check --cache-dir "$CACHE/pip" "$@"
echo "$environment/bin" >>"$GITHUB_PATH"
"$environment/bin/microvm" doctor
