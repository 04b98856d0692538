"""Read the sensor: `read_sensor.py CHANNEL TIMES`."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import codec

PROGRAM = Path(__file__).with_name("sensor")


class SensorError(Exception):
    """The sensor refuses a request, or does not answer."""


class Sensor:
    """A sensor process, which runs within the `with` block."""

    def __init__(self) -> None:
        self._decoder = codec.Decoder("device")
        self._socket, child_socket = socket.socketpair()
        with child_socket:
            self._process = subprocess.Popen(
                [PROGRAM], stdin=child_socket.fileno(), stdout=child_socket.fileno()
            )

    def __enter__(self) -> Sensor:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._process.wait()  # it exits at the end of its input

    def identify(self) -> codec.Identity:
        """Ask for the name and serial number."""
        answer = self._ask(codec.Identify())
        if not isinstance(answer, codec.Identity):
            raise SensorError(f"unexpected answer of the sensor: {answer}")
        return answer

    def measure(self, channel: codec.Channel, times: int) -> Iterator[int]:
        """Yield each measurement as it arrives, in the unit of the channel."""
        answer = self._ask(codec.Measure(1, channel, times))
        while isinstance(answer, codec.Reading):
            yield answer.value
            answer = self._receive()
        if not isinstance(answer, codec.Done):
            raise SensorError(f"unexpected answer of the sensor: {answer}")

    def _ask(self, message: codec.Message) -> codec.Message:
        self._socket.sendall(message.encode())
        return self._receive()

    def _receive(self) -> codec.Message:
        while (message := self._decoder.next_message()) is None:
            data = self._socket.recv(65536)
            if not data:
                raise SensorError("the sensor has exited")
            self._decoder.receive_data(data)
        if isinstance(message, codec.Refused):
            # The enum is open, so a newer sensor may send other reasons.
            reason = message.reason
            name = reason.name.lower() if isinstance(reason, codec.Refusal) else str(reason)
            raise SensorError(f"the sensor refuses the request: {name}")
        return message


def main() -> None:
    """Print the name and number of the sensor, and its measurements."""
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
