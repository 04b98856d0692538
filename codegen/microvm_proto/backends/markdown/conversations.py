"""Generate the sections of a specification that describe conversations: a diagram and tables."""

from __future__ import annotations

from collections.abc import Iterator

from microvm_proto.backends.markdown.types import table
from microvm_proto.states import Amount, Conversation, ConversationState


def section(conversation: Conversation) -> str:
    """Generate the section of one conversation."""
    begins = conversation.states[0].name
    per = f"There is one such conversation for each {conversation.per}. It begins in `{begins}`."
    rules = [_RULE]
    if any(state.ignored for state in conversation.states):
        rules.append(_IGNORED)
    if conversation.refusal:
        rules.append(_REFUSAL.format(f"[`{conversation.refusal}`](#{conversation.refusal})"))
    parts = [
        f"## The conversation {conversation.name}",
        " ".join(filter(None, [conversation.doc, per, *rules])),
        _diagram(conversation),
        *_states(conversation),
        *_conditions(conversation),
        *_requests(conversation),
        *_counters(conversation),
    ]
    return "\n\n".join(parts)


def _diagram(conversation: Conversation) -> str:
    """Generate a Mermaid diagram of the steps that change the state."""
    lines = [f"    [*] --> {conversation.states[0].name}"]
    for state in conversation.states:
        messages: dict[str, list[str]] = {}
        for step in state.steps:
            if step.following != state.name:
                condition = f" ({step.condition})" if step.condition else ""
                messages.setdefault(step.following, []).append(step.message + condition)
        for following, labels in messages.items():
            lines.append(f"    {state.name} --> {following}: {', '.join(labels)}")
        if state.final:
            lines.append(f"    {state.name} --> [*]")
    return "\n".join(["```mermaid", "stateDiagram-v2", *lines, "```"])


def _states(conversation: Conversation) -> Iterator[str]:
    meanings = [(f"`{state.name}`", _meaning(state)) for state in conversation.states]
    yield table(("state", "meaning"), meanings)
    messages: dict[tuple[str, str, str, str], list[str]] = {}
    for state in conversation.states:
        for step in state.steps:
            row = (state.name, step.sender, step.condition, step.following)
            messages.setdefault(row, []).append(f"[`{step.message}`](#{step.message})")
    rows = [
        (
            f"`{state}`",
            sender,
            ", ".join(sent),
            f"`{condition}`" if condition else "",
            "" if following == state else f"`{following}`",
        )
        for (state, sender, condition, following), sent in messages.items()
    ]
    yield table(("state", "sender", "messages", "condition", "next state"), rows)
    ignored: dict[tuple[str, str], list[str]] = {}
    for state in conversation.states:
        for each in state.ignored:
            ignored.setdefault((f"`{state.name}`", each.sender), []).append(f"`{each.message}`")
    if ignored:
        late = [(*row, ", ".join(names)) for row, names in ignored.items()]
        yield table(("state", "sender", "ignored messages"), late)


def _meaning(state: ConversationState) -> str:
    meaning = " ".join(filter(None, [state.doc, "The conversation can end here." * state.final]))
    if not state.ids:
        return meaning
    return f"{meaning} Messages with ids are in order from: {', '.join(state.ids)}."


def _conditions(conversation: Conversation) -> Iterator[str]:
    if conversation.conditions:
        rows = [(f"`{each.name}`", each.doc) for each in conversation.conditions]
        yield table(("condition", "meaning"), rows)


def _requests(conversation: Conversation) -> Iterator[str]:
    if conversation.requests:
        yield "Each request gets exactly one of its answers:"
        rows = [
            (f"`{each.message}`", ", ".join(f"`{name}`" for name in each.answers))
            for each in conversation.requests
        ]
        yield table(("request", "answers"), rows)


def _counters(conversation: Conversation) -> Iterator[str]:
    if conversation.counters:
        yield _COUNTERS
        rows = [
            (
                f"`{each.name}`",
                _amounts(each.adds),
                _amounts(each.takes),
                "" if each.max is None else str(each.max),
                each.doc,
            )
            for each in conversation.counters
        ]
        yield table(("counter", "increased by", "decreased by", "maximum", "meaning"), rows)


def _amounts(amounts: tuple[Amount, ...]) -> str:
    return ", ".join(
        f"`{each}`"
        + (f" of the {each.sender}" if each.sender else "")
        + (f" (`{each.condition}`)" if each.condition else "")
        for each in amounts
    )


_RULE = (
    "In each state, a side may send only the messages that the table lists for this state. A "
    "message with a condition has this effect only if the condition holds."
)

_IGNORED = (
    "A receiver ignores some messages that are not in order, because their sender may not know the "
    "state yet."
)

_REFUSAL = "{} refuses any other message that is not in order, and does not change the state."

_COUNTERS = (
    "Counters begin at 0. A message changes a counter by the value of a field, by the number of "
    "bytes of a field with bytes, or by 1 if no field is given. A counter that would exceed its "
    "maximum stays at the maximum. A side sends no message that would make a counter negative."
)
