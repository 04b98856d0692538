"""Reads the sensor: `read_sensor.py CHANNEL TIMES`."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import codec

PROGRAM = Path(__file__).with_name("sensor")


class SensorError(Exception):
    """The sensor cannot or will not answer."""


class Sensor:
    """A sensor that runs as a process, for as long as the `with` block."""

    def __init__(self) -> None:
        self._decoder = codec.Decoder("device")
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [PROGRAM], stdin=theirs.fileno(), stdout=theirs.fileno()
            )

    def __enter__(self) -> Sensor:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._process.wait()  # it ends when its input does

    def identify(self) -> codec.Identity:
        """Ask who it is."""
        answer = self._ask(codec.Identify())
        if not isinstance(answer, codec.Identity):
            raise SensorError(f"the sensor says {answer}")
        return answer

    def measure(self, channel: codec.Channel, times: int) -> Iterator[int]:
        """Give each measurement as it comes, in the channel's unit."""
        answer = self._ask(codec.Measure(1, channel, times))
        while isinstance(answer, codec.Reading):
            yield answer.value
            answer = self._receive()
        if not isinstance(answer, codec.Done):
            raise SensorError(f"the sensor says {answer}")

    def _ask(self, message: codec.Message) -> codec.Message:
        self._socket.sendall(message.encode())
        return self._receive()

    def _receive(self) -> codec.Message:
        while (message := self._decoder.next_message()) is None:
            data = self._socket.recv(65536)
            if not data:
                raise SensorError("the sensor has ended")
            self._decoder.receive_data(data)
        if isinstance(message, codec.Refused):
            # An open enum: a newer sensor may have more reasons.
            reason = message.reason
            name = reason.name.lower() if isinstance(reason, codec.Refusal) else str(reason)
            raise SensorError(f"the sensor refuses: {name}")
        return message


def main() -> None:
    """Print who the sensor is, and what it measures."""
    channels = {channel.name.lower(): channel for channel in codec.Channel}
    if len(sys.argv) != 3 or sys.argv[1] not in channels or not sys.argv[2].isdecimal():
        sys.exit(f"usage: read_sensor.py {'|'.join(channels)} TIMES")
    try:
        with Sensor() as sensor:
            identity = sensor.identify()
            print(f"{bytes(identity.name).decode()}, number {identity.serial}")
            for value in sensor.measure(channels[sys.argv[1]], int(sys.argv[2])):
                print(value / 1000)
    except (SensorError, codec.DecodeError, codec.EncodeError, OSError) as error:
        sys.exit(f"read_sensor: {error}")


if __name__ == "__main__":
    main()
