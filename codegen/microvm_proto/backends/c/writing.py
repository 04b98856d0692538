"""Template of the C functions that encode a message by a table with a rule for each field."""

WRITING = """
/* Writes bytes to the output if there is one, and adds their number to the size. */
static inline void @p@_write(struct @p@_walk *walk, const uint8_t *data, uint32_t size)
{
	if (walk->to)
		walk->to = @p@_put_bytes(walk->to, data, size);
	walk->size += (size_t)size;
}

static inline enum @p@_fault @p@_put_value(struct @p@_walk *walk,
	const struct @p@_field_rule *field, const void *message)
{
	const bool constant = (field->kind & 0xf0) == @P@_KIND_CONSTANT;
	const unsigned size = field->kind & 15;
	enum @p@_fault fault = @P@_FAULT_NONE;
	uint8_t bytes[8];

	if (constant)
		@p@_put(bytes, size, @p@_numbers[field->numbers + 1]);
	else
		@p@_copy(bytes, (const uint8_t *)message + field->offset, size);
@if LATER
	if (walk->instead)
		return constant || @p@_get(bytes, size) == *walk->instead ?
			@P@_FAULT_NONE : @P@_FAULT_TRAILING_BYTES;
@end
	fault = @p@_value_fault(walk, field, @p@_get(bytes, size));
	if (!fault)
		@p@_write(walk, bytes, size);
	return fault;
}

@if GROUP
static inline enum @p@_fault @p@_put_field(struct @p@_walk *walk,
	const struct @p@_field_rule *field, const void *message);

static inline enum @p@_fault @p@_put_elements(struct @p@_walk *walk, size_t count,
	const @number@ *numbers, const uint8_t *element)
{
	enum @p@_fault fault = @P@_FAULT_NONE;

	for (; count && !fault; count--, element += numbers[2])
		for (size_t i = 0; i < numbers[1] && !fault; i++)
			fault = @p@_put_field(walk, &@p@_field_rules[numbers[0] + i], element);
	return fault;
}

@end
@if OCTETS
static inline enum @p@_fault @p@_put_block(struct @p@_walk *walk, uint32_t count,
	const uint8_t *data)
{
@if LATER
	if (walk->instead) {
		while (count && !data[count - 1])
			count--;
		return count ? @P@_FAULT_TRAILING_BYTES : @P@_FAULT_NONE;
	}
@end
	@p@_write(walk, data, count);
	return @P@_FAULT_NONE;
}

@end
static inline enum @p@_fault @p@_put_field(struct @p@_walk *walk,
	const struct @p@_field_rule *field, const void *message)
{
	const @number@ *numbers = &@p@_numbers[field->numbers];
	const unsigned kind = field->kind & 0xf0, size = field->kind & 15;
	const bool is_list = kind >= @P@_KIND_BYTE_LIST;
	enum @p@_fault fault = @P@_FAULT_NONE;
	uint8_t prefix[4];

	if (kind < @P@_KIND_GROUP)
		return @p@_put_value(walk, field, message);
	const void *member = (const uint8_t *)message + field->offset;
	const struct @p@_slice *slice = (const struct @p@_slice *)member;
	const struct @p@_list *list = (const struct @p@_list *)member;
@if GROUP
	if (kind == @P@_KIND_GROUP)
		return @p@_put_elements(walk, (size_t)numbers[0], numbers + 1,
			(const uint8_t *)member);
@end
@if OCTETS
	if (kind == @P@_KIND_OCTETS)
		return @p@_put_block(walk, (uint32_t)numbers[0], (const uint8_t *)member);
@end
@if LATER
	if (walk->instead)
		return (is_list ? list->count || list->size : slice->size != 0) ?
			@P@_FAULT_TRAILING_BYTES : @P@_FAULT_NONE;
@end
	switch (kind) {
@if BYTE_LIST
	case @P@_KIND_BYTE_LIST:
		fault = @p@_check_list(list, (uint32_t)numbers[0], (uint32_t)numbers[1],
			(uint32_t)numbers[2], numbers[3] != 0);
		break;
@end
@if LIST
	case @P@_KIND_LIST:
		fault = @p@_list_fault(walk, numbers, list);
		break;
@end
@if TEXT
	case @P@_KIND_TEXT:
		fault = @p@_check_text(slice, (uint32_t)numbers[0], numbers[1] != 0);
		break;
@end
	default:
		if (slice->size > numbers[0])
			fault = @P@_FAULT_TOO_LONG;
@if BYTES
		else if (kind == @P@_KIND_BYTES && !numbers[1])
			fault = @p@_check_bytes(slice, (uint32_t)numbers[0]);
@end
	}
	if (fault)
		return fault;
	@p@_put(prefix, size, is_list ? list->count : slice->size);
	@p@_write(walk, prefix, size);
	if (is_list)
		@p@_write(walk, list->items, list->size);
	else
		@p@_write(walk, slice->data, slice->size);
	return fault;
}

static inline enum @p@_fault @p@_put_message(struct @p@_walk *walk, const struct @p@_rule *rule,
	const void *message)
{
	const struct @p@_field_rule *field = &@p@_field_rules[rule->first];
	enum @p@_fault fault = @P@_FAULT_NONE;

	for (unsigned left = rule->fields; left && !fault; left--, field++) {
@if LATER
		walk->instead = @p@_instead(&field, walk->version);
@end
		fault = @p@_put_field(walk, field, message);
	}
	return fault;
}

static inline enum @p@_fault @p@_measure(struct @p@_walk *walk, @id@ id, const void *message,
	const struct @p@_rule *rule)
{
	if (!rule)
		return @P@_FAULT_UNKNOWN_TYPE;
	if (rule->id == 1 && id == 0)
		return @P@_FAULT_BAD_ID;
	return @p@_put_message(walk, rule, message);
}

/* Returns FAULT_NONE if the message is valid, or else the fault that a decoder would find. */
static inline enum @p@_fault @p@_check(uint32_t version, @id@ id, const void *message,
	uint16_t type)
{
	struct @p@_walk walk = { { NULL, 0, 0, NULL }, NULL, 0, version, 0@none@ };

	return @p@_measure(&walk, id, message, @p@_find_rule(version, type));
}

/* Writes a frame into `out`, a buffer of `room` bytes. Returns the size of the frame, or 0 if the
 * message is invalid or the frame does not fit. */
static inline size_t @p@_encode(uint8_t *out, size_t room, uint32_t version, @sequence@@id@ id,
@if cobs
	const void *message, uint16_t type, size_t stuffing)
{
	/* The frame is first written behind a gap. Its COBS encoding in `out` is longer. */
	uint8_t *frame = out + stuffing - 1;
@else
	const void *message, uint16_t type)
{
@end
	const struct @p@_rule *rule = @p@_find_rule(version, type);
	struct @p@_walk walk = { { NULL, 0, 0, NULL }, NULL, @P@_HEADER_SIZE, version, 0@none@ };

	if (@p@_measure(&walk, id, message, rule))
		return 0;
@if check
	walk.size += @P@_CHECK_SIZE;
@end
@if cobs
	walk.size += stuffing;
@end
	if (walk.size > room)
		return 0;
	walk.to = @frame@ + @P@_HEADER_SIZE;
	@p@_put_message(&walk, rule, message);
	uint8_t *at = walk.to;
	@finish@
}
"""
