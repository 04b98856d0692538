"""Tests of files that a hostile, simulated guest sends, and of invalid requests."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import resource
import stat
import tarfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from itertools import count, islice, pairwise
from pathlib import Path
from typing import Any

import pytest
from tests.support.peer import Peer
from tests.support.processes import open_files
from tests.support.small_disk import small_disk

from microvm.errors import ExecTimeout, FileError, ImageError, UsageError
from microvm.guest import files as guest_files
from microvm.guest import staging
from microvm.guest.download import Received
from microvm.guest.exchange import MESSAGES_PER_TURN
from microvm.guest.guest import Guest
from microvm.wire import codec, files
from microvm.wire.codec import Stream

Answers = Sequence[files.Message] | bytes

FILE = stat.S_IFREG | 0o644
FOLDER = stat.S_IFDIR | 0o755
LINK = stat.S_IFLNK | 0o777
WHOLE = files.Whole()
DONE = files.Done()
PLENTY = 1 << 20


def entry(mode: int, name: bytes = b"", target: bytes = b"", mtime: int = 0) -> files.Message:
    return files.Entry(mode=mode, size=0, mtime=mtime, uid=0, gid=0, name=name, target=target)


def file(name: bytes = b"", data: bytes = b"x", mode: int = FILE) -> list[files.Message]:
    return [entry(mode, name), files.Data(data=data), WHOLE]


def folder(*members: list[files.Message], name: bytes = b"") -> list[files.Message]:
    return [entry(FOLDER, name), *(message for member in members for message in member), WHOLE]


def link(name: bytes, target: bytes) -> list[files.Message]:
    return [entry(LINK, name, target)]


def deep(levels: int) -> list[files.Message]:
    return folder(deep(levels - 1), name=b"d") if levels else file(b"bottom")


class Carry:
    """The program `carry` of a guest, simulated: it sends fixed answers."""

    def __init__(self, guest: Guest, peer: Peer) -> None:
        self.guest = guest
        self.peer = peer

    async def answer(
        self, answers: Answers, asked: Callable[..., Any], *of: Any, status: int = 0, **how: Any
    ) -> Any:
        """Return the result of a method of the guest, to which the program sends these answers."""
        playing = asyncio.create_task(self._play(answers, status))
        try:
            return await asked(self.guest, *of, **how)
        finally:
            await playing

    async def _play(self, answers: Answers, status: int) -> None:
        await self.peer.expect(codec.ExecRequest)
        await self.peer.say(codec.ExecStdinCredit(self.peer.id, PLENTY))
        await self.peer.expect(codec.ExecStdin)
        sent = answers if isinstance(answers, bytes) else b"".join(m.encode() for m in answers)
        with suppress(AssertionError, EOFError):  # the host may have closed the connection
            await self.peer.write(Stream.STDOUT, sent)
        await self.peer.exit(status)

    async def get(self, tree: Answers, to: Path, **how: Any) -> Received:
        """Download the folder `/from`, which the program sends as this tree."""
        received: Received = await self.answer(tree, guest_files.get, "/from", to, **how)
        return received


@pytest.fixture
def carry(guest: Guest, peer: Peer) -> Carry:
    return Carry(guest, peer)


def below(folder: Path) -> set[str]:
    """Return the names of all files and folders below a folder."""
    return {path.name for path in folder.rglob("*")}


def assert_inside(folder: Path, *links: str) -> None:
    """Check that these are links whose targets are in the folder."""
    for link in links:
        assert (folder / link).is_symlink()
        assert (folder / link).resolve().is_relative_to(folder.resolve())


async def test_download_writes_the_tree_and_no_other_file(carry: Carry, tmp_path: Path) -> None:
    tree = folder(file(b"a", b"content"), folder(link(b"l", b"../a"), name=b"f"))
    received = await carry.get([*tree, DONE], tmp_path / "new/to")
    assert (received.files, received.size, received.left_out) == (4, 7, ())
    assert (tmp_path / "new/to/f/l").read_bytes() == b"content"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["to"]


HOSTILE: dict[str, list[files.Message] | bytes] = {
    "noise": b"\xff" * 100,
    "nothing": b"",
    "data alone": [files.Data(data=b"x"), DONE],
    "half a file": [entry(FILE), files.Data(data=b"x"), DONE],
    "half a folder": [entry(FOLDER), *file(b"a"), DONE],
    "two roots": [*file(), *file(b"b"), DONE],
    "a file within a file": [entry(FILE), entry(FILE, b"a"), WHOLE, WHOLE, DONE],
    "data of a folder": [entry(FOLDER), files.Data(data=b"x"), WHOLE, DONE],
    "a parent": [*folder(file(b"..")), DONE],
    "itself": [*folder(file(b".")), DONE],
    "no name": [*folder(file(b"")), DONE],
    "a way out": [*folder(file(b"../../evil")), DONE],
    "a path": [*folder(file(b"a/b")), DONE],
    "an absolute path": [*folder(file(b"/evil")), DONE],
    "a name twice": [*folder(file(b"a"), file(b"a")), DONE],
    "a link twice": [*folder(link(b"a", b"b"), link(b"a", b"c")), DONE],
    "a link for a folder": [*folder(link(b"a", b"b"), folder(file(b"c"), name=b"a")), DONE],
    "a link alone": [*link(b"", b"b"), DONE],
    "a device": [*folder([entry(stat.S_IFCHR | 0o666, b"null")]), DONE],
    "no type": [*folder([entry(0o644, b"a")]), DONE],
    "more behind the end": [*file(), DONE, *file()],
}


@pytest.mark.parametrize("kind", HOSTILE)
async def test_invalid_tree_is_refused_and_removed(carry: Carry, tmp_path: Path, kind: str) -> None:
    with pytest.raises(FileError, match="/from: ") as caught:
        await carry.get(HOSTILE[kind], tmp_path / "inner/to")
    assert caught.value.errno in (errno.EBADMSG, errno.EIO)
    assert caught.value.filename == "/from"
    assert below(tmp_path) <= {"inner"}
    assert carry.guest.error is None


async def test_downloaded_archive_equals_a_copy(carry: Carry) -> None:
    made = io.BytesIO()
    tree = folder(file(b"a", mode=FILE | 0o7777), link(b"out", b"/etc/passwd"), link(b"in", b"a"))
    received = await carry.answer([*tree, DONE], guest_files.get_archive, "/from", made)
    assert (received.path, received.left_out) == (Path("from"), ("out",))
    made.seek(0)
    with tarfile.open(fileobj=made) as archive:
        members = [(each.name, each.mode, each.linkname) for each in archive]
    assert members == [("from", 0o755, ""), ("from/a", 0o755, ""), ("from/in", 0o777, "a")]


@pytest.mark.parametrize("kind", ["half a folder", "a way out", "noise"])
async def test_invalid_tree_writes_nothing_to_the_archive(carry: Carry, kind: str) -> None:
    made = io.BytesIO()
    with pytest.raises(FileError):
        await carry.answer(HOSTILE[kind], guest_files.get_archive, "/from", made)
    assert made.getvalue() == b""


@pytest.mark.parametrize("depth", [files.MAX_DEPTH, files.MAX_DEPTH + 1])
async def test_depth_of_folders_is_limited(carry: Carry, tmp_path: Path, depth: int) -> None:
    tree = [*folder(deep(depth - 1)), DONE]
    if depth == files.MAX_DEPTH:
        assert (await carry.get(tree, tmp_path / "to")).files == depth + 1
        return
    with pytest.raises(FileError, match="nested more than 128 deep") as caught:
        await carry.get(tree, tmp_path / "to")
    assert caught.value.errno == errno.ENAMETOOLONG
    assert below(tmp_path) == set()


async def test_existing_destination_may_be_a_mount_point(carry: Carry, tmp_path: Path) -> None:
    with small_disk(tmp_path / "to", "1m") as to:
        tree = [*folder(file(b"a"), folder(link(b"l", b"../a"), name=b"f")), DONE]
        received = await carry.answer(tree, guest_files.get, "/from/.", to)
        assert received.files == 4
        assert below(to) == {"a", "f", "l"}


async def test_host_errors_name_the_destination(carry: Carry, tmp_path: Path) -> None:
    (tmp_path / "from/a").mkdir(parents=True)
    with pytest.raises(IsADirectoryError) as caught:
        await carry.get([*file(), DONE], tmp_path)
    assert (caught.value.filename, caught.value.filename2) == (str(tmp_path / "from"), None)
    with pytest.raises(FileNotFoundError) as missing:
        await carry.get([*file(), DONE], Path("/proc/1/new"))
    assert missing.value.filename == "/proc/1"


@asynccontextmanager
async def turns(each: Callable[[], int]) -> AsyncIterator[list[int]]:
    """Count the turns of the event loop and call a function in each, while the block runs."""
    seen = [0]

    async def look() -> None:
        while True:
            seen.append(each())
            await asyncio.sleep(0)

    looking = asyncio.create_task(look())
    try:
        yield seen
    finally:
        looking.cancel()
        await asyncio.wait([looking])


async def test_download_of_many_files_lets_other_tasks_run(
    carry: Carry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop writes a few files at a time; other threads merge and remove them."""
    threads: dict[str, threading.Thread] = {}

    def noted(name: str, function: Callable[..., None]) -> Callable[..., None]:
        def call(*args: Any, **how: Any) -> None:
            threads[name] = threading.current_thread()
            function(*args, **how)

        return call

    monkeypatch.setattr(staging, "_merge", noted("merge", staging._merge))
    monkeypatch.setattr(staging, "_empty", noted("remove", staging._empty))
    tree = folder(*(file(b"%d" % number, b"") for number in range(1000)))

    def arrived() -> int:
        return sum(len(list(path.iterdir())) for path in tmp_path.glob(".microvm-*/tree"))

    async with turns(arrived) as seen:
        await carry.answer([*tree, DONE], guest_files.get, "/from/.", tmp_path)
    assert max(after - before for before, after in pairwise(seen)) <= MESSAGES_PER_TURN
    assert len(below(tmp_path)) == 1000
    assert threads.keys() == {"merge", "remove"}
    assert threading.main_thread() not in threads.values()


async def test_upload_of_many_chunks_lets_other_tasks_run(carry: Carry) -> None:
    given = 0

    def pieces() -> Iterator[bytes]:
        nonlocal given
        while given < 1000:
            given += 1
            yield b"x"

    async with turns(lambda: given) as seen:
        await carry.answer([DONE], guest_files.write_file, "/to", pieces(), None)
    assert max(after - before for before, after in pairwise(seen)) <= MESSAGES_PER_TURN
    assert given == 1000


OUT = [
    *(b"/etc/passwd", b"..", b"../..", b"a/../../x", b"inner/..", b"./../x", b""),
    b"inner/deep/../..",
]


@pytest.mark.parametrize("target", OUT)
async def test_link_that_leads_out_is_skipped(carry: Carry, tmp_path: Path, target: bytes) -> None:
    tree = folder(link(b"l", target), file(b"a"))
    received = await carry.get([*tree, DONE], tmp_path / "to")
    assert (received.files, received.left_out) == (2, ("l",))
    assert [path.name for path in (tmp_path / "to").iterdir()] == ["a"]


async def test_no_chain_of_links_leads_out_of_the_tree(carry: Carry, tmp_path: Path) -> None:
    links = [(b"self", b"."), (b"up", b".."), (b"far", b"self/self/self/../../..")]
    inner = folder(*(link(*each) for each in links), name=b"inner")
    tree = folder(inner, link(b"chain", b"inner/up/inner"))
    received = await carry.get([*tree, DONE], tmp_path / "to")
    assert received.left_out == ("inner/far",)
    assert_inside(tmp_path / "to", "inner/self", "inner/up", "chain")


async def test_harmful_bits_of_a_mode_are_removed(carry: Carry, tmp_path: Path) -> None:
    modes = {b"a": 0o7777, b"b": 0o4111, b"c": 0, b"d": 0o2644, b"e": 0o666}
    tree = folder(*(file(name, mode=stat.S_IFREG | mode) for name, mode in modes.items()))
    await carry.get([*tree, DONE], tmp_path / "to")
    kept = [stat.S_IMODE((tmp_path / "to" / os.fsdecode(name)).stat().st_mode) for name in modes]
    assert kept == [0o755, 0o711, 0o600, 0o644, 0o644]


async def test_existing_links_are_not_followed(carry: Carry, tmp_path: Path) -> None:
    outside, to = tmp_path / "outside", tmp_path / "to/from"
    outside.mkdir()
    (outside / "a").write_text("untouched")
    to.mkdir(parents=True)
    (to / "a").symlink_to(outside / "a")
    (to / "kept").write_text("kept")
    await carry.get([*folder(file(b"a")), DONE], tmp_path / "to")
    assert not (to / "a").is_symlink()
    assert ((outside / "a").read_text(), (to / "kept").read_text()) == ("untouched", "kept")
    (to / "f").symlink_to(outside)
    tree = [*folder(file(b"new"), folder(file(b"a"), name=b"f")), DONE]
    with pytest.raises(NotADirectoryError) as caught:
        await carry.get(tree, tmp_path / "to")
    assert not isinstance(caught.value, FileError)
    assert (outside / "a").read_text() == "untouched"
    assert not (to / "new").exists()


async def test_folders_and_files_do_not_replace_each_other(carry: Carry, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "from").mkdir()
    (tmp_path / "from/a").mkdir()
    with pytest.raises(NotADirectoryError):
        await carry.get([*folder(file(b"a")), DONE], tmp_path / "file")
    with pytest.raises(IsADirectoryError):
        await carry.get([*folder(file(b"a")), DONE], tmp_path)
    with pytest.raises(IsADirectoryError):
        await carry.get([*file(), DONE], tmp_path)
    assert below(tmp_path) == {"file", "from", "a"}


@pytest.mark.parametrize(
    ("how", "tree"),
    [
        ({"max_size": 9}, [*file(data=b"0123456789"), DONE]),
        ({"max_size": "9"}, [*folder(file(b"a", b"01234"), file(b"b", b"56789")), DONE]),
        ({"max_files": 2}, [*folder(file(b"a"), link(b"b", b"a")), DONE]),
        ({"max_files": 0}, [*file(), DONE]),
    ],
)
async def test_download_beyond_a_limit_is_refused(
    carry: Carry, tmp_path: Path, how: dict[str, Any], tree: list[files.Message]
) -> None:
    with pytest.raises(FileError, match="exceeds a limit") as caught:
        await carry.get(tree, tmp_path / "to", **how)
    assert caught.value.errno == errno.EFBIG
    assert next(iter(how)) in caught.value.hint
    assert below(tmp_path) == set()


@pytest.mark.thorough
async def test_endless_answers_use_little_memory(carry: Carry, memory: Callable[[], int]) -> None:
    names = b"".join(entry(FILE, b"%d" % number).encode() for number in range(100_000))
    held = memory()
    with pytest.raises(FileError, match="exceeds a limit"):
        await carry.answer(names, guest_files.list, "/from", max_files=100)
    assert memory() - held < 8 << 20


@pytest.mark.parametrize("name", [b"../../etc/cron.d/x", b"/etc/passwd", b"a/b", b"..", b".", b""])
async def test_invalid_name_in_a_list_is_refused(carry: Carry, name: bytes) -> None:
    with pytest.raises(FileError, match=r"/from: .* is no name of a file") as caught:
        await carry.answer([entry(FILE, b"a"), entry(FILE, name), DONE], guest_files.list, "/from")
    assert caught.value.errno == errno.EBADMSG


@pytest.mark.parametrize("code", [errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES])
async def test_only_some_errors_mean_that_a_file_does_not_exist(carry: Carry, code: int) -> None:
    failure = files.Failure(subject=files.Subject.PATH, error_number=code, path=b"/from")
    asked = carry.answer([failure], guest_files.exists, "/from")
    if code == errno.EACCES:
        with pytest.raises(PermissionError):
            await asked
    else:
        assert not await asked


def long_links(count: int) -> bytes:
    return b"".join(entry(LINK, b"%d" % n, b"\xff" * 4095).encode() for n in range(count))


async def test_names_and_targets_are_limited(carry: Carry, tmp_path: Path) -> None:
    """The default maximum of 100,000 files cannot all have a path of 4 KiB."""
    tree = entry(FOLDER).encode() + long_links(4000)
    with pytest.raises(FileError, match="exceeds a limit") as caught:
        await carry.get(tree, tmp_path / "to")
    assert (caught.value.errno, "max_files" in caught.value.hint) == (errno.EFBIG, True)


async def test_listed_names_and_targets_are_limited(carry: Carry) -> None:
    with pytest.raises(FileError, match="exceeds a limit"):
        await carry.answer(long_links(4000), guest_files.list, "/from")


async def test_skipped_links_take_little_memory(
    carry: Carry, tmp_path: Path, memory: Callable[[], int]
) -> None:
    """Each path may have up to 32 KiB."""
    tree = b"".join(
        (
            *[entry(FOLDER, b"\xff" * 255).encode()] * files.MAX_DEPTH,
            *(entry(LINK, b"%d" % number, b"/x").encode() for number in range(1000)),
            *[WHOLE.encode()] * files.MAX_DEPTH,
            DONE.encode(),
        )
    )
    held = memory()
    received = await carry.get(tree, tmp_path / "to")
    assert (received.left_out_count, len(received.left_out)) == (1000, 100)
    assert received.left_out[99].endswith("/99")
    assert received.files == files.MAX_DEPTH
    assert memory() - held < 16 << 20


@contextmanager
def few_files(more: int) -> Iterator[None]:
    """Limit this process to this number of additional open files during the block."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = open_files()
    free = (number for number in count() if number not in taken)
    resource.setrlimit(resource.RLIMIT_NOFILE, (next(islice(free, more, None)), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("more", range(6))
async def test_lack_of_descriptors_leaves_no_files(carry: Carry, tmp_path: Path, more: int) -> None:
    with (
        few_files(more),
        pytest.raises(OSError, match=r"Too many open files|does not fit the request"),
    ):
        await carry.get([*folder(deep(60)), *file(), DONE], tmp_path / "to")
    assert below(tmp_path) == set()


async def test_downloaded_files_ignore_the_umask(carry: Carry, tmp_path: Path) -> None:
    tree = folder(folder(file(b"a", mode=stat.S_IFREG | 0o777), name=b"f"))
    mask = os.umask(0)
    try:
        await carry.get([*tree, DONE], tmp_path / "to")
    finally:
        os.umask(mask)
    for path in (tmp_path / "to", tmp_path / "to/f", tmp_path / "to/f/a"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o755


async def test_folder_replaced_by_a_link_is_not_followed(
    carry: Carry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user who may write to the destination may change it at any time."""
    outside, inner = tmp_path / "outside", tmp_path / "to/from/f"
    outside.mkdir()
    inner.mkdir(parents=True)
    look = staging._mode

    def change(name: str, descriptor: int) -> int:
        mode = look(name, descriptor)
        if Path(f"/proc/self/fd/{descriptor}", name).resolve() == inner:
            inner.rmdir()
            inner.symlink_to(outside)
        return mode

    monkeypatch.setattr(staging, "_mode", change)
    with pytest.raises(NotADirectoryError):
        await carry.get([*folder(folder(file(b"a"), name=b"f")), DONE], tmp_path / "to")
    assert inner.is_symlink()
    assert below(outside) == set()


async def test_transfer_fails_if_the_guest_never_answers(guest: Guest, peer: Peer) -> None:
    async def silent() -> None:
        await peer.expect(codec.ExecRequest)
        await peer.say(codec.ExecStdinCredit(peer.id, PLENTY))
        await peer.expect(codec.ExecStdin)
        await peer.is_killed()
        await peer.exit(9, codec.Ending.SIGNALLED)

    playing = asyncio.create_task(silent())
    with pytest.raises(ExecTimeout, match="transfer of /from"):
        await guest_files.read_file(guest, "/from", timeout="50ms")
    await playing
    assert guest.error is None


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOENT, FileNotFoundError),
        (errno.EACCES, PermissionError),
        (errno.EPERM, PermissionError),
        (errno.EISDIR, IsADirectoryError),
        (errno.ENOTDIR, NotADirectoryError),
        (errno.EEXIST, FileExistsError),
        (errno.ENOSPC, OSError),
        (0, OSError),
        (0xFFFFFFFF, OSError),
    ],
)
async def test_failure_is_an_os_error(carry: Carry, number: int, kind: type[OSError]) -> None:
    failure = files.Failure(subject=files.Subject.PATH, error_number=number, path=b"/a\x1b\xff")
    with pytest.raises(kind) as caught:
        await carry.answer([failure], guest_files.read_file, "/from")
    error = caught.value
    assert isinstance(error, FileError)
    assert (error.errno, error.filename) == (number, "/a\\x1b\\xff")
    assert "\x1b" not in str(error)
    assert "Success" not in str(error)


@pytest.mark.thorough
async def test_cleanup_of_the_guest_has_a_time_limit(
    guest: Guest, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("microvm.guest.exchange._CLEANUP_TIMEOUT", 0.05)

    async def deaf() -> None:
        await peer.expect(codec.ExecRequest)
        await peer.say(codec.ExecStdinCredit(peer.id, PLENTY))
        while (await peer.expect(codec.ExecStdin)).data:
            pass  # up to the end, after which the host does not wait forever
        await peer.is_killed()
        await peer.exit(9, codec.Ending.SIGNALLED)

    def failing() -> Iterator[bytes]:
        yield b"half"
        raise TimeoutError("of whoever gives the data")

    playing = asyncio.create_task(deaf())
    with pytest.raises(TimeoutError, match="whoever gives"):
        await guest_files.write_file(guest, "/to", failing(), None)
    await playing
    assert guest.error is None


async def test_other_version_of_carry_is_reported(carry: Carry) -> None:
    with pytest.raises(ImageError, match="another version of microvm") as caught:
        await carry.answer(b"", guest_files.read_file, "/from", status=2)
    assert "microvm image build" in caught.value.hint


async def fail_to_start(peer: Peer, stage: codec.Stage, number: int) -> None:
    await peer.expect(codec.ExecRequest)
    await peer.say(codec.ExecFailed(peer.id, stage, number))


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EACCES, errno.ENOEXEC, errno.ELOOP])
async def test_missing_carry_is_reported(guest: Guest, peer: Peer, number: int) -> None:
    playing = asyncio.create_task(fail_to_start(peer, codec.Stage.EXEC, number))
    with pytest.raises(ImageError, match="another version of microvm") as caught:
        await guest_files.read_file(guest, "/from")
    assert "microvm image rm" in caught.value.hint
    await playing


@pytest.mark.parametrize("stage", [codec.Stage.EXEC, codec.Stage.FORK])
async def test_lack_of_memory_is_a_file_error(guest: Guest, peer: Peer, stage: codec.Stage) -> None:
    playing = asyncio.create_task(fail_to_start(peer, stage, errno.ENOMEM))
    with pytest.raises(FileError, match="the transfer of /from: ") as caught:
        await guest_files.read_file(guest, "/from")
    assert (caught.value.errno, caught.value.exit_status) == (errno.ENOMEM, 125)
    await playing


async def test_invalid_request_is_not_sent(guest: Guest, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        await guest_files.put(guest, tmp_path / "none", "/to")
    assert not isinstance(caught.value, FileError)
    for asking in (
        guest_files.read_file(guest, "/a\0b"),
        guest_files.read_file(guest, "x" * 5000),
        guest_files.read_file(guest, 7),  # type: ignore[arg-type]
        guest_files.read_file(guest, "/a", max_size=-1),
        guest_files.read_file(guest, "/a", user=""),
        guest_files.write_file(guest, "/a", b"", 0o10000),
        guest_files.get(guest, "/a", tmp_path, max_files=-1),
    ):
        with pytest.raises(UsageError):
            await asking
