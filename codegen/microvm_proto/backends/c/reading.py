"""Template of the C functions that decode a message by a table with a rule for each field.

A rule describes the field: the kind of its type, its position in the C struct, and its bounds.

In this template, and in that of the encoding functions, the lines between `@if KIND` and `@end` are
kept only if the schema has fields or frames of that kind. `@number@`, `@index@` and similar
placeholders are replaced by the smallest unsigned type that can hold every value of that purpose.
"""

READING = """
/* The state of decoding or encoding a message. */
struct @p@_walk {
	struct @p@_cursor from;
	uint8_t *to; /* end of the output; NULL: compute the size without writing */
	size_t size;
	uint32_t version;
	uint8_t number; /* of the current field */
@if LATER
	const @number@ *instead; /* default of the current field if the version lacks it, or NULL */
@end
};

/* Copies a number between a message, in native byte order, and a frame, which is little-endian. */
static inline void @p@_copy(void *to, const void *from, unsigned size)
{
	const uint16_t one = 1;
	const unsigned swap = *(const uint8_t *)&one ? 0 : size - 1;

	for (unsigned i = 0; i < size; i++)
		((uint8_t *)to)[i ^ swap] = ((const uint8_t *)from)[i];
}

static inline enum @p@_fault @p@_value_fault(const struct @p@_walk *walk,
	const struct @p@_field_rule *field, uint64_t value)
{
	const @number@ *numbers = &@p@_numbers[field->numbers];
	size_t left = (size_t)*numbers++;
	uint64_t known = 0;

	switch (field->kind & 0xf0) {
	default:
		return @P@_FAULT_NONE;
@if FINITE
	case @P@_KIND_FINITE:
		known = (field->kind & 15) == 4 ? 0x7f800000 : 0x7ff0000000000000;
		return (value & known) == known ? @P@_FAULT_NOT_FINITE : @P@_FAULT_NONE;
@end
@if FLAGS
	case @P@_KIND_FLAGS:
		for (; left; left--, numbers += 2)
			known |= numbers[1] <= walk->version ? numbers[0] : 0;
		return value & ~known ? @P@_FAULT_UNKNOWN_VALUE : @P@_FAULT_NONE;
@end
	case @P@_KIND_CONSTANT:
	case @P@_KIND_ENUM:
		for (; left && !known; left--, numbers += 3)
			known = numbers[0] <= value && value <= numbers[1] &&
				numbers[2] <= walk->version;
		return known ? @P@_FAULT_NONE : @P@_FAULT_UNKNOWN_VALUE;
	}
}

@if LATER
/* Advances `*field` past its LATER rule. Returns the default of a field that the version lacks, or
 * NULL. */
static inline const @number@ *@p@_instead(const struct @p@_field_rule **field, uint32_t version)
{
	const @number@ *numbers = &@p@_numbers[(*field)->numbers];

	if ((*field)->kind != @P@_KIND_LATER)
		return NULL;
	++*field;
	return numbers[0] > version ? numbers + 1 : NULL;
}

@end
/* Stores a value in a message. Does nothing if `message` is NULL, when a value is only checked. */
static inline void @p@_set(const struct @p@_field_rule *field, void *message, uint64_t value)
{
	const unsigned size = field->kind & 15;
	uint8_t bytes[8];

	if (!message || (field->kind & 0xf0) == @P@_KIND_CONSTANT)
		return;
	@p@_put(bytes, size, value);
	@p@_copy((uint8_t *)message + field->offset, bytes, size);
}

static inline bool @p@_take_value(struct @p@_walk *walk, const struct @p@_field_rule *field,
	void *message)
{
	const size_t at = walk->from.at;
	enum @p@_fault fault = @P@_FAULT_NONE;
	uint64_t value;

@if LATER
	if (walk->instead) {
		@p@_set(field, message, *walk->instead);
		return true;
	}
@end
	if (!@p@_take(&walk->from, walk->number, field->kind & 15, &value))
		return false;
	fault = @p@_value_fault(walk, field, value);
	if (fault)
		return @p@_refuse(&walk->from, fault, at, walk->number);
	@p@_set(field, message, value);
	return true;
}

@if GROUP LIST
static inline bool @p@_take_field(struct @p@_walk *walk, const struct @p@_field_rule *field,
	void *message);

/* Decodes `count` elements. `numbers` are the index of the first field of an element, the number of
 * its fields, and its size in memory. */
static inline bool @p@_take_elements(struct @p@_walk *walk, size_t count, const @number@ *numbers,
	uint8_t *element)
{
	for (; count; count--) {
		for (size_t i = 0; i < numbers[1]; i++)
			if (!@p@_take_field(walk, &@p@_field_rules[numbers[0] + i], element))
				return false;
		if (element)
			element += numbers[2];
	}
	return true;
}

@end
@if LIST
static inline bool @p@_take_list_of(struct @p@_walk *walk, const struct @p@_field_rule *field,
	struct @p@_list *list)
{
	const @number@ *numbers = &@p@_numbers[field->numbers];

	if (!@p@_take_count(&walk->from, walk->number, (uint32_t)numbers[0], list))
		return false;
	if (!@p@_take_elements(walk, (size_t)list->count, numbers + 1, NULL))
		return false;
	list->size = (uint32_t)(walk->from.body + walk->from.at - list->items);
	return true;
}

/* Returns the fault of a list whose elements are encoded as in a frame, or FAULT_NONE. */
static inline enum @p@_fault @p@_list_fault(const struct @p@_walk *walk, const @number@ *numbers,
	const struct @p@_list *list)
{
	struct @p@_fault_at at = { @P@_FAULT_NONE, 0, 0 };
	struct @p@_walk items = *walk;

	if (list->count > numbers[0])
		return @P@_FAULT_TOO_MANY;
	items.from.body = list->items;
	items.from.size = (size_t)list->size;
	items.from.at = 0;
	items.from.fault = &at;
	if (@p@_take_elements(&items, (size_t)list->count, numbers + 1, NULL))
		@p@_end(&items.from);
	return at.fault;
}

@end
@if OCTETS
static inline bool @p@_take_block(struct @p@_walk *walk, size_t count, uint8_t *out)
{
	struct @p@_cursor *from = &walk->from;

@if LATER
	if (walk->instead && out)
		memset(out, 0, count);
	if (walk->instead)
		return true;
@end
	if (from->size - from->at < count)
		return @p@_refuse(from, @P@_FAULT_TRUNCATED, from->at, walk->number);
	if (out)
		memcpy(out, from->body + from->at, count);
	from->at += count;
	return true;
}

@end
static inline bool @p@_take_field(struct @p@_walk *walk, const struct @p@_field_rule *field,
	void *message)
{
	const @number@ *numbers = &@p@_numbers[field->numbers];
	const unsigned kind = field->kind & 0xf0;

	if (kind < @P@_KIND_GROUP)
		return @p@_take_value(walk, field, message);
@if GROUP
	if (kind == @P@_KIND_GROUP)
		return @p@_take_elements(walk, (size_t)numbers[0], numbers + 1,
			message ? (uint8_t *)message + field->offset : NULL);
@end
@if OCTETS
	if (kind == @P@_KIND_OCTETS)
		return @p@_take_block(walk, (size_t)numbers[0],
			message ? (uint8_t *)message + field->offset : NULL);
@end
	void *member = (uint8_t *)message + field->offset;
	struct @p@_slice *slice = (struct @p@_slice *)member;
	struct @p@_list *list = (struct @p@_list *)member;
	(void)list;
@if LATER
	if (walk->instead && kind >= @P@_KIND_BYTE_LIST) {
		*list = @p@_no_list();
		return true;
	}
	if (walk->instead && kind >= @P@_KIND_BYTES) {
		*slice = @p@_no_slice();
		return true;
	}
@end
	switch (kind) {
@if BYTES
	case @P@_KIND_BYTES:
		return @p@_take_bytes(&walk->from, walk->number, (uint32_t)numbers[0],
			numbers[1] != 0, slice);
@end
@if TEXT
	case @P@_KIND_TEXT:
		return @p@_take_text(&walk->from, walk->number, (uint32_t)numbers[0],
			numbers[1] != 0, slice);
@end
@if BYTE_LIST
	case @P@_KIND_BYTE_LIST:
		return @p@_take_list(&walk->from, walk->number, (uint32_t)numbers[0],
			(uint32_t)numbers[1], (uint32_t)numbers[2], numbers[3] != 0, list);
@end
@if LIST
	case @P@_KIND_LIST:
		return @p@_take_list_of(walk, field, list);
@end
	default:
		return @p@_take_tail(&walk->from, walk->number, (uint32_t)numbers[0], slice);
	}
}

static inline bool @p@_decode(const uint8_t *body, size_t size, uint32_t version, void *message,
	uint16_t type, struct @p@_fault_at *fault)
{
	const struct @p@_rule *rule = @p@_find_rule(version, type);
	struct @p@_walk walk = { { body, size, 0, fault }, NULL, 0, version, 0@none@ };
	const struct @p@_field_rule *field;

	if (!rule)
		return @p@_fail(fault, @P@_FAULT_UNKNOWN_TYPE, @type_at@, 0);
	field = &@p@_field_rules[rule->first];
	for (unsigned left = rule->fields; left; left--, field++) {
@if LATER
		walk.instead = @p@_instead(&field, version);
@end
		walk.number = field->number;
		if (!@p@_take_field(&walk, field, message))
			return false;
	}
	return @p@_end(&walk.from);
}

/* Decodes the body of a frame whose header @p@_decode_header has accepted. */
static inline bool @p@_decode_body(const struct @p@_header *header, const uint8_t *body,
	uint32_t version, union @p@_body *out, struct @p@_fault_at *fault)
{
	return @p@_decode(body, (size_t)header->body_length, version, out, header->type,
		fault);
}
"""
