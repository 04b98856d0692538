"""Generate a model of a schema's conversations in Promela, the language of the checker Spin.

The model contains the tables of both sides, and the steps by which each side sends and receives
messages. A file that includes the model defines its environment: channels, conditions, and the
reasons for which a side sends or reads nothing. The head of the model lists these definitions.
"""

from __future__ import annotations

from microvm_proto.backends.promela.rules import MessageRules
from microvm_proto.backends.promela.sides import moves
from microvm_proto.backends.promela.text import IDS, defines
from microvm_proto.schema import Output, Schema

_HEAD = """ *
 * An environment defines the following macros, includes this file, and then defines the inlines.
 * `side` is the side that sends or reads a message. `id` is a number from 1 to IDS, or 0. At most
 * one of the conditions that depend on the contents of a message holds: `contents` is its number,
 * or 0. `amount` is the number that a message adds to counters or takes from them. A counter is 0,
 * 1 or MANY, its maximum. An environment that needs larger counters defines NUMBER, the type of
 * counters, their maximum MANY, and SOME(side), the amount of the next message of a side. An
 * environment that needs more ids defines three macros: IDS, the number of ids; WITH_IDS(side,
 * chooses), which calls the inline `chooses` with each id that the next message of a side may have;
 * and IS_NEXT(side, id), which is true if a conversation may begin with this id.
 *
 *   CHANNEL                                     length of the channels
 *   CONVERSATION_CONDITION(side, id, contents)  whether a condition holds
 *   may_send(side, type, id, contents, amount)  whether the side can send the message now
 *   may_receive(side)                           whether the side can read a message now
 *   drops(side), is_taken(side)                 whether the message in type, id, ... is dropped,
 *                                               or taken, before the side looks at its tables
 *   take(side)                                  inline that handles the message that is taken
 *   prepare(side)                               inline that can change `contents` before sending
 *   sent(side), received(side), refused(side)   inlines that follow a message: in order or not
 *
 * Processes of the environment run SIDE_sends and SIDE_receives. A message that is ignored is
 * dropped as soon as all messages before it were read. An id is used again when both sides have
 * ended its conversation, and no message about it is on its way. */"""


def emit(schema: Schema, output: Output) -> dict[str, str]:
    """Generate the file with the model."""
    head = f"/* The conversations of {schema.name}, for Spin. Generated from {schema.source}."
    if not schema.conversations:
        return {output.path.name: f"{head} */\n"}
    rules = MessageRules(schema)
    parts = [f"{head}\n{_HEAD}", *_numbers(schema), _variables(schema)]
    parts += [*rules.forgetting(), *rules.of_messages(), *moves(schema, rules)]
    return {output.path.name: "\n\n".join(parts) + "\n"}


def _numbers(schema: Schema) -> list[str]:
    """Generate the numbers of sides, messages, conditions and states."""
    conditions = [each.name for one in schema.conversations for each in one.conditions]
    return [
        defines("", schema.ends, 0),
        defines("M_", [message.name for message in schema.messages], 1),
        *([defines("WHEN_", list(dict.fromkeys(conditions)), 1)] if conditions else []),
        *(
            defines(f"{each.name}_", [x.name for x in each.states], 0)
            for each in schema.conversations
        ),
    ]


def _variables(schema: Schema) -> str:
    kind = "byte" if len(schema.messages) < 200 else "short"
    lines = [
        *(_ids(each.name) for each in schema.conversations if each.per == "id"),
        "#ifndef NUMBER",
        "#define NUMBER byte",
        "#define MANY 2",
        "#define SOME(side) 1",
        "#endif",
        *(f"chan to_{end} = [CHANNEL] of {{ {kind}, byte, byte, NUMBER }};" for end in schema.ends),
        f"{kind} type, any_type;",
        "byte id, contents, any_id, any_contents, one;",
        "NUMBER amount, any_amount;",
    ]
    for each in schema.conversations:
        size = "2" if each.per == "connection" else "2 * IDS"
        requests = (f"{request.message}_open" for request in each.requests)
        counters = (counter.name for counter in each.counters)
        lines += [f"byte {each.name}[{size}];"]
        lines += [f"NUMBER {name}[{size}];" for name in (*requests, *counters)]
    return "\n".join(lines)


def _ids(conversation: str) -> str:
    """Generate the macros that choose the id of a new conversation: the lowest free id.

    The hand-written part of a model can define these macros itself, to choose ids in another way.
    """
    calls = (f":: chooses({at})" for at in range(1, IDS + 1))
    is_lowest = (f"((id) <= {at} || {conversation}[AT(side, {at})])" for at in range(1, IDS))
    return "\n".join(
        [
            "#ifndef IDS",
            f"#define IDS {IDS}",
            f"#define WITH_IDS(side, chooses) {' '.join(calls)}",
            f"#define IS_NEXT(side, id) ({' && '.join(is_lowest)})",
            "#endif",
            "#define AT(side, id) ((side) * IDS + (id) - 1)",
        ]
    )
