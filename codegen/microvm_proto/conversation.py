"""Shows the frames in a capture of network traffic to people, in the order in which they arrived.

If the capture lacks bytes, or a frame is malformed, it is unknown where the next frame begins. Then
frames are shown again from the next segment that begins with a frame. The Wireshark dissector does
the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from microvm_proto.capture import packets
from microvm_proto.explain import BrokenStream, Stream, View
from microvm_proto.frame import Incomplete, examine
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
    """Yield lines that describe the frames in a capture, as soon as each frame is complete.

    :param sender: Side that has sent the frames, if the ports do not show it; None if either side
        may have.
    :param port: Port that the schema's second side uses; None to show every flow that contains a
        frame.
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
    for reason, count in segments.ignored.items():
        yield f"ignored packets ({reason}): {count}"
    if not frames:
        hint = "" if port is None else f" of port {port}"
        raise BrokenStream(f"none of the {flows} flows{hint} contains a frame")
    if broken:
        raise BrokenStream(f"{broken} of {flows} flows have errors")


class _FlowView:
    """Shows the frames of one flow, which is one direction of a connection."""

    def __init__(self, view: View, flow: Flow, sender: str | None, *, known: bool) -> None:
        self.broken = False
        self._flow = flow
        self._schema = view.schema
        self._sender = sender
        self._known = known
        """True if the port shows that the flow belongs to this protocol."""
        self._stream = Stream(view, sender, known=known)
        self._at = 0
        """Number of bytes of the flow so far, including missing bytes."""
        self._lost = None if flow.whole or view.schema.framing.resynchronises else 0
        """Offset after which the beginning of the next frame is unknown; None while it is known."""

    @property
    def frames(self) -> int:
        """Number of frames of this flow that were shown, including malformed ones."""
        return self._stream.frames

    def take(self, segment: Segment) -> Iterator[str]:
        """Yield the lines of text about the frames that this segment of the flow completes.

        The last segment contains no data. For that segment, yield lines about the incomplete frame
        at the end of the flow.
        """
        self._stream.name = f" of {self._flow.name}, packet {segment.packet}"
        if segment.missing:
            yield from self._miss(segment.missing)
        if segment.data is None:
            yield from self._end()
            return
        datagram = self._flow.datagrams or self._schema.framing.kind == "datagram"
        if datagram or (self._lost is not None and self._begins_frame(segment.data)):
            yield from self._skipped()
            self._stream.begin(self._at)
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
            yield f"{self._flow.name}: the capture lacks {size} bytes from offset {self._at}"
            yield ""
        self._at += size
        if self._schema.framing.resynchronises:
            self._stream.begin(self._at)
        elif self._lost is None:
            self._lost = self._stream.splitter.at

    def _end(self) -> Iterator[str]:
        if self._lost is None:
            yield from self._shown(self._stream.end())
        else:
            self.broken |= self._is_ours and self._lost != self._at
            yield from self._skipped()
        self.broken |= bool(self._stream.fault)

    def _skipped(self) -> Iterator[str]:
        if self._is_ours and self._lost not in (None, self._at):
            offsets = f"from offset {self._lost} to {self._at}"
            yield f"{self._flow.name}: no segment begins with a frame {offsets}"
            yield ""

    def _shown(self, lines: Iterator[str]) -> Iterator[str]:
        """Yield `lines`. If they report a broken frame, look for the next one in later segments."""
        try:
            yield from lines
        except BrokenStream:
            self._lost = self._stream.at
            if self._is_ours:
                self.broken = True
                yield ""

    def _begins_frame(self, data: bytes) -> bool:
        _, broken = examine(self._schema, data, self._sender)
        if isinstance(broken, Incomplete):
            return len(data) >= self._schema.framing.header_size
        return broken is None
