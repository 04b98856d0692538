"""The released form of a schema: a copy that is saved at a release, without documentation."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

from microvm_proto import types
from microvm_proto.framing import SIZES, Framing
from microvm_proto.schema import Message, Schema
from microvm_proto.states import Amount, Conversation, ConversationState

Value: TypeAlias = str | int | bool | float | list[str] | list[int]


def path_of(schema: Path) -> Path:
    """Return the path of the released form of a schema, which is in the same folder."""
    return schema.parent / f"{schema.stem}.released.toml"


def canonical(schema: Schema) -> str:
    """Return a schema as TOML, without documentation, outputs and default values.

    Declarations keep their order, because the generated code depends on it.
    """
    return "\n\n".join(table(head, keys) for head, keys in _tables(schema)) + "\n"


def table(head: str, keys: Mapping[str, Value | None]) -> str:
    """Return the text of a TOML table: the line `head`, and each key whose value is not None."""
    # Strings, numbers, booleans and lists of these have the same syntax in JSON as in TOML, so
    # write them as JSON.
    values = {key: json.dumps(value, ensure_ascii=False) for key, value in keys.items()}
    lines = [f"{key} = {text}" for key, text in values.items() if keys[key] is not None]
    return "\n".join([head, *lines])


def _tables(schema: Schema) -> Iterator[tuple[str, Mapping[str, Value | None]]]:
    yield (
        "[protocol]",
        {
            "name": schema.name,
            "version": schema.version,
            "ends": list(schema.ends),
            "reserved": sorted(schema.reserved) or None,
            "prefix": schema.prefix.name if schema.prefix != types.U32 else None,
        },
    )
    if schema.framing.given:
        yield "[framing]", _framing(schema.framing)
    for constant in schema.constants:
        yield "[[constant]]", {**_names(constant), "value": constant.value}
    for enumerated in schema.enumerated:
        key, member_key, number = enumerated.KEYS
        yield f"[[{key}]]", _enumerated(enumerated)
        for member in enumerated.members[enumerated.inherited :]:
            keys: dict[str, Value | None] = {"name": member.name, number: member.number}
            yield f"[[{key}.{member_key}]]", {**keys, "since": _since(member.since, 1)}
    for kind in schema.structs:
        yield "[[struct]]", _names(kind)
        for field in kind.fields:
            yield "[[struct.field]]", _described(field)
    for message in schema.messages:
        yield "[[message]]", _message(message)
        for field in message.fields:
            yield "[[message.field]]", _field(message, field)
    for conversation in schema.conversations:
        yield from _conversation(conversation, schema)


_Tables: TypeAlias = Iterator[tuple[str, Mapping[str, Value | None]]]


def _conversation(conversation: Conversation, schema: Schema) -> _Tables:
    both = {message.name for message in schema.messages if message.sender == "both"}
    yield (
        "[[conversation]]",
        _present(name=conversation.name, per=conversation.per, refusal=conversation.refusal),
    )
    for condition in conversation.conditions:
        yield "[[conversation.condition]]", {"name": condition.name}
    for state in conversation.states:
        own = _present(name=state.name, final=state.final, ids=[*state.ids])
        yield "[[conversation.state]]", {**own, **_ignored(state, schema)}
        for step in state.steps:
            yield (
                "[[conversation.state.step]]",
                {
                    "message": step.message,
                    "from": step.sender if step.message in both else None,
                    "next": step.following,
                    "when": step.condition or None,
                },
            )
    for request in conversation.requests:
        keys: dict[str, Value | None] = {"message": request.message}
        yield "[[conversation.request]]", {**keys, "answers": list(request.answers)}
    for counter in conversation.counters:
        yield "[[conversation.counter]]", _present(name=counter.name, max=counter.max)
        yield from (("[[conversation.counter.add]]", _amount(each)) for each in counter.adds)
        yield from (("[[conversation.counter.take]]", _amount(each)) for each in counter.takes)


def _ignored(state: ConversationState, schema: Schema) -> Mapping[str, Value | None]:
    """Return the keys of a state that contain its ignored messages.

    If a state ignores all messages of a side, the keys do not list these messages.
    """
    certain = {(step.message, step.sender) for step in state.steps if not step.condition}
    sides = [
        end
        for end in schema.ends
        if any(each.sender == end for each in state.ignored)
        and all(
            state.ignores(message.name, end) or (message.name, end) in certain
            for message in schema.sent_by(end)
        )
    ]
    names = dict.fromkeys(each.message for each in state.ignored if each.sender not in sides)
    return _present(ignore=[*names], ignore_from=sides)


def _amount(amount: Amount) -> Mapping[str, Value | None]:
    keys = {"message": amount.message, "field": amount.field, "when": amount.condition}
    return _present(**keys, **{"from": amount.sender})


def _present(**keys: Value | None) -> Mapping[str, Value | None]:
    """Return the keys without those that are false, empty or missing."""
    return {key: value for key, value in keys.items() if value}


def _framing(framing: Framing) -> Mapping[str, Value | None]:
    names = {size: name for name, size in SIZES.items()}
    return {
        "kind": framing.kind,
        **{key: names[getattr(framing, key)] for key in ("type", "id")},
        "length": names[framing.length] if framing.kind == "stream" else None,
        "sequence": framing.sequence or None,
        "check": framing.check if framing.check_size else None,
        "mtu": framing.mtu,
    }


def _since(since: int, otherwise: int) -> int | None:
    return since if since != otherwise else None


def _names(named: types.Named) -> Mapping[str, Value | None]:
    return {
        "name": named.name,
        "c_name": named.renamed.c or None,
        "python_name": named.renamed.python or None,
    }


def _enumerated(kind: types.Enumerated) -> Mapping[str, Value | None]:
    return {
        **_names(kind),
        "type": kind.base.name,
        "closed": kind.closed,
        "extends": "fault" if kind.inherited else None,
        "reserved": sorted(kind.reserved) or None,
    }


def _message(message: Message) -> Mapping[str, Value | None]:
    return {
        **_names(message),
        "number": message.number,
        "sender": message.sender,
        "id": message.id,
        "frozen": message.frozen or None,
        "since": _since(message.since, 1),
    }


def _field(message: Message, field: types.Field) -> Mapping[str, Value | None]:
    return {
        **_described(field),
        "equals": field.equals,
        "since": _since(field.since, message.since),
        "default": default_of(field) if message.is_later(field) else None,
    }


def _described(field: types.Field) -> Mapping[str, Value | None]:
    meaning = {"absent": field.absent, "unit": field.unit or None, "scale": field.scale}
    return {**_names(field), **_type(field.type), **meaning}


def _type(kind: types.Type) -> Mapping[str, Value | None]:
    match kind:
        case types.Float(name=name, finite=finite):
            return {"type": name, "finite": finite or None}
        case types.Array(element=element, count=count):
            return {**_type(element), "count": count}
        case types.List(element=element):
            return {**_type(element), "type": f"list<{element.name}>", **types.bounds(kind)}
        case types.Bytes(nul=nul) | types.Text(nul=nul) | types.ByteList(nul=nul):
            return {"type": kind.name, **types.bounds(kind), "nul": None if nul else False}
    return {"type": kind.name, **types.bounds(kind)}


def default_of(field: types.Field) -> Value | None:
    """Return the default of a field as a schema states it; None if a schema need not state it."""
    match field.type:
        case types.Enum(members=values):
            names = [value.name for value in values if value.number == field.default]
            return names[0] if names else None
        case types.Flags(members=bits):
            return [bit.name for bit in bits if field.default & bit.mask] or None
        case types.Bool():
            return bool(field.default) or None
        case types.Float() as kind if field.default:
            return kind.number(field.default)
    return field.default or None
