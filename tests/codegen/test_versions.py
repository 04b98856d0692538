"""Tests that old and new codecs, in both languages, understand each other at a common version."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microvm_proto.released import canonical
from microvm_proto.resolve import read_schema

from .common import GROWN, Load
from .test_agreement import HEADER, QUICK, CodecPair, build, codec_of, frames, mutations

VERSIONS = read_schema(GROWN).versions


class Ages(NamedTuple):
    """The codecs of a schema, and those of its older version."""

    version: int
    old: CodecPair
    new: CodecPair

    def opinions(self, frame: bytes, sender: str) -> list[tuple[object, ...]]:
        """Return the results of the four codecs for a frame in the older version."""
        return [
            self.old.by_python(frame, sender),
            self.old.by_c(frame, sender),
            self.new.by_python(frame, sender, self.version),
            self.new.by_c(frame, sender, self.version),
        ]


MakePair = Callable[[str], CodecPair]


@pytest.fixture(scope="module")
def make(load: Load, tmp_path_factory: pytest.TempPathFactory) -> MakePair:
    """Generate and build both codecs of a schema in text form."""

    def make(text: str) -> CodecPair:
        folder = tmp_path_factory.mktemp("version")
        (folder / "schema.toml").write_text(text)
        schema = read_schema(folder / "schema.toml")
        codec = codec_of(schema, folder, load)
        libraries = build(schema, folder)
        room = ctypes.create_string_buffer(HEADER + schema.max_body)
        return CodecPair(schema, codec.python, codec.plain, libraries, room)

    return make


@pytest.fixture(scope="module")
def new(make: MakePair) -> CodecPair:
    return make(GROWN.read_text())


@pytest.fixture(scope="module", params=VERSIONS)
def ages(request: pytest.FixtureRequest, make: MakePair, new: CodecPair) -> Ages:
    """Each older version with its codecs, and those of the newest version."""
    version: int = request.param
    return Ages(version, make(canonical(new.schema.at(version))), new)


@pytest.mark.thorough
@given(data=st.data())
@QUICK
def test_new_codec_decodes_and_encodes_old_frames(ages: Ages, data: st.DataObject) -> None:
    sender, frame = data.draw(frames(ages.old))
    assert ages.opinions(frame, sender) == [(frame,)] * 4
    # The default values are equal, too.
    versions = (ages.version, ages.new.schema.version)
    assert ages.new.by_python(frame, sender, *versions) == ages.new.by_c(frame, sender, *versions)


@pytest.mark.thorough
@given(data=st.data())
@settings(QUICK, max_examples=200)
def test_old_and_new_refuse_a_frame_with_the_same_error(ages: Ages, data: st.DataObject) -> None:
    # A frame of the newest version has values that the older one must refuse.
    _, frame = data.draw(st.sampled_from([ages.old, ages.new]).flatmap(frames))
    for changed in [frame, *data.draw(st.lists(mutations(frame), min_size=4, max_size=4))]:
        for sender in ages.new.schema.ends:
            first, *others = ages.opinions(changed, sender)
            assert others == [first] * 3, changed.hex()


@pytest.mark.thorough
@given(data=st.data())
@QUICK
def test_encoders_refuse_values_of_later_versions(ages: Ages, data: st.DataObject) -> None:
    sender, frame = data.draw(frames(ages.new))
    newest = ages.new.schema.version
    (written,) = ages.new.by_python(frame, sender, newest, ages.version)
    assert ages.new.by_c(frame, sender, newest, ages.version) == (written,)
    if written == "refused":
        assert ages.version < newest
    else:
        assert isinstance(written, bytes)
        assert ages.opinions(written, sender) == [(written,)] * 4


REFUSED = [
    ("Latest()", 3, "UNKNOWN_TYPE", "type: latest was added in version 4"),
    ("Paint(Colour.GREEN, 1)", 2, "UNKNOWN_VALUE", "colour: 1 was added in version 3"),
    (
        "Every(1, 2, b'', plain=1)",
        1,
        "TRAILING_BYTES",
        "plain: it was added in version 2; in older versions it can only be 0",
    ),
    (
        "Every(1, 2, b'', count=-7, colour=Colour.RED)",
        2,
        "TRAILING_BYTES",
        "colour: it was added in version 3; in older versions it can only be <Colour.GREEN: 1>",
    ),
]


@pytest.mark.parametrize(("message", "version", "fault", "said"), REFUSED)
def test_refusal_names_the_version_that_added_the_value(
    message: str, version: int, fault: str, said: str, new: CodecPair
) -> None:
    with pytest.raises(new.python.EncodeError) as caught:
        eval(message, vars(new.python)).encode(version)  # noqa: S307
    assert (caught.value.fault.name, str(caught.value)) == (fault, said)
    assert eval(message, vars(new.python)).encode(version + 1)  # noqa: S307


def test_a_field_that_came_later_is_a_keyword_with_a_default(new: CodecPair) -> None:
    codec = new.python
    message = codec.Every(1, 2, b"rest")
    assert (message.count, message.words, message.colour) == (-7, (), codec.Colour.GREEN)
    assert codec.Every.__match_args__ == ("id", "first", "rest")


@pytest.mark.parametrize("version", VERSIONS)
def test_decoder_sets_defaults_for_fields_of_later_versions(version: int, new: CodecPair) -> None:
    codec = new.python
    message = codec.Every(1, 2, b"rest")
    decoder = codec.Decoder("left", version)
    decoder.receive_data(message.encode(version))
    assert decoder.next_message() == message


def test_agreed_version_applies_from_the_next_message(new: CodecPair) -> None:
    codec = new.python
    decoder = codec.Decoder("left")
    message = codec.Late(1, 2, colour=codec.Colour.RED)
    decoder.receive_data(codec.Hello(1).encode(1) + message.encode() + message.encode(2))
    assert decoder.next_message() == codec.Hello(1)
    assert decoder.next_message() == message
    decoder.version = 2
    assert decoder.next_message() == message


@pytest.mark.parametrize("version", [0, 5])
def test_decoder_refuses_an_unknown_version(version: int, new: CodecPair) -> None:
    with pytest.raises(ValueError, match=f"version {version} is not between 1 and 4"):
        new.python.Decoder("left", version)


@pytest.mark.thorough
def test_a_codec_knows_the_digest_that_each_older_version_had(ages: Ages) -> None:
    assert ages.new.python.DIGESTS[ages.version] == ages.old.python.DIGEST
    assert [*ages.new.python.DIGESTS] == VERSIONS


@pytest.mark.thorough
def test_frozen_messages_are_the_same_in_every_version(ages: Ages) -> None:
    codec = ages.new.python
    assert codec.Hello(7).encode(ages.version) == codec.Hello(7).encode()
