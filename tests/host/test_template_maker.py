"""Tests of the templates that `image build` and `image pull` save: a failure is only a notice."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from microvm.cli import template_maker
from microvm.cli.template_maker import try_template
from microvm.errors import QemuError
from microvm.images import Image
from microvm.options import PoolOptions
from microvm.progress import NoticeReporter

IMAGE = cast(Image, None)  # is only passed on


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[PoolOptions]:
    """Return the options with which templates are made, instead of making them."""
    options: list[PoolOptions] = []
    monkeypatch.setenv("MICROVM_CACHE", str(tmp_path))
    monkeypatch.setattr(template_maker, "make_template", lambda _, given, __: options.append(given))
    return options


def test_template_has_the_preset_options(
    made: list[PoolOptions], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MICROVM_MEMORY", "1G")
    monkeypatch.setenv("MICROVM_ARCH", "aarch64")
    try_template(IMAGE, NoticeReporter(pytest.fail))
    assert made == [{"memory": 1 << 30}]


def test_no_template_is_made_if_each_machine_boots(
    made: list[PoolOptions], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MICROVM_COLD", "1")
    try_template(IMAGE, NoticeReporter(pytest.fail))
    assert made == []


@pytest.mark.usefixtures("made")
def test_failure_is_a_notice_with_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise QemuError("there is no QEMU", hint="install it")

    monkeypatch.setattr(template_maker, "make_template", fail)
    notices: list[str] = []
    try_template(IMAGE, NoticeReporter(notices.append))
    [notice] = notices
    assert notice.endswith("so starts take longer: there is no QEMU (install it)")
