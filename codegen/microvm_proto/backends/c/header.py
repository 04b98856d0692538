"""Generate the C code for the header of a frame: its struct, and functions to read and write it."""

from __future__ import annotations

from microvm_proto.framing import Framing, HeaderField
from microvm_proto.variants import variant


def struct(framing: Framing) -> str:
    """Generate the members of the C struct for a frame's header."""
    fields = [each for each in framing.header if each.name != "body_length"]
    declared = "".join(f"\t{_type(each)} {each.name};\n" for each in fields)
    return f"\tuint32_t body_length;\n{declared}"


def put(framing: Framing) -> str:
    """Generate the C function that writes the header of a frame."""
    parameters = ["uint8_t *out"]
    parameters += ["const uint8_t *end"] if "body_length" in framing.features else []
    parameters += [
        f"{'uint16_t' if each.name == 'type' else _type(each)} {each.name}"
        for each in framing.header
        if each.name not in ("body_length", "flags")
    ]
    values = {"body_length": "body", "flags": "0"}
    puts = "".join(
        f"\t@p@_put({_at('out', each.offset)}, {each.size}, {values.get(each.name, each.name)});\n"
        for each in framing.header
    )
    length = "\tsize_t body = (size_t)(end - out) - (size_t)@P@_HEADER_SIZE;\n\n"
    length = length if "body_length" in framing.features else ""
    return f"static inline void @p@_put_header({', '.join(parameters)})\n{{\n{length}{puts}}}"


def check(framing: Framing) -> str:
    """Generate the C function that reads the header of a frame, and checks it."""
    reads = "\n".join(
        f"\theader->{each.name} = ({_type(each)})@p@_get({_at('frame', each.offset)}, {each.size});"
        for each in framing.header
    )
    text = variant(_CHECK, framing).replace("@reads@", reads)
    for name in ("type", "flags", "id"):
        text = text.replace(f"@{name}_at@", str(framing.offset(name)))
    return text


def _type(field: HeaderField) -> str:
    return f"uint{32 if field.name == 'body_length' else 8 * field.size}_t"


def _at(base: str, offset: int) -> str:
    return f"{base} + {offset}" if offset else base


_CHECK = """
/* Returns the newest rule for a type that applies to `version`, or NULL if there is none. */
static inline const struct @p@_rule *@p@_find_rule(uint32_t version, uint16_t type)
{
	const struct @p@_rule *found = NULL;

	for (const struct @p@_rule *rule = @p@_rules; rule->type; rule++)
		if (rule->type == type && rule->since <= version)
			found = rule;
	return found;
}

@if stream
/* Reads the header of a frame from `sender`, and checks everything that needs no body.
 * `version`, here and below, is the version that both sides agreed on. */
static inline bool @p@_decode_header(const uint8_t *frame, enum @p@_end sender, uint32_t version,
	struct @p@_header *header, struct @p@_fault_at *fault)
{
@else
/* Reads and checks the header of a frame of `size` bytes from `sender`. Does not check the checksum
 * and the body. `version`, here and below, is the version that both sides agreed on. */
static inline bool @p@_decode_header(const uint8_t *frame, size_t size, enum @p@_end sender,
	uint32_t version, struct @p@_header *header, struct @p@_fault_at *fault)
{
	if (size < @P@_HEADER_SIZE + @P@_CHECK_SIZE)
		return @p@_fail(fault, @P@_FAULT_TRUNCATED, size, 0);
	header->body_length = (uint32_t)(size - @P@_HEADER_SIZE - @P@_CHECK_SIZE);
@end
@reads@
	const struct @p@_rule *rule = @p@_find_rule(version, header->type);
	if (!rule)
		return @p@_fail(fault, @P@_FAULT_UNKNOWN_TYPE, @type_at@, 0);
	if (!(rule->sender & sender))
		return @p@_fail(fault, @P@_FAULT_BAD_DIRECTION, @type_at@, 0);
@if flags
	if (header->flags)
		return @p@_fail(fault, @P@_FAULT_RESERVED_FLAGS, @flags_at@, 0);
@end
@if id
	if ((rule->id == 1 && header->id == 0) || (rule->id == 0 && header->id != 0))
		return @p@_fail(fault, @P@_FAULT_BAD_ID, @id_at@, 0);
@end
	if (header->body_length > rule->max_body)
		return @p@_fail(fault, @P@_FAULT_BODY_TOO_LONG, 0, 0);
	return true;
}
"""
