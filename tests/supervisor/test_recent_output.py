"""Tests of the recent output of a detached command: what is kept, and what a slow client lacks."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from microvm.supervisor.recent_output import OutputView, RecentOutput


async def _rest(view: OutputView) -> bytes:
    chunks = []
    while chunk := await view.next_chunk():
        chunks.append(chunk)
    return b"".join(chunks)


@given(st.lists(st.binary(max_size=9)), st.integers(1, 12))
def test_the_last_bytes_are_kept(pieces: list[bytes], limit: int) -> None:
    async def check() -> None:
        output = RecentOutput(limit)
        for piece in pieces:
            output.feed(piece)
        complete = b"".join(pieces)
        view = OutputView(output, follow=False)
        assert await _rest(view) == complete[-limit:]
        assert view.dropped == output.start == max(0, len(complete) - limit)

    asyncio.run(check())


async def test_a_view_that_follows_ends_with_the_stream() -> None:
    output = RecentOutput()
    views = [asyncio.create_task(_rest(OutputView(output, follow=True))) for _ in range(2)]
    for piece in (b"a", b"b", b"c"):
        output.feed(piece)
        await asyncio.sleep(0)
    assert not any(view.done() for view in views)
    output.close()
    assert await asyncio.gather(*views) == [b"abc"] * 2
    assert await _rest(OutputView(output, follow=True)) == b"abc"


async def test_a_view_can_begin_with_the_next_output() -> None:
    output = RecentOutput()
    output.feed(b"before")
    view = OutputView(output, recent=False)
    output.feed(b"after")
    output.close()
    assert await _rest(view) == b"after"


async def test_a_view_that_does_not_follow_ends_where_it_began() -> None:
    output = RecentOutput()
    output.feed(b"before")
    view = OutputView(output, follow=False)
    output.feed(b"x" * (1 << 17))
    assert (await _rest(view))[:6] == b"before"
    assert await view.next_chunk() == b""


async def test_a_slow_view_counts_the_bytes_that_it_lacks() -> None:
    output = RecentOutput(4)
    output.feed(b"0123")
    view = OutputView(output, follow=True)
    assert await view.next_chunk() == b"0123"
    assert view.dropped == 0
    output.feed(b"456789ab")
    assert await view.next_chunk() == b"89ab"
    assert view.dropped == 4
