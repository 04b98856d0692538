"""A page in a headless Chromium, which is controlled over a pair of pipes."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

#: Chromium's sandbox refuses to run as root. The other options stop connections to its vendor.
OPTIONS = (
    "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --remote-debugging-pipe"
).split()

DEADLINE = 60.0


class BrowserPage:
    """A loaded page of a browser."""

    def __init__(self, requests: IO[bytes], answers: IO[bytes], url: str) -> None:
        self._requests = requests
        self._answers = answers
        self._session: dict[str, str] = {}
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self._ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = {"sessionId": attached["sessionId"]}
        self._ask("Page.enable")
        self._ask("Page.navigate", url=url)
        while self._next().get("method") != "Page.loadEventFired":
            pass

    def run(self, script: str) -> Any:
        """Run JavaScript in the page, and return its value."""
        answer = self._ask("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def _ask(self, method: str, **parameters: object) -> dict[str, Any]:
        """Send a request of the DevTools protocol, skip events, and return the answer."""
        request = {"id": 1, "method": method, "params": parameters, **self._session}
        self._requests.write(json.dumps(request).encode() + b"\0")
        self._requests.flush()
        while "id" not in (message := self._next()):
            pass
        assert "error" not in message, message
        result: dict[str, Any] = message["result"]
        return result

    def _next(self) -> dict[str, Any]:
        """Return the next answer or event."""
        text = bytearray()
        while (byte := self._answers.read(1)) != b"\0":
            assert byte, "Chromium has exited"
            text += byte
        message: dict[str, Any] = json.loads(text)
        return message


@contextmanager
def opened(url: str, profile: Path) -> Iterator[BrowserPage]:
    """Open a page in a browser with an empty profile, and close the browser afterwards."""
    requests, to_browser = os.pipe()
    from_browser, answers = os.pipe()
    # Chromium reads requests from descriptor 3, and writes answers to descriptor 4.
    start = f'exec chromium "$@" 3<&{requests} 4>&{answers}'
    command = ["bash", "-c", start, "chromium", *OPTIONS, f"--user-data-dir={profile}"]
    process = subprocess.Popen(
        command, pass_fds=(requests, answers), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    os.close(requests)
    os.close(answers)
    try:
        with os.fdopen(to_browser, "wb") as writer, os.fdopen(from_browser, "rb") as reader:
            yield BrowserPage(writer, reader, url)
        process.wait(DEADLINE)  # Chromium exits after its last request
    finally:
        process.kill()
        process.wait()
