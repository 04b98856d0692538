"""A view of a capture for people: the frames of each flow, in the order in which they came.

As in the dissector, a segment is taken to begin with a frame where nothing else is known: behind
bytes that are not in the capture, and behind a frame that is malformed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from microvm_proto.capture import packets
from microvm_proto.explain import BrokenStream, Stream, View
from microvm_proto.frame import Incomplete, Malformed, read
from microvm_proto.schema import Schema
from microvm_proto.segments import Flow, Segment, Segments


def explain_capture(
    schema: Schema,
    pieces: Iterable[bytes],
    sender: str | None = None,
    *,
    port: int | None = None,
    colour: bool = False,
) -> Iterator[str]:
    """Yield the lines that describe each frame in a capture, as soon as it is whole.

    :param pieces: the file of the capture, in pieces of any size.
    :param sender: who sends, where no port tells; None: whoever may send each frame.
    :param port: that of the schema's second end; None: every flow that begins with a frame.
    :raises BrokenStream: behind the last, when there is none, or something is wrong with one.
    :raises Unreadable: behind the last, when the file is damaged.
    """
    view = View(schema, colour=colour)
    segments = Segments()
    views: dict[Flow, _FlowView] = {}
    flows = frames = broken = 0
    for segment in segments.read(packets(pieces)):
        ports = segment.flow.ports
        if port is not None and ports and port not in ports:
            continue
        shown = views.get(segment.flow)
        if shown is None:
            end = sender
            if port is not None and ports:
                end = schema.ends[0] if ports[1] == port else schema.ends[1]
            shown = views[segment.flow] = _FlowView(view, segment.flow, end, known=port is not None)
        yield from shown.take(segment)
        if segment.data is None:
            del views[segment.flow]
            flows += 1
            frames += shown.frames
            broken += shown.broken
    for what, count in segments.ignored.items():
        yield f"packets that are {what}, and not read: {count}"
    if not frames:
        hint = "" if port is None else f" of port {port}"
        raise BrokenStream(f"no frame begins in any of the {flows} flows{hint}")
    if broken:
        raise BrokenStream(f"something is wrong in {broken} of {flows} flows")


class _FlowView:
    """A flow whose frames are shown, as far as it is known where they begin.

    :ivar broken: whether a frame was malformed or not whole, or bytes were missing.
    """

    def __init__(self, view: View, flow: Flow, sender: str | None, *, known: bool) -> None:
        self.broken = False
        self._flow = flow
        self._schema = view.schema
        self._sender = sender
        self._known = known
        """Whether its port says that it is one of this protocol."""
        self._stream = Stream(view, sender, known=known)
        self._at = 0
        """The offset behind the last byte that came."""
        self._lost = None if flow.whole or view.schema.framing.resynchronises else 0
        """The offset from which on it is not known where a frame begins."""

    @property
    def frames(self) -> int:
        """How many frames were shown."""
        return self._stream.frames

    def take(self, segment: Segment) -> Iterator[str]:
        """Yield the lines of the frames that end in a segment, or with the flow."""
        self._stream.name = f" of {self._flow.name}, packet {segment.packet}"
        if segment.missing:
            yield from self._miss(segment.missing)
        if segment.data is None:
            yield from self._end()
            return
        datagram = self._flow.datagrams or self._schema.framing.kind == "datagram"
        if datagram or (self._lost is not None and self._begins_frame(segment.data)):
            yield from self._skipped()
            self._stream.splitter.begin(self._at)
            self._lost = None
        self._at += len(segment.data)
        if self._lost is None:
            yield from self._shown(self._stream.feed(segment.data))
        if datagram:
            yield from self._shown(self._stream.rest())
            self._lost = None

    @property
    def _is_ours(self) -> bool:
        return self._known or bool(self.frames)

    def _miss(self, size: int) -> Iterator[str]:
        if self._is_ours:
            self.broken = True
            yield f"{self._flow.name}: {size} bytes from {self._at} on are not in the capture"
            yield ""
        self._at += size
        if self._schema.framing.resynchronises:
            self._stream.splitter.begin(self._at)
        elif self._lost is None:
            self._lost = self._stream.splitter.at

    def _end(self) -> Iterator[str]:
        if self._lost is None:
            yield from self._shown(self._stream.end())
        else:
            self.broken |= self._is_ours and self._lost != self._at
            yield from self._skipped()

    def _skipped(self) -> Iterator[str]:
        if self._is_ours and self._lost not in (None, self._at):
            where = f"from {self._lost} to {self._at}"
            yield f"{self._flow.name}: no segment begins with a frame {where}"
            yield ""

    def _shown(self, lines: Iterator[str]) -> Iterator[str]:
        """Yield the lines, also of what breaks the flow."""
        try:
            yield from lines
        except BrokenStream:
            self._lost = self._stream.at
            if self._is_ours:
                self.broken = True
                yield ""

    def _begins_frame(self, data: bytes) -> bool:
        try:
            for _ in read(self._schema, data, self._sender):
                pass
        except Malformed:
            return False
        except Incomplete:
            return len(data) >= self._schema.framing.header_size
        return True
