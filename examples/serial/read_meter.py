"""Read the meter on a serial line: `read_meter.py CHANNEL TIMES DEVICE`."""

from __future__ import annotations

import itertools
import os
import select
import sys
import time
import tty
from collections.abc import Callable, Iterator

import meter

WAIT = 2.0  # seconds without an answer after which a request is sent again
QUIET = 0.5  # seconds without a byte after which the rest of an answer counts as lost
MAX_TRIES = 5


class MeterError(Exception):
    """The meter does not answer."""


class Meter:
    """A meter on a line, which is a descriptor open for reading and writing."""

    def __init__(self, line: int) -> None:
        self._line = line
        self._encoder = meter.Encoder()
        self._ids = itertools.cycle(range(1, 1 << 16))
        self.decoder = meter.Decoder("meter")

    def identify(self) -> meter.Identity:
        """Ask for the model and serial number."""
        for message in self._ask(meter.Identify, meter.Identity):
            if isinstance(message, meter.Identity):
                return message
        raise AssertionError

    def measure(self, channel: meter.Channel, times: int) -> Iterator[meter.Message]:
        """Yield the measurements as they arrive, and the status; lost measurements are missing."""
        return self._ask(lambda id_: meter.Measure(id_, channel, times), meter.Done)

    def _ask(
        self, request: Callable[[int], meter.Message], last: type[meter.Message]
    ) -> Iterator[meter.Message]:
        """Send a request until it is answered, and yield the messages of the answer."""
        for _ in range(MAX_TRIES):
            id_ = next(self._ids)
            # The zero ends a damaged frame that noise may have left on the line.
            os.write(self._line, b"\0" + self._encoder.encode(request(id_)))
            answered = False
            for message in self._received():
                if message.id == id_:
                    answered = True
                    yield message
                    if isinstance(message, last):
                        return
            if answered:
                return
        raise MeterError("the meter does not answer")

    def _received(self) -> Iterator[meter.Message]:
        """Yield messages until the line is quiet, or until no message arrives."""
        until = time.monotonic() + WAIT
        while (left := until - time.monotonic()) > 0:
            if select.select([self._line], [], [], left)[0]:
                self.decoder.receive_data(os.read(self._line, 65536))
                while (message := self.decoder.next_message()) is not None:
                    yield message
                until = time.monotonic() + QUIET


def main() -> None:
    """Print the meter, its measurements, and the counts of frames on both sides."""
    channels = {channel.name.lower(): channel for channel in meter.Channel}
    if len(sys.argv) != 4 or sys.argv[1] not in channels or not sys.argv[2].isdecimal():
        sys.exit(f"usage: read_meter.py {'|'.join(channels)} TIMES DEVICE")
    try:
        line = os.open(sys.argv[3], os.O_RDWR | os.O_NOCTTY)
        tty.setraw(line)
        device = Meter(line)
        identity = device.identify()
        print(f"{identity.model.decode()}, number {identity.serial}")
        for message in device.measure(channels[sys.argv[1]], int(sys.argv[2])):
            if isinstance(message, meter.Reading):
                print(message.tick, message.value)
            elif isinstance(message, meter.Status):
                print(f"meter: {message.frames} frames, {message.bad} bad, {message.lost} lost")
        decoder = device.decoder
        print(f"reader: {decoder.frames} frames, {decoder.bad} bad, {decoder.lost} lost")
    except (MeterError, meter.EncodeError, OSError) as error:
        sys.exit(f"read_meter: {error}")


if __name__ == "__main__":
    main()
