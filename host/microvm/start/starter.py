"""The start of a machine as a clone of a template, which is created first if it does not exist."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from microvm import cache, start
from microvm.concurrency.threads import in_thread
from microvm.errors import (
    BootError,
    CacheError,
    ConfinementError,
    ImageError,
    MachineError,
    ProtocolError,
    QemuError,
    TemplateError,
)
from microvm.images import Image
from microvm.log import Area
from microvm.qemu.accel import ProbeCache
from microvm.qemu.command_line import Memory, QemuConfig
from microvm.qemu.launch import Launched, launch
from microvm.start import saved, scratch, template
from microvm.start.origin import digest, origin
from microvm.system import platform

_logger = Area("start")

CLONE_TIMEOUT = 20.0
"""Maximum number of seconds from the start of QEMU until the clone is ready."""

# Ways in which QEMU exits because of the guest or of itself, not because of a signal from outside.
_OWN_EXITS = {"exit", "panic", "reset", "shutdown"}


class _Refused(TemplateError):
    """Error: QEMU itself reports that it cannot save or restore this guest."""


class _Unavailable(Exception):
    """Error: a clone cannot be started now, for a reason that does not concern the template."""


class Starter:
    """The start of one machine, by cloning a template or by booting.

    :param console: File for the guest's console output, or None.
    :param notify: Function that is called with a notice for the user if a template cannot be used
        or created.
    """

    def __init__(
        self,
        image: Image,
        config: QemuConfig,
        console: Path | None,
        timeout: float,
        notify: Callable[[str], None],
    ) -> None:
        self.cloned = False
        self._launched: Launched | None = None
        manifest = image.manifest
        self._defaults = manifest.config.options
        self._warm = manifest.warm
        self._config = config
        self._console = console
        self._timeout = timeout
        self._notify = notify
        self._origin = origin(image, config)
        shape = digest((self._origin.requirements, saved.FORMAT, manifest.config, manifest.warm))
        self._name = f"{image.name}-{shape[:12]}"
        self._probes = ProbeCache(cache.root(), Path(self._origin.qemu), f"clone-{config.accel}")
        lacks_clones = bool(platform.lack(platform.CLONES))
        self._may_clone = not lacks_clones and self._probes.recall() is not False
        self._tried: tuple[int, ...] = ()
        if not self._may_clone and not lacks_clones:
            _logger.info("this QEMU cannot clone guests, according to %s", self._probes.path)

    def launch(self, *, cold: bool) -> None:
        """Launch QEMU before it is needed: to boot if `cold`, else to clone an existing template.

        `boot` or `clone` later uses this QEMU. If launching fails, this method raises no error,
        because `boot` or `clone` tries again and gets the same error.
        """
        with suppress(TemplateError, QemuError, CacheError, ImageError, OSError, _Unavailable):
            boots = cold or not self._may_clone
            self._launched = self._launch_boot() if boots else self._launch_clone()

    def end(self) -> None:
        """Kill the QEMU that `launch` has launched, unless it was used."""
        launched, self._launched = self._launched, None
        if launched is not None:
            launched.kill()

    async def boot(self) -> start.RunningVM:
        """Boot a guest, without a template.

        :raises BootError: If the guest did not become ready.
        :raises QemuError: If QEMU does not start.
        """
        if self._config.confinement != "off":
            self._explain(platform.CONFINEMENT, "QEMU starts without confinement")
        launched, self._launched = self._launched, None
        return await self._start(launched or self._launch_boot(), self._console, self._timeout)

    async def clone(
        self, on_save: Callable[[], object] = lambda: None, *, boots_instead: bool = True
    ) -> start.RunningVM:
        """Clone a guest from a template; create a missing template first. If this fails, boot.

        The errors are those of `boot`.

        :param on_save: Function that is called before a template is saved.
        :raises TemplateError: If no template can be saved, and `boots_instead` is False.
        """
        if not self._may_clone:
            if not boots_instead:
                raise self._lack()
            self._explain(platform.CLONES, "each machine boots, which takes longer")
            return await self.boot()
        try:
            return await self._clone_or_make(on_save)
        except (_Refused, _Unavailable, TemplateError) as error:
            cause = error.__cause__
            if not boots_instead and isinstance(cause, (QemuError, BootError)):
                raise cause from None
            if not boots_instead:
                if isinstance(error, _Refused):
                    self._probes.remember(works=False)
                raise TemplateError(str(error)) from error
            vm = await self.boot()
            if isinstance(error, _Refused):
                self._disable_clones(error)
            else:
                self._notify(f"{error}; booting instead")
            return vm

    def _lack(self) -> TemplateError:
        """Return the error for a host or a QEMU that cannot clone guests."""
        if lack := platform.lack(platform.CLONES):
            return TemplateError(lack)
        hint = f"to try again before a day has passed, remove {self._probes.path}"
        return TemplateError("this QEMU cannot clone guests", hint=hint)

    def _explain(self, feature: platform.Feature, consequence: str) -> None:
        """Notify the user, at most once a day, if the host's system lacks a feature."""
        if why := platform.lack(feature):
            notified = self._probes._replace(subject=f"lack-{feature.name}")
            if notified.recall() is None:
                notified.remember(works=False)
                self._notify(f"{why}; {consequence}")

    def _disable_clones(self, error: _Refused) -> None:
        """Record that this QEMU cannot restore guests, so that machines boot for the next day."""
        self._probes.remember(works=False)
        self._notify(
            f"this QEMU cannot clone guests: {error.message}; booting instead for a day"
            f" (to try again before, remove {self._probes.path})"
        )

    async def _clone_or_make(self, on_save: Callable[[], object]) -> start.RunningVM:
        """Clone the template. If the template does not exist or is damaged, create it first."""
        try:
            if vm := await self._clone_existing():
                return vm
        except TemplateError as error:
            self._notify(f"{error.message}; making it again")
        await self._make_template(on_save)
        if vm := await self._clone_existing():
            return vm
        raise _Unavailable(f"template {self._name} was removed right after it was made")

    async def _clone_existing(self) -> start.RunningVM | None:
        """Clone the template, and wait until the clone is ready; return None without a template."""
        launched, self._launched = self._launched, None
        launched = launched or self._launch_clone()
        if launched is None:
            return None
        with _classify_errors(f"cannot clone {self._name}"):
            vm = await self._start(launched, self._console, CLONE_TIMEOUT)
        self.cloned = True
        return vm

    def _launch_boot(self) -> Launched:
        _logger.info("booting")
        if not self._config.scratch:
            return launch(self._config)
        with scratch.blank(self._config.scratch) as disk:
            return launch(self._config, scratch=disk)

    def _launch_clone(self) -> Launched | None:
        with self._opened() as memory:
            if memory is None:
                return None
            _logger.info("cloning template %s", self._name)
            self._tried = memory.identity
            return launch(self._config, memory)

    @contextmanager
    def _opened(self) -> Iterator[Memory | None]:
        try:
            with template.STORE.opened(self._name) as memory:
                yield memory
        except OSError as error:
            raise _Unavailable(f"cannot clone {self._name}: {error.strerror or error}") from error

    async def _start(
        self, launched: Launched, console: Path | None, timeout: float
    ) -> start.RunningVM:
        return await start.RunningVM.start(launched, console, timeout, self._defaults, resume=False)

    async def _make_template(self, on_save: Callable[[], object]) -> None:
        """Boot a guest and save it as the template, unless another process does that first."""
        template.limit()  # raises the error for an invalid limit before a guest is booted
        with _classify_errors("no template can be saved", boots=True):
            async with template.locked(self._name, self._notify):
                if self._exists():
                    return
                if self._probes.recall() is False:
                    raise _Unavailable("another start has found that this QEMU cannot clone guests")
                on_save()
                _logger.info("booting a guest to save as template %s", self._name)
                with saved.blank(self._config.scratch) as memory:
                    launched = launch(self._config, memory)
                    vm = await self._start(launched, None, self._timeout)
                    try:
                        async with vm.qemu.starting():
                            await start.prepare_guest(vm.guest, self._warm, self._notify)
                            await vm.qemu.save()
                    finally:
                        await vm.end()
                    await in_thread(
                        template.save,
                        memory,
                        name=self._name,
                        origin=self._origin,
                        copied=not vm.qemu.maps_readonly,
                    )
                _logger.info("saved template %s", self._name)

    def _exists(self) -> bool:
        """Return True if a template exists, and QEMU has not just failed to restore it."""
        try:
            with self._opened() as memory:
                return memory is not None and memory.identity != self._tried
        except TemplateError:
            return False


@contextmanager
def _classify_errors(action: str, *, boots: bool = False) -> Iterator[None]:
    """Context manager that converts errors of the `action` to `_Refused` or `_Unavailable`.

    `_Refused` means that QEMU cannot save or restore this guest. If QEMU was killed by a signal,
    reached a limit, took too long or lacked a resource, the template may still be good.

    :param boots: True if a guest boots in the block. Errors of the boot itself are not converted.
    """
    try:
        yield
    except ConfinementError:
        raise  # a boot would fail in the same way, so report the error
    except TemplateError as error:
        raise _Refused(f"{action}: {error.message}") from error
    except (QemuError, MachineError) as error:
        kind = error.qemu_exit.kind if error.qemu_exit else None
        if boots and kind == "internal_error":
            # Another boot would take as long and fail in the same way. So raise a `BootError`,
            # after which the guest is not booted again.
            failed = BootError(error.message, hint=error.hint, detail=error.detail)
            failed.qemu_exit = error.qemu_exit
            raise failed from error
        own = kind in _OWN_EXITS
        if boots and isinstance(error, (BootError, ProtocolError)) and (own or not error.qemu_exit):
            raise
        # The loss of a guest that has just booted does not show that QEMU cannot save guests.
        refused = own and not (boots and isinstance(error, MachineError))
        raise (_Refused if refused else _Unavailable)(f"{action}: {error.message}") from error
    except (CacheError, ImageError, OSError) as error:
        raise _Unavailable(f"{action}: {error}") from error
