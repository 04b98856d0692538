"""Tests of carry, the program that reads and writes files of a guest, as a process."""

from __future__ import annotations

import errno
import glob
import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.carry import DONE, Carry, Run, decoded, encoded, failure, request
from tests.support.daemon import both_builds

from microvm.guest.pattern import Pattern
from microvm.wire import files
from microvm.wire.files import Action, ModeRule

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="acting as others takes root")

FILE = stat.S_IFREG | 0o640
FOLDER = stat.S_IFDIR | 0o750
LINK = stat.S_IFLNK | 0o777
SECOND = 1_000_000_000


def entry(mode: int, name: bytes = b"", target: bytes = b"", mtime: int = SECOND) -> files.Entry:
    return files.Entry(mode=mode, size=0, mtime=mtime, uid=0, gid=0, name=name, target=target)


def put(path: Path | str, *tree: files.Message, **fields: Any) -> list[files.Message]:
    return [request(Action.PUT, path, **fields), *tree]


def content(data: bytes, name: bytes = b"", mode: int = FILE) -> list[files.Message]:
    return [entry(mode, name), files.Data(data=data), files.Whole()]


def opened(folder: Path, mode: int = 0o001) -> None:
    """Give all users the permission to enter a folder, or other permissions for it."""
    for each in (folder, *folder.parents):
        each.chmod(each.stat().st_mode | mode)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_file_is_written_with_its_mode_and_time(carry: Carry, tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    assert carry(*put(path, *content(b"content"))) == DONE
    assert path.read_bytes() == b"content"
    status = path.stat()
    assert (status.st_mode, status.st_mtime_ns) == (FILE, SECOND)
    assert names_in(path.parent) == ["file"]


@both_builds
def test_folder_is_written_with_all_its_entries(carry: Carry, tmp_path: Path) -> None:
    tree = [
        entry(FOLDER),
        *content(b"one", b"file"),
        entry(FOLDER, b"inner"),
        *content(b"", b"empty"),
        files.Whole(),
        entry(LINK, b"link", b"inner/empty"),
        files.Whole(),
    ]
    assert carry(*put(tmp_path / "new", *tree)) == DONE
    new = tmp_path / "new"
    assert names_in(new) == ["file", "inner", "link"]
    assert (new / "file").read_bytes() == b"one"
    assert (new / "link").readlink() == Path("inner/empty")
    assert stat.S_IMODE(new.stat().st_mode) == 0o750
    assert new.stat().st_mtime_ns == SECOND


def test_existing_folder_gets_the_new_entries(carry: Carry, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("kept")
    tmp_path.chmod(0o700)
    assert carry(*put(tmp_path, entry(FOLDER), *content(b"new", b"new"), files.Whole())) == DONE
    assert names_in(tmp_path) == ["kept", "new"]
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


@pytest.mark.parametrize("ending", ["", "/", "/.", "/new/"])
def test_named_file_is_put_into_the_folder(carry: Carry, tmp_path: Path, ending: str) -> None:
    """A path with a slash at its end is a folder, which carry creates if it does not exist."""
    sent = put(f"{tmp_path}{ending}", *content(b"content"), name=b"name")
    assert carry(*sent) == DONE
    assert (tmp_path / ending.lstrip("/") / "name").read_bytes() == b"content"


def test_an_existing_file_keeps_inode_and_hard_links(carry: Carry, tmp_path: Path) -> None:
    path, other = tmp_path / "script", tmp_path / "other"
    path.write_text("old and long")
    path.chmod(0o755)
    other.hardlink_to(path)
    assert carry(*put(path, *content(b"new"), mode_rule=ModeRule.KEEP)) == DONE
    assert (other.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"new", 0o755)
    for rule in (ModeRule.PREFER, ModeRule.REQUIRE):
        path.chmod(0o755)
        assert carry(*put(path, *content(b"newer"), mode_rule=rule)) == DONE
        assert path.samefile(other)
        assert (other.read_bytes(), path.stat().st_mode) == (b"newer", FILE)
        assert path.stat().st_mtime_ns == SECOND
    tree = [entry(FOLDER), *content(b"tree", b"script"), files.Whole()]
    assert carry(*put(tmp_path, *tree)) == DONE
    assert other.read_bytes() == b"tree"


def test_a_mode_may_set_the_user_id(carry: Carry, tmp_path: Path) -> None:
    """A write clears the set-user-ID and set-group-ID bits, so they are set after it."""
    path = tmp_path / "program"
    path.write_text("old")
    assert carry(*put(path, *content(b"new", mode=stat.S_IFREG | 0o4755))) == DONE
    assert stat.S_IMODE(path.stat().st_mode) == 0o4755


def test_an_atomic_write_replaces_the_file(carry: Carry, tmp_path: Path) -> None:
    path, other = tmp_path / "script", tmp_path / "other"
    path.write_text("old")
    path.chmod(0o755)
    other.hardlink_to(path)
    carry(*put(path, *content(b"new"), mode_rule=ModeRule.KEEP, replace=1))
    assert (path.read_bytes(), other.read_bytes()) == (b"new", b"old")
    assert stat.S_IMODE(path.stat().st_mode) == 0o755
    carry(*put(path, *content(b"new"), mode_rule=ModeRule.REQUIRE, replace=1))
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert names_in(tmp_path) == ["other", "script"]


def test_a_dangling_link_is_written_through(carry: Carry, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("target")
    assert carry(*put(tmp_path / "link", *content(b"new"))) == DONE
    assert (tmp_path / "target").read_bytes() == b"new"
    assert (tmp_path / "link").is_symlink()


@as_root
@pytest.mark.parametrize("replace", [False, True])
def test_file_is_written_only_with_the_right_of_the_user(
    carry: Carry, tmp_path: Path, replace: bool
) -> None:
    opened(tmp_path)
    path = tmp_path / "file"
    path.write_text("kept")
    path.chmod(0o444)
    os.chown(path, 1234, 1234)
    os.chown(tmp_path, 1234, 1234)
    tree = [entry(FOLDER), *content(b"new", b"file"), files.Whole()]
    how = {"user": b"1234", "mode_rule": ModeRule.KEEP, "replace": int(replace)}
    for sent in (put(path, *content(b"new"), **how), put(tmp_path, *tree, **how)):
        answers = carry(*sent)
        if replace:
            assert (answers, path.read_text()) == (DONE, "new")
        else:
            assert (failure(answers), path.read_text()) == ((errno.EACCES, str(path)), "kept")
    assert stat.S_IMODE(path.stat().st_mode) == 0o444


@as_root
def test_mode_that_cannot_be_set_changes_nothing(carry: Carry, tmp_path: Path) -> None:
    opened(tmp_path)
    path = tmp_path / "file"
    path.write_text("kept")
    path.chmod(0o666)
    sent = put(path, *content(b"new"), user=b"1234", mode_rule=ModeRule.REQUIRE)
    assert failure(carry(*sent)) == (errno.EPERM, str(path))
    assert path.read_text() == "kept"
    assert carry(*put(path, *content(b"new"), user=b"1234")) == DONE
    status = path.stat()
    assert (path.read_text(), stat.S_IMODE(status.st_mode), status.st_uid) == ("new", 0o666, 0)


def test_links_are_followed_in_paths_and_not_in_trees(carry: Carry, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/file").write_text("old")
    (tmp_path / "file").symlink_to("real/file")
    (tmp_path / "folder").symlink_to("real")
    assert carry(*put(tmp_path / "file", *content(b"new"))) == DONE
    assert (tmp_path / "real/file").read_text() == "new"
    assert (tmp_path / "file").is_symlink()
    # Below the path, a link is replaced by a file, and does not count as a folder.
    assert carry(*put(tmp_path, entry(FOLDER), *content(b"3", b"file"), files.Whole())) == DONE
    assert not (tmp_path / "file").is_symlink()
    assert (tmp_path / "real/file").read_text() == "new"
    sent = put(tmp_path, entry(FOLDER), entry(FOLDER, b"folder"), *content(b"3", b"file"))
    assert failure(carry(*sent)) == (errno.ENOTDIR, str(tmp_path / "folder"))
    assert (tmp_path / "real/file").read_text() == "new"


def test_fifo_is_written_in_place(run: Run, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    descriptor = os.open(fifo, os.O_RDWR)
    try:
        run(encoded(*put(fifo, *content(b"content"))))
        assert os.read(descriptor, 100) == b"content"
    finally:
        os.close(descriptor)
    assert stat.S_ISFIFO(fifo.stat().st_mode)


@pytest.mark.parametrize("fresh", [True, False])
def test_truncated_tree_leaves_no_partial_file(run: Run, tmp_path: Path, fresh: bool) -> None:
    path = tmp_path / "folder"
    if not fresh:
        path.mkdir()
        (path / "half").write_text("whole")
    inner = [entry(FOLDER, b"inner"), *content(b"1", b"whole"), files.Whole()]
    half = [*content(b"", b"half")[:1], files.Data(data=b"0123456789")]
    done = run(encoded(*put(path, entry(FOLDER), *inner, *half))[:-5])
    assert (done.returncode, done.stdout) == (1, b"")
    if fresh:
        assert names_in(tmp_path) == []
    else:
        assert names_in(path) == ["half", "inner"]
        assert (path / "half").read_text() == "01234"


@pytest.mark.parametrize("name", [b"", b".", b"..", b"a/b", b"/a"])
def test_name_with_a_path_is_refused(run: Run, tmp_path: Path, name: bytes) -> None:
    sent = put(tmp_path / "new", entry(FOLDER), *content(b"x", name))
    assert run(encoded(*sent)).returncode == 1
    assert names_in(tmp_path) == []


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"\xff" * 64,
        files.Whole().encode(),
        request(Action.GET, "/").encode()[:-1],
        encoded(*put("/tmp/never", files.Whole())),
        encoded(*put("/tmp/never", entry(stat.S_IFSOCK))),
    ],
    ids=["nothing", "noise", "no request", "half a request", "no tree", "a socket"],
)
def test_malformed_input_ends_the_program_without_an_answer(run: Run, sent: bytes) -> None:
    done = run(sent)
    assert (done.returncode, done.stdout) == (1, b"")


def test_another_schema_is_refused_before_anything_is_read(run: Run) -> None:
    assert run(b"", digest=files.DIGEST ^ 1).returncode == 2


def test_a_tree_is_limited_to_the_maximum_depth(carry: Carry, tmp_path: Path) -> None:
    def sent(depth: int) -> list[files.Message]:
        folders = [entry(FOLDER), *[entry(FOLDER, b"d")] * (depth - 1)]
        return put(tmp_path / "new", *folders, *[files.Whole()] * depth)

    code, path = failure(carry(*sent(files.MAX_DEPTH + 1)))
    assert (code, path[-4:]) == (errno.ENAMETOOLONG, "/d/d")
    assert names_in(tmp_path) == []
    assert carry(*sent(files.MAX_DEPTH)) == DONE
    answers = carry(request(Action.GET, tmp_path / "new"))
    assert sum(isinstance(answer, files.Entry) for answer in answers) == files.MAX_DEPTH
    code, _ = failure(carry(request(Action.GET, tmp_path)))
    assert code == errno.ENAMETOOLONG


@both_builds
def test_file_of_proc_with_size_0_is_read_completely(carry: Carry, tmp_path: Path) -> None:
    data = os.urandom(300_000)
    (tmp_path / "file").write_bytes(data)
    first, *middle, whole, done = carry(request(Action.READ, tmp_path / "file"))
    assert isinstance(first, files.Entry)
    assert (first.size, first.name) == (len(data), b"")
    assert b"".join(m.data for m in middle if isinstance(m, files.Data)) == data
    assert (whole, done) == (files.Whole(), files.Done())
    answers = carry(request(Action.READ, "/proc/self/cmdline"))
    assert isinstance(answers[1], files.Data)
    assert b"carry" in bytes(answers[1].data)


@pytest.mark.parametrize("action", [Action.READ, Action.GET])
def test_special_file_is_sent_without_content(carry: Carry, tmp_path: Path, action: Action) -> None:
    """Carry does not wait for such a file, either."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path, kind in ((fifo, stat.S_IFIFO), ("/dev/zero", stat.S_IFCHR)):
        first, *rest = carry(request(action, path))
        assert isinstance(first, files.Entry)
        assert (stat.S_IFMT(first.mode), rest) == (kind, DONE)


def test_special_files_of_a_folder_are_not_sent(carry: Carry, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("/nowhere")
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner/file").write_bytes(b"content")
    answers = carry(request(Action.GET, tmp_path))
    entries = [answer for answer in answers if isinstance(answer, files.Entry)]
    assert {e.name: (stat.S_IFMT(e.mode), e.target) for e in entries} == {
        b"": (stat.S_IFDIR, b""),
        b"link": (stat.S_IFLNK, b"/nowhere"),
        b"inner": (stat.S_IFDIR, b""),
        b"file": (stat.S_IFREG, b""),
    }
    assert answers.count(files.Whole()) == 3
    assert answers[-1] == files.Done()
    assert failure(carry(request(Action.READ, tmp_path))) == (errno.EISDIR, str(tmp_path))


def test_list_and_stat_return_the_entries_of_a_folder(carry: Carry, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("fifo")
    for number in range(200):
        (tmp_path / f"file {number}").touch()
    *entries, done = carry(request(Action.LIST, tmp_path))
    assert done == files.Done()
    names = {entry.name: entry for entry in entries if isinstance(entry, files.Entry)}
    assert sorted(names) == [os.fsencode(name) for name in names_in(tmp_path)]
    assert names[b"link"].target == b"fifo"
    (followed, _) = carry(request(Action.STAT, tmp_path / "link"))
    (itself, _) = carry(request(Action.LSTAT, tmp_path / "link"))
    assert isinstance(followed, files.Entry)
    assert isinstance(itself, files.Entry)
    assert stat.S_ISFIFO(followed.mode)
    assert stat.S_ISLNK(itself.mode)
    assert itself.mtime == (tmp_path / "link").lstat().st_mtime_ns


def test_list_of_targets_follows_links(carry: Carry, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    (tmp_path / "dangling").symlink_to("nowhere")
    *entries, _ = carry(request(Action.LIST_TARGETS, tmp_path))
    kinds = {e.name: stat.S_IFMT(e.mode) for e in entries if isinstance(e, files.Entry)}
    assert kinds == {b"folder": stat.S_IFDIR, b"link": stat.S_IFDIR, b"dangling": stat.S_IFLNK}


PATTERNS = (
    "*.csv */b?.csv *-* .* .*/* */ ** **/b* **/c/** a/**/*.csv **/x/**/b1.csv link/* */link "
    "[ab]* [!ab]* [a-c]/b[0-2].csv [*] [[] []] [!]]* []-]* [a-] a[-]b [b-a]* [é-ü]* ?.ü ?.? [a ["
    " *a*b*c* a/b1.csv none* ü/*.x"
).split()


def test_patterns_match_as_those_of_python(carry: Carry, tmp_path: Path) -> None:
    paths = (
        "1.csv a/b1.csv a/b2.csv a/c/b1.csv a/c/x/b1.csv b/b10.csv .hidden/b1.csv a/.b1.csv * [ ] "
        "a-b - [a aXbXbYc ä.x é.ü x.ü ü/ä.x"
    )
    for path in paths.split():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("")
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "b/dangling").symlink_to("nowhere")
    os.mkfifo(tmp_path / "b/fifo")
    for text in PATTERNS:
        pattern = Pattern.parse(text)
        folder = tmp_path / pattern.base
        *entries, last = carry(request(Action.MATCH, folder, pattern=pattern.text))
        assert last == files.Done()
        found = {e.target: e.mode for e in entries if isinstance(e, files.Entry)}
        kept = {p for p, mode in found.items() if stat.S_ISDIR(mode) or not pattern.needs_folder}
        # In Python, `**` also follows links, and matches the folder before it at the end.
        expected = {
            path.rstrip("/")
            for path in glob.glob(text, root_dir=tmp_path, recursive=True)  # noqa: PTH207
            if (text.endswith("/") or not path.endswith("/"))
            and not ("**" in text and path.startswith("link/"))
        }
        assert set(map(pattern.path_of, kept)) == expected, text


def test_pattern_below_a_missing_folder_is_an_error(carry: Carry, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for name, error in (("none", errno.ENOENT), ("file", errno.ENOTDIR)):
        answers = carry(request(Action.MATCH, tmp_path / name, pattern=b"*"))
        assert failure(answers) == (error, str(tmp_path / name))
    (*entries, last) = carry(request(Action.MATCH, tmp_path / "none", pattern=b"plain"))
    assert (entries, last) == ([], files.Done())


@pytest.mark.parametrize(
    "action",
    [Action.STAT, Action.LIST, Action.GET, Action.READ, Action.REMOVE, Action.RENAME],
)
def test_error_of_a_missing_file_has_its_path(carry: Carry, tmp_path: Path, action: Action) -> None:
    none = tmp_path / "none"
    assert failure(carry(request(action, none))) == (errno.ENOENT, str(none))


def test_a_relative_path_is_relative_to_the_folder_that_is_named(
    carry: Carry, tmp_path: Path
) -> None:
    cwd = os.fsencode(tmp_path)
    assert carry(*put("new/file", *content(b"x"), cwd=cwd)) == DONE
    assert (tmp_path / "new/file").read_bytes() == b"x"
    assert carry(*put("file", *content(b"y"), cwd=cwd)) == DONE
    assert (tmp_path / "file").read_bytes() == b"y"


@as_root
def test_named_user_writes_files_with_the_named_owner(carry: Carry, tmp_path: Path) -> None:
    opened(tmp_path)
    tmp_path.chmod(0o777)
    assert carry(*put(tmp_path / "as", *content(b"x"), user=b"1234:5678")) == DONE
    status = (tmp_path / "as").stat()
    assert (status.st_uid, status.st_gid) == (1234, 5678)
    tree = [entry(FOLDER), *content(b"x", b"file"), entry(LINK, b"link", b"file"), files.Whole()]
    assert carry(*put(tmp_path / "a/for", *tree, owner=b"1234:5678")) == DONE
    for path in ("a", "a/for", "a/for/file", "a/for/link"):
        status = (tmp_path / path).lstat()
        assert (status.st_uid, status.st_gid) == (1234, 5678)
    # A file that exists keeps its owner, unless another owner is named.
    for replace, owner, uid in ((0, b"", 1234), (1, b"", 1234), (0, b"1", 1), (1, b"2", 2)):
        assert carry(*put(tmp_path / "as", *content(b"y"), replace=replace, owner=owner)) == DONE
        assert (tmp_path / "as").stat().st_uid == uid
    sent = put(tmp_path / "other", *content(b"x"), user=b"1234", owner=b"0")
    assert failure(carry(*sent))[0] == errno.EPERM
    assert not (tmp_path / "other").exists()


RACER = """
import os, sys
folder, moved, victim = sys.argv[1:]
os.setgid(1234)
os.setuid(1234)
print("ready", flush=True)
while True:
    try:
        os.rename(folder, moved)
        break
    except FileNotFoundError:
        pass
os.symlink(victim, folder)
"""


@pytest.mark.thorough
@as_root
def test_replaced_folder_does_not_change_the_owner_of_others(binary: Path, tmp_path: Path) -> None:
    opened(tmp_path)
    theirs, victim = tmp_path / "theirs", tmp_path / "victim"
    theirs.mkdir()
    victim.mkdir()
    os.chown(theirs, 1234, 1234)
    racer: list[str | Path] = [sys.executable, "-c", RACER, theirs / "a", theirs / "moved", victim]
    slowly = ["strace", "-o", os.devnull, "-e", "inject=chown,fchown,openat:delay_enter=100000"]
    sent = put(theirs / "a/file", *content(b"x"), owner=b"1234")
    with subprocess.Popen(racer, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        subprocess.run(
            [*slowly, binary.with_name("carry"), f"{files.DIGEST:016x}"],
            input=encoded(*sent),
            capture_output=True,
            check=False,
            timeout=60,
        )
        assert process.wait(60) == 0  # by this time, the other program has replaced the folder
    assert victim.stat().st_uid == 0


@as_root
def test_a_file_in_a_read_only_folder_is_written_in_place(carry: Carry, tmp_path: Path) -> None:
    opened(tmp_path, 0o005)
    (tmp_path / "file").write_text("old and long")
    os.chown(tmp_path / "file", 1234, 1234)
    inode = (tmp_path / "file").stat().st_ino
    assert carry(*put(tmp_path / "file", *content(b"new"), user=b"1234")) == DONE
    assert (tmp_path / "file").read_text() == "new"
    assert (tmp_path / "file").stat().st_ino == inode
    sent = put(tmp_path / "other", *content(b"new"), user=b"1234")
    assert failure(carry(*sent)) == (errno.EACCES, str(tmp_path / "other"))
    sent = put(tmp_path / "file", *content(b"newer"), user=b"1234", replace=1)
    assert failure(carry(*sent)) == (errno.EACCES, str(tmp_path / "file"))


def test_unknown_user_or_owner_is_named(carry: Carry, tmp_path: Path) -> None:
    for field, subject in (("user", files.Subject.USER), ("owner", files.Subject.OWNER)):
        (last,) = carry(request(Action.STAT, tmp_path, **{field: b"nobody here"}))
        assert isinstance(last, files.Failure)
        expected = (subject, errno.ENOENT, b"nobody here")
        assert (last.subject, last.error_number, last.path) == expected


NAMES = st.sampled_from([b"a", b"b", b".", b"..", b"", b"a/b", b"\xff"])
MODES = st.sampled_from([FILE, FOLDER, LINK, stat.S_IFIFO, 0])
TREES = st.lists(
    st.one_of(
        st.builds(entry, MODES, NAMES, st.sampled_from([b"", b"..", b"a", b"/"])),
        st.builds(files.Data, data=st.binary(max_size=9)),
        st.just(files.Whole()),
        st.just(files.Whole()),
    ),
    max_size=12,
)


@pytest.mark.thorough
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(tree=TREES, fresh=st.booleans(), cut=st.integers(0, 40))
def test_random_trees_stay_below_their_path(
    run: Run, tree: list[files.Message], fresh: bool, cut: int
) -> None:
    with tempfile.TemporaryDirectory() as above:
        home = Path(above, "home")
        home.mkdir()
        (home / "outside").write_text("untouched")
        if not fresh:
            (home / "to").mkdir()
            (home / "to/a").symlink_to("../outside")
        sent = encoded(*put(home / "to", entry(FOLDER), *tree))
        done = run(sent[: len(sent) - cut])
        assert done.returncode in (0, 1)
        assert names_in(Path(above)) == ["home"]
        assert (home / "outside").read_text() == "untouched"
        whole = done.returncode == 0 and isinstance(decoded(done.stdout)[-1], files.Done)
        assert names_in(home) == (["outside", "to"] if whole or not fresh else ["outside"])
        assert not any(path.name.startswith(".microvm-") for path in home.rglob("*"))
