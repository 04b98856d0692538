"""Tests of the configuration of our own kernel."""

from __future__ import annotations

import pytest

from microvm import arches
from microvm.errors import ImageError
from microvm_image.kernel import kconfig


@pytest.mark.parametrize("name", arches.ARCHES)
def test_the_fragments_parse_and_end_the_version(name: str) -> None:
    options = kconfig.parse(kconfig.fragment(arches.find(name)))
    assert options["CONFIG_LOCALVERSION"] == '"-microvm"'
    assert options["CONFIG_VIRTIO_MMIO"] == options["CONFIG_CGROUP_PIDS"] == "y"
    assert options["CONFIG_KALLSYMS"] is None


@pytest.mark.parametrize("text", ["CONFIG_A", "A=y", "CONFIG_A=y\nCONFIG_A=y", "CONFIG_A="])
def test_invalid_configuration_is_refused(text: str) -> None:
    with pytest.raises(ImageError, match="kernel's configuration"):
        kconfig.parse(text)


def test_all_ignored_options_are_named() -> None:
    wanted = kconfig.parse("CONFIG_A=y\nCONFIG_B=1\n# CONFIG_C is not set\n# CONFIG_D is not set\n")
    kconfig.check(wanted, {"CONFIG_A": "y", "CONFIG_B": "1", "CONFIG_C": None, "CONFIG_E": "y"})
    with pytest.raises(ImageError, match=r"accept CONFIG_A=y, CONFIG_B=1, CONFIG_C=n \("):
        kconfig.check(wanted, {"CONFIG_A": None, "CONFIG_B": "2", "CONFIG_C": "y"})
