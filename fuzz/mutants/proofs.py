"""Bugs for rung F: each breaks a bound, and the proof named beside it must fail."""

from __future__ import annotations

from fuzz.mutants import Mutant

BY_HARNESS: dict[str, Mutant] = {
    "header": Mutant(
        "a body may be one byte longer than any of its type",
        "guest/protocol.h",
        "if (header->body_length > rule->max_body)",
        "if (header->body_length > rule->max_body + 1)",
        "crash",
    ),
    "cursor": Mutant(
        "bytes may end at the body's end counted from their prefix",
        "guest/protocol.h",
        "if (out->size > cursor->size - cursor->at)",
        "if (out->size > cursor->size - prefix)",
        "crash",
    ),
    "list": Mutant(
        "a list's total counts its first item only",
        "guest/protocol.h",
        "if (cursor->at - start > max_total)",
        "if (i == 0 && cursor->at - start > max_total)",
        "crash",
    ),
    "body": Mutant(
        "what is behind a resume is not looked at",
        "guest/protocol.h",
        "sandboxd_take_bytes(&cursor, 2, 64, true, &message->entropy) &&\n\t\tsandboxd_end(&cursor)",
        "sandboxd_take_bytes(&cursor, 2, 64, true, &message->entropy)",
        "logic",
    ),
    "encoding": Mutant(
        "a frame's length counts its header",
        "guest/protocol.h",
        "size_t body = (size_t)(end - out) - SANDBOXD_HEADER_SIZE;",
        "size_t body = (size_t)(end - out);",
        "logic",
    ),
    "stream": Mutant(
        "a frame may lack its last byte",
        "guest/stream.c",
        "if (left < size) {",
        "if (left + 1 < size) {",
        "crash",
    ),
    "session": Mutant(
        "input may be one byte above its credit",
        "guest/session.c",
        "if (size > session->stdin_credit)",
        "if (size > session->stdin_credit + 1)",
        "crash",
    ),
    "input": Mutant(
        "the end of a terminal's input has no room",
        "guest/input.c",
        "INPUT_SIZE - (uint32_t)sizeof end_of_file - input->size - allowed",
        "INPUT_SIZE - input->size - allowed",
        "crash",
    ),
    "exec": Mutant(
        "output credit wraps around",
        "guest/exec.c",
        "amount > UINT32_MAX - to->credit ? UINT32_MAX : to->credit + amount",
        "to->credit + amount",
        "logic",
    ),
    "serve": Mutant(
        "both frames about input have the room of one",
        "guest/serve.c",
        "port_has_room(&server->port, 2 * PORT_SMALL_SIZE)",
        "port_has_room(&server->port, SANDBOXD_HEADER_SIZE)",
        "crash",
    ),
    "port": Mutant(
        "what a write took is not counted on",
        "guest/port.c",
        "port->sent += (size_t)n;",
        "port->sent += (size_t)n + 1;",
        "crash",
    ),
    "loop": Mutant(
        "the port is read a byte beyond the stream",
        "guest/sandboxd.c",
        "size_t room = STREAM_SIZE - in->end;",
        "size_t room = STREAM_SIZE - in->end + 1;",
        "crash",
    ),
    "drain": Mutant(
        "a descriptor is one too high for the table",
        "guest/drain.c",
        "return fd < DRAIN_FILES &&",
        "return fd <= DRAIN_FILES &&",
        "crash",
    ),
    "spawn": Mutant(
        "a path may lack room for its end",
        "guest/spawn.c",
        "if (length + 1 + size > PATH_MAX)",
        "if (length + size > PATH_MAX)",
        "crash",
    ),
    "lines": Mutant(
        "a line's end has no room",
        "guest/user.c",
        "if (byte == '\\n' && size < USER_LINE_MAX) {",
        "if (byte == '\\n' && size <= USER_LINE_MAX) {",
        "crash",
    ),
    "user": Mutant(
        "a line is cut beyond its end",
        "guest/user.c",
        "if (i + 1 < count && !*line)",
        "if (i + 2 < count && !*line)",
        "crash",
    ),
    "groups": Mutant(
        "a user may be in one group more than there is room for",
        "guest/user.c",
        "user->group_count < USER_GROUPS_MAX &&",
        "user->group_count <= USER_GROUPS_MAX &&",
        "crash",
    ),
    "request": Mutant(
        "two lists of the same request share one",
        "guest/protocol.h",
        """sandboxd_take_list(&cursor, 4, 16384, 131071, 1048576,
			false, &message->env) &&""",
        """sandboxd_take_list(&cursor, 4, 16384, 131071, 1048576,
			false, &message->argv) &&""",
        "crash",
    ),
    "environment": Mutant(
        "the variables' array has no room for its end",
        "guest/environment.c",
        "static char *envp[SANDBOXD_EXEC_REQUEST_ENV_MAX_ITEMS + DEFAULTS + 1];",
        "static char *envp[SANDBOXD_EXEC_REQUEST_ENV_MAX_ITEMS + DEFAULTS];",
        "crash",
    ),
    "become": Mutant(
        "a user's text has no room for its key",
        "guest/environment.c",
        "static char texts[DEFAULTS][USER_LINE_MAX + 16];",
        "static char texts[DEFAULTS][USER_LINE_MAX];",
        "crash",
    ),
    "boot": Mutant(
        "entropy is one byte longer than it came",
        "guest/boot.c",
        "memcpy(pool.data, entropy.data, entropy.size);",
        "memcpy(pool.data, entropy.data, entropy.size + 1);",
        "crash",
    ),
    "census": Mutant(
        "a number is read beyond its text",
        "guest/census.c",
        "for (at++; at < size && text[at] >= '0'",
        "for (at++; at <= size && text[at] >= '0'",
        "crash",
    ),
    "cgroup": Mutant(
        "a number is written without room for its first digits",
        "guest/cgroup.c",
        "enum { LEFT_MAX = 64, DIGITS = 20 };",
        "enum { LEFT_MAX = 64, DIGITS = 9 };",
        "crash",
    ),
}
"""A bug for each harness, by its name."""

MUTANTS: tuple[Mutant, ...] = tuple(BY_HARNESS.values())
