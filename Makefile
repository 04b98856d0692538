# make hello    install missing packages, build an image, run `echo hello` in a machine
# make test     the tests that an engineer runs before each commit, in real machines: eight minutes at most
# make check    everything: `make test`, lint, types, all tests, a second Python, all foreign tools
# make help     list all targets
# PYTHON=… VENV=…  use another Python, with a virtual environment of its own

VENV := .venv
BIN := $(VENV)/bin
# The tests of the frameworks' adapters need packages that bring plugins of pytest, so they run in another environment.
FRAMEWORKS := $(VENV)/frameworks
PYTHON ?= python3
# uv installs the packages for development in seconds, and pip in a minute.
UV_INSTALL = $(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt
PIP_INSTALL = $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
ARCH := $(shell uname -m)
QEMU_PACKAGE := $(if $(filter aarch64,$(ARCH)),qemu-system-arm,qemu-system-x86)

# Each word below is a program, a header or a module of Python, and the Debian package that contains it. A target
# installs only NEEDS, the groups whose programs it runs: tests/project/test_needs.py lists them for each target.
VENV_NEEDS = $(shell $(PYTHON) -c 'import ensurepip' 2>/dev/null || echo ensurepip:python3-venv)

# C_NEEDS compile the guest's programs, QEMU's launcher, and programs for this host. KERNEL_NEEDS compile the small
# kernel. A target that starts machines requires RUN_NEEDS.
C_NEEDS := gcc:gcc /usr/include/stdio.h:libc6-dev
RUN_NEEDS := qemu-system-$(ARCH):$(QEMU_PACKAGE) $(C_NEEDS)
# `make test` also builds images for disks.
TEST_NEEDS := $(RUN_NEEDS) mkfs.erofs:erofs-utils
KERNEL_NEEDS := $(C_NEEDS) flex:flex bison:bison bc:bc xz:xz-utils /usr/include/gelf.h:libelf-dev
# Tests that build images from a registry run these programs.
IMAGE_NEEDS := mkfs.erofs:erofs-utils skopeo:skopeo
# These programs create the image and the disk of the machine in which `make test-kvm` runs tests.
KVM_NEEDS := mmdebstrap:mmdebstrap mkfs.erofs:erofs-utils /usr/sbin/mkfs.ext4:e2fsprogs
# libFuzzer comes with clang, but not with its package; its place has clang's version.
LIBFUZZER := $(wildcard /usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.fuzzer-*.a)
FUZZ_NEEDS := $(C_NEEDS) g++:g++ clang:clang cbmc:cbmc $(or $(firstword $(LIBFUZZER)),libfuzzer):libclang-rt-dev
COUNTS_NEEDS := $(C_NEEDS) valgrind:valgrind
# `make check` runs all tests, and compiles the small kernel and the guest packs for them.
CHECK_NEEDS := $(TEST_NEEDS) $(KERNEL_NEEDS) $(IMAGE_NEEDS) $(FUZZ_NEEDS) $(COUNTS_NEEDS) tshark:tshark xxd:xxd hexdump:bsdextrautils \
	cpio:cpio strace:strace umoci:umoci docker-registry:docker-registry mmdebstrap:mmdebstrap gpg:gpg /usr/sbin/mkfs.ext4:e2fsprogs \
	avr-gcc:gcc-avr /usr/lib/avr/include/string.h:avr-libc \
	cmake:cmake meson:meson spin:spin

# ARM_NEEDS are packages of half a gigabyte that compile and run programs for a Cortex-M processor. The long tests also run
# containers and a browser.
ARM_NEEDS := arm-none-eabi-gcc:gcc-arm-none-eabi /usr/lib/arm-none-eabi/lib/nano.specs:libnewlib-arm-none-eabi \
	qemu-system-arm:qemu-system-arm
# For containers; buildah runs without a network of its own, and looks for netavark all the same.
CONTAINER_NEEDS := buildah:buildah /usr/lib/podman/netavark:netavark
LONG_NEEDS := $(ARM_NEEDS) $(CONTAINER_NEEDS) /usr/include/sys/capability.h:libcap-dev chromium:chromium patch:patch

# The launcher in a guest pack runs on hosts with any C library, so it contains musl.
MUSL_NEEDS := musl-gcc:musl-tools
# For the guest packs: which, and what compiles a kernel for the processor that is not this one.
GUESTS ?= x86_64 aarch64
cross = $(1)-linux-gnu-gcc:gcc-$(subst _,-,$(1))-linux-gnu /usr/$(1)-linux-gnu/include/stdio.h:libc6-dev-$(2)-cross
CROSS_NEEDS := $(if $(filter aarch64,$(ARCH)),$(call cross,x86_64,amd64),$(call cross,aarch64,arm64))

# OTHER_NEEDS run guests of the architecture that is not that of this host: tests/vm/test_other_arch.py.
AARCH64_NEEDS := qemu-system-aarch64:qemu-system-arm
OTHER_NEEDS := $(if $(filter aarch64,$(ARCH)),qemu-system-x86_64:qemu-system-x86,$(AARCH64_NEEDS)) $(CROSS_NEEDS)
CHECK_NEEDS += $(OTHER_NEEDS) $(MUSL_NEEDS) $(CONTAINER_NEEDS)

# `make test-aarch64` leaves out these tests: they take long, and the guest hardly matters to them.
NOT_AARCH64 := tests/vm/test_documents.py

# The extras of frameworks that have an adapter.
ADAPTED := pydantic-ai,inspect,deepagents,openai-agents,smolagents,mini-swe-agent,mcp
comma := ,

# Seconds for all rungs together, or for those in FUZZ. CI and tests use less time, and fixed seeds.
FUZZ_SECONDS ?= 300
FUZZ ?= fuzz

SOAK_SECONDS ?= 1200

C_FILES = $(shell find codegen examples fuzz guest host tests -name '*.[ch]')

# The schemas from which committed files are generated.
SCHEMAS := protocol/sandboxd.toml protocol/files.toml protocol/streams.toml protocol/interpreter.toml examples/sensor/sensor.toml examples/serial/meter.toml

# Each of these Pythons that is installed, except the one that has run `make test`, repeats its tests without guests.
PYTHONS := python3.11 python3.13
NAME := 'import sys; print("python%d.%d" % sys.version_info[:2])'

# `make test-host` leaves out the tests that boot guests, and the second Python also those of programs in C.
BOOTING := tests/counts tests/dask tests/faults tests/soak tests/vm fuzz/guest
WITHOUT_GUESTS := $(addprefix --ignore=,$(BOOTING))
OF_PYTHON := $(WITHOUT_GUESTS) $(addprefix --ignore=,fuzz tests/confinement tests/faults_seeded tests/guest tests/launcher)

# Further arguments of pytest for `make test`, such as TESTS=tests/host.
TESTS :=

# Tests run in three processes, file by file and in the same order each time: on two cores, the third one uses the
# time in which the others wait for guests. Those that are marked `alone` run afterwards, one after another.
PYTEST = $(BIN)/python -m pytest --ignore=tests/install
PARALLEL := -n 3 --dist loadfile --no-loadscope-reorder
ALONE = $(shell grep -rl --include='test_*.py' 'pytest.mark.alone' tests fuzz)

# The tests use a cache of this checkout, and copy kernels and downloads from the cache of the user.
CACHE := build/cache

.PHONY: help hello test check rest test-host test-aarch64 test-long test-install test-kvm lint format constraints gen gen-check counts man docs terminal bench bench-codec footprint scale fuzz fuzz-mutants soak test-systems test-systems-aarch64 dist guest-pack workflows release-check clean

help:
	@echo 'make hello      install missing packages, build an image, run echo hello in a machine'
	@echo 'make test       the tests that you run before each commit, in real machines: eight minutes at most'
	@echo 'make check      everything: make test, lint, types, all tests except the long ones, a second Python'
	@echo 'make rest       what make check does beyond make test'
	@echo 'make test-host  all tests that boot no guest'
	@echo '                add PYTHON=python3.12 VENV=.venv-3.12 to any of these to use another Python'
	@echo 'make test-aarch64  the tests of machines in aarch64 guests, which QEMU emulates on other hosts'
	@echo 'make test-long  all tests with the long ones: 100 boots on a busy host, thousands of examples'
	@echo 'make test-install  the tests of the built files: the first hour of a user, in an empty environment'
	@echo 'make test-kvm   tests under KVM, in a machine with an emulated processor; takes half an hour, and'
	@echo '                continues an interrupted run; AGAIN=1 to begin again'
	@echo 'make lint       ruff, mypy, clang-format, the C compiler'"'"'s analyzer, whether generated files are'
	@echo '                up to date, and whether the protocol is compatible with its released form'
	@echo 'make format     format Python and C as `make lint` requires'
	@echo 'make constraints  update constraints.txt, the list of pinned packages'
	@echo 'make gen        generate all generated files again'
	@echo 'make gen-check  check whether the files that are generated from schemas are up to date'
	@echo 'make counts     count instructions, system calls and modules again, and save the counts for the tests'
	@echo 'make man        write the manual pages of the wheel into build/man'
	@echo 'make docs       build the documentation site in build/site'
	@echo 'make terminal   run the first commands of the home page, and draw the terminal of README'
	@echo 'make bench      measure starts, commands, throughput and memory, compared with plain QEMU'
	@echo 'make bench-codec  measure the generated codec, compared with protobuf and msgspec'
	@echo 'make footprint  measure flash and RAM of the generated C, compared with nanopb on a Cortex-M0+'
	@echo 'make scale      measure batches on a cluster: a million jobs, and 1 to 8 workers; needs root and an hour'
	@echo 'make fuzz       run every rung of the fuzzing with a random seed; FUZZ_SECONDS=600 for longer'
	@echo 'make fuzz-mutants  check whether the fuzzing finds seeded bugs'
	@echo 'make soak       run random starts, commands and faults; fails if a resource grows; SOAK_SECONDS=60'
	@echo 'make test-systems  test the wheels on Debian 12, Debian 13 and Ubuntu 24.04; needs root and 10 minutes'
	@echo 'make test-systems-aarch64  the same on an emulated aarch64 Debian 13'
	@echo 'make dist       build the source distribution and the wheel in dist/, reproducibly'
	@echo 'make guest-pack  build guest packs with a kernel in dist/, which takes minutes; GUESTS=x86_64 for one'
	@echo 'make workflows  check .github/ and action.yml'
	@echo 'make release-check  check whether the files in dist/ can be published; TAG=v1.2.3 for that version'
	@echo 'make clean      remove the virtual environments and all built files'

hello: NEEDS = $(RUN_NEEDS)
hello: $(VENV)/vm
	@$(call require,$(NEEDS))
	$(BIN)/microvm run -- echo hello
	@$(BIN)/python -c 'from microvm import arches; from microvm_image.kernel import selection; exit(not selection.given(arches.find()))' || \
		echo '$(BIN)/microvm kernel build: takes five minutes once; then guests boot seven times faster'

test: NEEDS = $(TEST_NEEDS)
test: $(VENV)/dev
	@$(call require,$(NEEDS))
	$(PYTEST) -m 'not thorough and not long and not alone' $(PARALLEL) $(TESTS)

check: test rest

# The small kernel makes the guests of these tests faster, and is in the guest packs of `make test-install`.
rest: NEEDS = $(CHECK_NEEDS)
rest: lint
	@$(call require,$(NEEDS))
	MICROVM_CACHE="$(CURDIR)/$(CACHE)" $(BIN)/microvm kernel build --quiet
	$(PYTEST) -m 'thorough and not long and not alone' $(PARALLEL)
	$(PYTEST) -m 'alone and not long' $(ALONE)
	$(FRAMEWORKS)/bin/python -m pytest -m 'not long' -n 3 tests/frameworks
	@for python in $(PYTHONS); do \
		if [ $$python != "$$($(BIN)/python -c $(NAME))" ] && $$python -c '' 2>/dev/null; then \
			$(MAKE) --no-print-directory test TESTS='$(OF_PYTHON)' PYTHON=$$python VENV=.venv-$${python#python} || exit 1; \
		fi; \
	done
	$(BIN)/python -m pytest -n 2 --dist loadfile tests/install

test-host: NEEDS = $(CHECK_NEEDS)
test-host: $(VENV)/dev
	@$(call require,$(NEEDS))
	$(PYTEST) -m 'not long and not alone' $(PARALLEL) $(WITHOUT_GUESTS)
	$(PYTEST) -m 'alone and not long' $(filter-out $(addsuffix /%,$(BOOTING)),$(ALONE))

test-aarch64: NEEDS = $(CHECK_NEEDS) $(AARCH64_NEEDS)
test-aarch64: $(VENV)/dev
	@$(call require,$(NEEDS))
	$(PYTEST) -m 'not long and not alone' $(PARALLEL) --arch aarch64 tests/vm $(NOT_AARCH64:%=--ignore=%)
	$(PYTEST) -m 'alone and not long' --arch aarch64 $(filter tests/vm/%,$(ALONE))

test-long: NEEDS = $(CHECK_NEEDS) $(LONG_NEEDS)
test-long: lint
	@$(call require,$(NEEDS))
	$(UV_INSTALL) --editable '.[mavlink]'
	$(BIN)/python -m pytest
	$(FRAMEWORKS)/bin/python -m pytest tests/frameworks

# The guest packs of users contain the small kernel.
test-install: NEEDS = $(CHECK_NEEDS)
test-install: $(VENV)/dev
	@$(call require,$(NEEDS))
	MICROVM_CACHE="$(CURDIR)/$(CACHE)" $(BIN)/microvm kernel build --quiet
	$(BIN)/python -m pytest -n 2 --dist loadfile tests/install

# KVM need not work on this host: the tests run in a machine under TCG, which emulates AMD's SVM.
test-kvm: NEEDS = $(RUN_NEEDS) $(KERNEL_NEEDS) $(KVM_NEEDS)
test-kvm: $(VENV)/dev
	@$(call require,$(NEEDS))
	$(BIN)/microvm kernel build --quiet
	$(BIN)/python -m tests.kvm $(if $(AGAIN),--again)

lint: NEEDS = $(C_NEEDS)
lint: $(VENV)/dev $(FRAMEWORKS)/ready
	@$(call require,$(NEEDS))
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/python -m tests.project.prose
	@$(BIN)/clang-format --dry-run --Werror $(C_FILES)
	$(BIN)/mypy
	$(BIN)/mypy --platform darwin --cache-dir .mypy_cache/darwin host/microvm image/microvm_image
	$(FRAMEWORKS)/bin/mypy --cache-dir $(FRAMEWORKS)/mypy $$(find host/microvm/frameworks host/microvm/cli/mcp tests/frameworks examples/evaluation -name '*.py')
	@$(MAKE) --no-print-directory gen-check
	$(BIN)/microvm-proto breaking
	@$(MAKE) --no-print-directory -s workflows
	$(MAKE) --no-print-directory -s -C guest analyze CC=gcc
	$(MAKE) --no-print-directory -s -C host/confine analyze CC=gcc

format: $(VENV)/dev
	$(BIN)/ruff format
	@$(BIN)/clang-format -i $(C_FILES)

# The pre-commit hook runs this target, too.
gen-check: $(VENV)/dev
	$(foreach schema,$(SCHEMAS),$(BIN)/microvm-proto gen --check $(schema) &&) true

# For the oldest Python, because all other versions can install the same packages.
constraints: $(VENV)/dev
	$(BIN)/uv pip compile --quiet --upgrade --python-version 3.11.5 --no-annotate --no-header --output-file constraints.txt \
		--extra $(subst $(comma), --extra ,vm,plot,dask,bench,mavlink,docs,pack,dev,$(ADAPTED)) --group frameworks pyproject.toml

gen: $(VENV)/dev
	$(foreach schema,$(SCHEMAS),$(BIN)/microvm-proto gen $(schema) &&) true
	$(BIN)/python -m tests.project.pages

counts: NEEDS = $(RUN_NEEDS) $(COUNTS_NEEDS)
counts: $(VENV)/dev
	@$(call require,$(NEEDS))
	$(BIN)/python -m tests.counts

man: $(VENV)/dev
	$(BIN)/python host/manual_pages.py build/man

docs: $(VENV)/dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

terminal: NEEDS = $(RUN_NEEDS) $(IMAGE_NEEDS)
terminal: $(VENV)/dev
	@$(call require,$(NEEDS))
	$(BIN)/python docs/record.py

bench: NEEDS = $(RUN_NEEDS)
bench: $(VENV)/dev
	@$(call require,$(NEEDS))
	$(BIN)/microvm bench

bench-codec: $(VENV)/vm
	$(PIP_INSTALL) --editable '.[bench]'
	$(BIN)/python codegen/benchmark.py

footprint: NEEDS = $(ARM_NEEDS) protoc:protobuf-compiler
footprint: $(VENV)/vm
	@$(call require,$(NEEDS))
	$(PIP_INSTALL) --editable '.[bench]'
	$(BIN)/python -m footprint

scale: NEEDS = $(RUN_NEEDS)
scale: $(VENV)/dev
	@$(call require,$(NEEDS))
	$(BIN)/python -m tests.dask.scale rate
	$(BIN)/python -m tests.dask.scale growth
	$(BIN)/python -m tests.dask.scale million

fuzz: NEEDS = $(RUN_NEEDS) $(FUZZ_NEEDS)
fuzz: $(VENV)/dev
	@$(call require,$(NEEDS))
	$(BIN)/python -m pytest $(FUZZ) -m 'rung and not long' --fuzz-seconds=$(FUZZ_SECONDS) $(FUZZ_OPTIONS)

fuzz-mutants: NEEDS = $(RUN_NEEDS) $(FUZZ_NEEDS)
fuzz-mutants: $(VENV)/dev
	@$(call require,$(NEEDS))
	$(BIN)/python -m fuzz.mutants $(FUZZ_OPTIONS)

soak: NEEDS = $(RUN_NEEDS)
soak: $(VENV)/dev
	@$(call require,$(NEEDS))
	$(BIN)/python -m tests.soak --seconds=$(SOAK_SECONDS) $(SOAK_OPTIONS)

# The root file systems are created once, below build/systems.
test-systems: dist
	@$(call require,mmdebstrap:mmdebstrap /usr/share/keyrings/ubuntu-archive-keyring.gpg:ubuntu-keyring)
	$(MAKE) --no-print-directory guest-pack GUESTS=$(ARCH)
	$(BIN)/python -m tests.systems dist build/systems

test-systems-aarch64: dist
	@$(call require,mmdebstrap:mmdebstrap mkfs.erofs:erofs-utils /usr/sbin/mkfs.ext4:e2fsprogs qemu-system-aarch64:qemu-system-arm)
	$(MAKE) --no-print-directory guest-pack GUESTS=aarch64
	$(BIN)/python -m tests.systems --emulated dist build/systems

# hatchling writes no current time into the files, so the build is reproducible.
dist: $(VENV)/dev
	rm -f dist/microvm_proto-*
	$(BIN)/hatchling build

# The pack of another processor needs a cross compiler for the kernel, and one for the programs.
guest-pack: NEEDS = $(MUSL_NEEDS) $(KERNEL_NEEDS) $(if $(filter-out $(ARCH),$(GUESTS)),$(CROSS_NEEDS))
guest-pack: $(VENV)/dev
	@$(call require,$(NEEDS))
	$(PIP_INSTALL) --editable '.[pack]'
	$(BIN)/python -m guest_pack $(GUESTS:%=--arch %) --directory dist

workflows: $(VENV)/dev
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-actions action.yml
	$(BIN)/zizmor --offline --quiet .

# The workflow of a release runs this target, too.
release-check: dist workflows
	$(BIN)/python -m tests.project.release dist $(TAG)
	$(BIN)/twine check --strict dist/*

clean:
	rm -rf $(VENV) .venv-* $(CACHE) dist guest/build host/confine/build .mypy_cache .ruff_cache .pytest_cache .hypothesis

# $(VENV)/vm contains the packages for running. $(VENV)/dev adds those for development.
$(VENV)/vm: pyproject.toml constraints.txt
	@[ -w . ] || { echo 'This folder is read-only: run `chmod -R u+w .`, or copy it.' >&2; exit 1; }
	@$(call require,$(VENV_NEEDS) $(NEEDS))
	@$(PYTHON) -c 'import sys; exit(sys.version_info < (3, 11))' || \
		{ echo 'microvm needs Python 3.11 or newer: name one that is installed, such as PYTHON=python3.13.' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) --editable '.[vm]'
	@# pip compiles only files that it copies, and an editable install copies none.
	$(BIN)/python -m compileall -q codegen/microvm_proto host/microvm image/microvm_image
	@touch $@

$(VENV)/dev: $(VENV)/vm
	$(PIP_INSTALL) uv
	$(UV_INSTALL) --editable '.[vm,plot,dask,docs,dev]'
	@touch $@

$(FRAMEWORKS)/ready: $(VENV)/dev
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(FRAMEWORKS)
	$(BIN)/uv pip install --quiet --python $(FRAMEWORKS) --constraint constraints.txt --group frameworks --editable '.[vm,$(ADAPTED)]'
	@touch $@

# $(call require,need:package …) installs the packages of missing programs, headers and modules. If that is not possible,
# it names everything that is missing.
define require
lacking=''; packages=''; \
for need in $(1); do \
	command -v "$${need%%:*}" >/dev/null || [ -f "$${need%%:*}" ] || \
		{ lacking="$$lacking $$need"; packages="$$packages $${need##*:}"; }; \
done; \
if [ -n "$$lacking" ]; then \
	echo "Installing$(if $(SUDO), with sudo):$$packages"; \
	{ command -v apt-get $(SUDO) && $(SUDO) apt-get update -qq && \
	  $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$packages; } >/dev/null || { \
		echo 'The packages could not be installed. This system lacks:'; \
		for each in $$lacking; do echo "  $${each%%:*}, in the package $${each##*:} of Debian"; done; \
		echo "Install these, and run the command again. On Debian and Ubuntu, as root: apt-get install$$packages"; \
		exit 1; \
	} >&2; \
fi
endef
