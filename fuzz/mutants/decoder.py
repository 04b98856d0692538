"""Bugs in the decoders in C: what is generated, and what cuts the stream and knows the ids."""

from __future__ import annotations

from . import Mutant

_H = "guest/protocol.h"
_STREAM = "guest/stream.c"
_SESSION = "guest/session.c"

MUTANTS = (
    Mutant(
        "an integer is taken from one byte too few",
        _H,
        "if (cursor->size - cursor->at < size)\n\t\treturn sandboxd_refuse(cursor, "
        "SANDBOXD_FAULT_TRUNCATED, cursor->at, field);\n\t*value",
        "if (cursor->size - cursor->at + 1 < size)\n\t\treturn sandboxd_refuse(cursor, "
        "SANDBOXD_FAULT_TRUNCATED, cursor->at, field);\n\t*value",
        "crash",
    ),
    Mutant(
        "an integer is taken without a check of what is left",
        _H,
        "if (cursor->size - cursor->at < size)\n\t\treturn sandboxd_refuse(cursor, "
        "SANDBOXD_FAULT_TRUNCATED, cursor->at, field);\n\t*value",
        "(void)field;\n\t*value",
        "crash",
    ),
    Mutant(
        "a value may be one byte longer than its body",
        _H,
        "if (out->size > cursor->size - cursor->at)",
        "if (out->size > cursor->size - cursor->at + 1)",
        "crash",
    ),
    Mutant(
        "a value may be longer than its body",
        _H,
        "if (out->size > cursor->size - cursor->at)\n\t\treturn sandboxd_refuse(cursor, "
        "SANDBOXD_FAULT_TRUNCATED, cursor->at, field);\n\tout->data",
        "out->data",
        "crash",
    ),
    Mutant(
        "a value's length is checked against the whole body",
        _H,
        "if (out->size > cursor->size - cursor->at)",
        "if (out->size > cursor->size)",
        "crash",
    ),
    Mutant(
        "a bound is off by one",
        _H,
        "if (out->size > max)",
        "if (out->size > max + 1)",
        "logic",
    ),
    Mutant(
        "the longest value is refused",
        _H,
        "if (out->size > max)",
        "if (out->size >= max)",
        "logic",
    ),
    Mutant(
        "a list may have an item too many",
        _H,
        "if (out->count > max_items)",
        "if (out->count > max_items + 1)",
        "logic",
    ),
    Mutant(
        "the total of a list is off by one",
        _H,
        "if (cursor->at - start > max_total)",
        "if (cursor->at - start > max_total + 1)",
        "logic",
    ),
    Mutant(
        "the total of a list counts its prefix",
        _H,
        "if (cursor->at - start > max_total)",
        "if (cursor->at - prefix > max_total)",
        "logic",
    ),
    Mutant(
        "a list loses its last item",
        _H,
        "for (uint32_t i = 0; i < out->count; i++) {\n\t\tstruct sandboxd_slice item;",
        "for (uint32_t i = 1; i < out->count; i++) {\n\t\tstruct sandboxd_slice item;",
        "logic",
    ),
    Mutant(
        "integers are read with the highest byte first",
        _H,
        "value |= (uint64_t)from[i] << (8 * i);",
        "value |= (uint64_t)from[i] << (8 * (size - 1 - i));",
        "logic",
    ),
    Mutant(
        "the highest byte is lost",
        _H,
        "value |= (uint64_t)from[i] << (8 * i);",
        "value |= (uint64_t)from[i] << (8 * (i & 6));",
        "logic",
    ),
    Mutant(
        "a NUL at the end is not seen",
        _H,
        "for (uint32_t i = 0; i < slice->size; i++)\n\t\tif (slice->data[i] == 0)",
        "for (uint32_t i = 0; i + 1 < slice->size; i++)\n\t\tif (slice->data[i] == 0)",
        "logic",
    ),
    Mutant(
        "the place of a NUL is counted from its value",
        _H,
        "(size_t)(slice->data - cursor->body) + i, field);",
        "(size_t)i, field);",
        "logic",
    ),
    Mutant(
        "what follows the last field is ignored",
        _H,
        "return cursor->at == cursor->size;",
        "return true;",
        "logic",
    ),
    Mutant(
        "an unknown value is taken",
        _H,
        "sandboxd_refuse(cursor, SANDBOXD_FAULT_UNKNOWN_VALUE, cursor->at - size, field);\n"
        "\treturn known;",
        "sandboxd_refuse(cursor, SANDBOXD_FAULT_UNKNOWN_VALUE, cursor->at - size, field);\n"
        "\treturn true;",
        "logic",
    ),
    Mutant(
        "the place of an unknown value is behind it",
        _H,
        "SANDBOXD_FAULT_UNKNOWN_VALUE, cursor->at - size, field);",
        "SANDBOXD_FAULT_UNKNOWN_VALUE, cursor->at - 0 * size, field);",
        "logic",
    ),
    Mutant(
        "the other side's messages are taken",
        _H,
        "if (!(rule->sender & sender))",
        "if (!(rule->sender & (sender | SANDBOXD_BOTH)))",
        "logic",
    ),
    Mutant(
        "flags are not looked at",
        _H,
        "if (header->flags)",
        "if (header->flags > 0xff)",
        "logic",
    ),
    Mutant(
        "an id may be 0",
        _H,
        "if ((rule->id == 1 && header->id == 0) || (rule->id == 0 && header->id != 0))",
        "if (rule->id == 0 && header->id != 0)",
        "logic",
    ),
    Mutant(
        "a body may be longer than any of its type",
        _H,
        "if (header->body_length > rule->max_body)",
        "if (header->body_length > SANDBOXD_MAX_BODY)",
        "logic",
    ),
    Mutant(
        "a body may be of any length",
        _H,
        "if (header->body_length > rule->max_body)",
        "if (header->body_length == UINT32_MAX)",
        "crash",
    ),
    Mutant(
        "a frame is decoded a byte before it is whole",
        _STREAM,
        "if (left < size) {",
        "if (left + 1 < size) {",
        "crash",
    ),
    Mutant(
        "a header is decoded before it is whole",
        _STREAM,
        "if (stream->seeking || left < SANDBOXD_HEADER_SIZE) {",
        "if (stream->seeking || left < SANDBOXD_HEADER_SIZE - 1) {",
        "crash",
    ),
    Mutant(
        "a malformed frame does not end the stream",
        _STREAM,
        "stream->seeking = true;\n\treturn STREAM_FAULT;",
        "(void)stream;\n\treturn STREAM_FAULT;",
        "logic",
    ),
    Mutant(
        "what moves to the front loses its last byte",
        _STREAM,
        "memmove(stream->data, stream->data + stream->start, left);",
        "memmove(stream->data, stream->data + stream->start, left - 1);",
        "logic",
    ),
    Mutant(
        "what is left is not moved to the front",
        _STREAM,
        "memmove(stream->data, stream->data + stream->start, left);\n\tstream->start = 0;",
        "stream->start = 0;",
        "logic",
    ),
    Mutant(
        "the start of a hello at the end of a read is dropped",
        _STREAM,
        "size_t seen = left < HELLO_START ? left : HELLO_START;\n\n"
        "\t\tif (memcmp(stream->data + stream->start, hello_start, seen) == 0) {",
        "size_t seen = left < HELLO_START ? left : HELLO_START;\n\n\t\tif (left >= HELLO_START && "
        "memcmp(stream->data + stream->start, hello_start, seen) == 0) {",
        "logic",
    ),
    Mutant(
        "a hello is looked for beyond what has come",
        _STREAM,
        "size_t seen = left < HELLO_START ? left : HELLO_START;",
        "size_t seen = HELLO_START;",
        "crash",
    ),
    Mutant(
        "half of a hello is taken for one",
        _STREAM,
        "stream->seeking = left < HELLO_START;",
        "stream->seeking = left < SANDBOXD_HEADER_SIZE;",
        "logic",
    ),
    Mutant(
        "dropped bytes are not counted",
        _STREAM,
        "stream->start++, stream->dropped++)",
        "stream->start++)",
        "logic",
    ),
    Mutant(
        "an id can be used twice",
        _SESSION,
        "if (id <= session->last_id)\n\t\treturn SANDBOXD_ERROR_CODE_STALE_ID;",
        "if (id < session->last_id)\n\t\treturn SANDBOXD_ERROR_CODE_STALE_ID;",
        "logic",
    ),
    Mutant(
        "a second exec displaces the first",
        _SESSION,
        "if (session->current)\n\t\treturn SANDBOXD_ERROR_CODE_BUSY;\n",
        "",
        "logic",
    ),
    Mutant(
        "a request that is refused as busy leaves its id free",
        _SESSION,
        "session->last_id = id;\n\tif (session->current)\n\t\treturn SANDBOXD_ERROR_CODE_BUSY;",
        "if (session->current)\n\t\treturn SANDBOXD_ERROR_CODE_BUSY;\n\tsession->last_id = id;",
        "logic",
    ),
    Mutant(
        "a hello does not forget the ids",
        _SESSION,
        "session->last_id = 0;\n\tsession_end(session);",
        "session_end(session);",
        "logic",
    ),
    Mutant(
        "a hello does not forget the exec in flight",
        _SESSION,
        "session->last_id = 0;\n\tsession_end(session);",
        "session->last_id = 0;",
        "logic",
    ),
    Mutant(
        "input one byte over its credit is taken",
        _SESSION,
        "if (size > session->stdin_credit)",
        "if (size > session->stdin_credit + 1)",
        "logic",
    ),
    Mutant(
        "input does not use up credit",
        _SESSION,
        "session->stdin_credit -= size;",
        "(void)size;",
        "logic",
    ),
    Mutant(
        "an id that never was is ignored",
        _SESSION,
        "if (header->id > session->last_id)",
        "if (header->id > session->last_id + 1)",
        "logic",
    ),
    Mutant(
        "late frames are refused",
        _SESSION,
        "if (is_late(session, &frame->header))\n\t\t\tcontinue;",
        "if (is_late(session, &frame->header)) {\n\t\t\trefusal->code = "
        "SANDBOXD_ERROR_CODE_UNKNOWN_ID;\n\t\t\treturn refuse(session);\n\t\t}",
        "logic",
    ),
    Mutant(
        "credit is left over for the next exec",
        _SESSION,
        "session->current = 0;\n\tsession->stdin_credit = 0;",
        "session->current = 0;",
        "logic",
    ),
)
