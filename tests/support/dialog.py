"""A dialog with a shell in a terminal of a guest, for tests of machines of several kinds."""

from __future__ import annotations

import asyncio

from tests.support.peer import TIMEOUT

from microvm import IncompleteRead, Machine

PROMPT = b"ready> "


async def hold_dialog(vm: Machine) -> None:
    """One task reads the terminal, one waits for the exit, and this one types and resizes."""
    screens: asyncio.Queue[bytes] = asyncio.Queue()

    async def read() -> bytes:
        try:
            while True:
                await screens.put(await process.stdout.readuntil(PROMPT, timeout=TIMEOUT))
        except IncompleteRead as error:
            return error.partial

    async def shown(text: bytes) -> None:
        async with asyncio.timeout(TIMEOUT):
            # The shell prints its prompt again if its terminal is resized.
            while text not in await screens.get():
                pass

    env = {"PS1": PROMPT.decode(), "TERM": "dumb"}
    async with (
        await vm.exec(["sh"], tty=(24, 80), env=env) as process,
        asyncio.TaskGroup() as group,
    ):
        assert process.stdin is not None
        reading = group.create_task(read())
        waiting = group.create_task(process.wait())
        await shown(PROMPT)
        process.stdin.write(b"stty size\n")
        await shown(b"24 80")
        process.resize(31, 91)
        process.stdin.write(b"stty size\n")
        await shown(b"31 91")
        process.stdin.write(b'read answer; echo "got $answer"\n')
        process.stdin.write(b"yes\n")
        await shown(b"got yes")
        assert process.returncode is None
        process.stdin.write(b"printf e%s nd; exit 7\n")
        assert await waiting == 7
        assert (await reading).endswith(b"end")
    assert process.returncode == 7
