"""The backend `wireshark`: a dissector in Lua, in one file, for streams over TCP."""

from __future__ import annotations

import re
from collections.abc import Iterator

from microvm_proto.faults import FAULTS
from microvm_proto.frame import pack
from microvm_proto.schema import HEADER_SIZE, Message, Output, Schema
from microvm_proto.types import ByteList, Bytes, Enum, Field, Integer, Tail


def emit(schema: Schema, output: Output) -> dict[str, str]:
    """Write the dissector, which is one file."""
    values = {
        "source": schema.source,
        "file": output.path.name,
        "name": schema.name,
        "filter": filter_name(schema),
        "version": str(schema.version),
        "first": schema.ends[0],
        "second": schema.ends[1],
        "header_size": str(HEADER_SIZE),
        "prefix_size": str(schema.prefix.size),
        "types": _names((message.number, message.name) for message in schema.messages),
        "faults": _names((fault.number, fault.name) for fault in FAULTS),
        "codes": _table((f.name, f"{{ {f.number}, {_string(f.doc)} }}") for f in FAULTS),
        "fields": _table(_proto_fields(schema)),
        "messages": "".join(_message(message) for message in schema.messages),
    }
    text = re.sub("@([a-z_]+)@", lambda place: values[place[1]], _DISSECTOR)
    return {output.path.name: text.lstrip("\n")}


def filter_name(schema: Schema) -> str:
    """Return what the name of a field in a filter begins with.

    Wireshark wants more than one letter.
    """
    return schema.name if len(schema.name) > 1 else f"{schema.name}_frames"


def _table(entries: Iterator[tuple[str, str]]) -> str:
    return "".join(f"  [{_string(key)}] = {value},\n" for key, value in entries)


def _names(numbers: Iterator[tuple[int, str]]) -> str:
    named = ", ".join(f"[{number}] = {_string(name)}" for number, name in numbers)
    return f"{{ {named} }}" if named else "{}"


def _string(text: str) -> str:
    """Write a literal on one line; what is not printable ASCII is escaped."""
    escaped = (
        f"\\{byte:03}" if chr(byte) in '"\\' or not 32 <= byte < 127 else chr(byte)
        for byte in " ".join(text.split()).encode()
    )
    return f'"{"".join(escaped)}"'


def _proto_fields(schema: Schema) -> Iterator[tuple[str, str]]:
    for message in schema.messages:
        for field in message.fields:
            key = f"{message.name}.{field.name}"
            head = f'NAME .. ".{key}", "{field.name}"'
            doc = _string(field.doc)
            match field.type:
                case Integer() | Enum():
                    names = _value_names(field.type)
                    yield key, f"{_kind(field.type)}({head}, base.DEC, {names}, nil, {doc})"
                case _:
                    yield key, f"ProtoField.bytes({head}, base.NONE, {doc})"


def _kind(kind: Integer | Enum) -> str:
    base = kind.base if isinstance(kind, Enum) else kind
    return f"ProtoField.{'' if base.signed else 'u'}int{8 * base.size}"


def _value_names(kind: Integer | Enum) -> str:
    # Wireshark has no names for numbers of 64 bits.
    if isinstance(kind, Integer) or kind.base.size > 4:
        return "nil"
    return _names((value.number, value.name) for value in kind.values)


def _message(message: Message) -> str:
    head = (
        f'  [{message.number}] = {{ name = "{message.name}", sender = "{message.sender}", '
        f'id = "{message.id}", max_body = {message.max_body}, fields = {{'
    )
    fields = [f"    {{ {', '.join(_field(message, field))} }},\n" for field in message.fields]
    return f"{head}\n{''.join(fields)}  }} }},\n" if fields else f"{head}}} }},\n"


def _field(message: Message, field: Field) -> Iterator[str]:
    yield f'"{message.name}.{field.name}", number = {field.number}'
    match field.type:
        case Integer(size=size):
            yield f'kind = "integer", size = {size}'
            if field.equals is not None:
                yield f"known = {_known(field, [field.equals])}"
        case Enum(base=base, closed=closed, values=values):
            yield f'kind = "integer", size = {base.size}'
            if closed:
                yield f"known = {_known(field, [value.number for value in values])}"
        case Bytes(maximum=maximum, nul=nul):
            yield f'kind = "bytes", max = {maximum}, nul = {_boolean(nul)}'
        case ByteList(max_items=items, max_item=item, max_total=total, nul=nul):
            yield f'kind = "list", max_items = {items}, max = {item}, max_total = {total}'
            yield f"nul = {_boolean(nul)}"
        case Tail(maximum=maximum):
            yield f'kind = "tail", max = {maximum}'


def _known(field: Field, numbers: list[int]) -> str:
    # By their bytes: Lua's own numbers do not hold all those of 64 bits.
    known = ", ".join(f'["{pack(field.type, number).hex()}"] = true' for number in numbers)
    return f"{{ {known} }}"


def _boolean(value: bool) -> str:
    return "true" if value else "false"


_DISSECTOR = r"""
-- A Wireshark dissector for @name@, version @version@, over TCP.
-- Generated from @source@ by `microvm-proto gen`.
--
--   tshark -X lua_script:@file@ -o @filter@.port:PORT -r FILE
--
-- PORT is the @second@'s. Without it, `Decode As` works, and each message counts as right in either
-- direction.

local HEADER_SIZE, PREFIX_SIZE = @header_size@, @prefix_size@

-- The name of filters and preferences: another, where Wireshark has a protocol of that name.
local NAME = "@filter@"
local free, protocol = pcall(Proto, NAME, "@name@, version @version@")
if not free then
  NAME = NAME .. "_frames"
  protocol = Proto(NAME, "@name@, version @version@")
end

protocol.prefs.port = Pref.uint("TCP port of the @second@", 0, "0 when it is not known")

-- Those of the header, of prefixes, and of what is malformed have no dot in their names.
local fields = {
  body_length = ProtoField.uint32(NAME .. ".body_length", "body_length"),
  type = ProtoField.uint16(NAME .. ".type", "type", base.DEC, @types@),
  flags = ProtoField.uint16(NAME .. ".flags", "flags", base.HEX),
  id = ProtoField.uint32(NAME .. ".id", "id"),
  length = ProtoField.uint32(NAME .. ".length", "length"),
  count = ProtoField.uint32(NAME .. ".count", "count"),
  dropped = ProtoField.bytes(NAME .. ".dropped", "dropped"),
  fault = ProtoField.uint8(NAME .. ".fault", "fault", base.DEC, @faults@),
  fault_offset = ProtoField.uint32(NAME .. ".fault_offset", "offset of the fault"),
  fault_field = ProtoField.uint8(NAME .. ".fault_field", "field of the fault"),
@fields@}
protocol.fields = fields

local malformed = ProtoExpert.new(
  NAME .. ".malformed", "malformed frame", expert.group.MALFORMED, expert.severity.ERROR
)
protocol.experts = { malformed }

-- The code of each fault, and what it means.
local faults = {
@codes@}

-- The messages by type; `known` are the only values of a field, as they are on the wire.
local messages = {
@messages@}

local function refuse(fault, offset)
  error({ fault = fault, offset = offset }, 0)
end

-- A place in a frame: `at` counts from its start, `number` is of the field there.
local Cursor = {}
Cursor.__index = Cursor

function Cursor:take(size)
  if size > self.size - self.at then refuse("truncated", self.at) end
  self.at = self.at + size
  return self.frame(self.at - size, size)
end

function Cursor:integer(field)
  local start = self.at
  local range = self:take(field.size)
  if field.known and not field.known[range:bytes():tohex(true)] then
    refuse("unknown_value", start)
  end
  self.tree:add_le(fields[field[1]], range)
end

function Cursor:bytes(field)
  local start = self.at
  local prefix = self:take(PREFIX_SIZE)
  local length = prefix:le_uint()
  if length > field.max then refuse("too_long", start) end
  local range = self:take(length)
  if not field.nul and length > 0 then
    local nul = range:raw():find("\0", 1, true)
    if nul then refuse("embedded_nul", start + PREFIX_SIZE + nul - 1) end
  end
  self.tree:add_le(fields.length, prefix)
  self:add_text(field, range)
end

-- Wireshark shows bytes in hexadecimal; what can be read of the first of them stands behind.
function Cursor:add_text(field, range)
  local text = range:raw():sub(1, 48):gsub("[^ -~]", ".")
  self.tree:add(fields[field[1]], range):append_text('  "' .. text .. '"')
end

function Cursor:list(field)
  local start = self.at
  local prefix = self:take(PREFIX_SIZE)
  local count = prefix:le_uint()
  if count > field.max_items then refuse("too_many", start) end
  self.tree:add_le(fields.count, prefix)
  local first = self.at
  for _ = 1, count do
    start = self.at
    self:bytes(field)
    if self.at - first > field.max_total then refuse("total_too_long", start) end
  end
end

function Cursor:tail(field)
  local left = self.size - self.at
  if left > field.max then refuse("too_long", self.at) end
  self:add_text(field, self:take(left))
end

-- The message of a frame; all that can be known without its body is right.
local function check_header(header, sender)
  local message = messages[header(4, 2):le_uint()]
  local id = header(8, 4):le_uint()
  if not message then refuse("unknown_type", 4) end
  if sender and message.sender ~= sender and message.sender ~= "both" then
    refuse("bad_direction", 4)
  end
  if header(6, 2):le_uint() ~= 0 then refuse("reserved_flags", 6) end
  if message.id == "required" and id == 0 or message.id == "none" and id ~= 0 then
    refuse("bad_id", 8)
  end
  if header(0, 4):le_uint() > message.max_body then refuse("body_too_long", 0) end
  return message
end

local function check_body(cursor, message)
  for _, field in ipairs(message.fields) do
    cursor.number = field.number
    cursor[field.kind](cursor, field)
  end
  cursor.number = 0
  if cursor.at < cursor.size then refuse("trailing_bytes", cursor.at) end
end

-- Calls a check; returns whether it has passed, what it returns, and shows a fault in the tree.
local function shown(tree, frame, cursor, check, ...)
  local passed, result = pcall(check, ...)
  if passed then return true, result end
  if type(result) ~= "table" then error(result, 0) end
  local code, doc = table.unpack(faults[result.fault])
  local where = frame(math.min(result.offset, frame:len() - 1), 1)
  tree:add(fields.fault, where, code)
  tree:add(fields.fault_offset, where, result.offset):set_generated()
  tree:add(fields.fault_field, where, cursor.number):set_generated()
  tree:add_proto_expert_info(malformed, result.fault .. " at " .. result.offset .. ": " .. doc)
  return false
end

local function sender_of(pinfo)
  local port = protocol.prefs.port
  if port == 0 then return nil end
  if pinfo.dst_port == port then return "@first@" end
  if pinfo.src_port == port then return "@second@" end
end

local function add_header(tree, header)
  tree:add_le(fields.body_length, header(0, 4))
  tree:add_le(fields.type, header(4, 2))
  tree:add_le(fields.flags, header(6, 2))
  tree:add_le(fields.id, header(8, 4))
end

-- Shows the frame at an offset. Returns its size; or 0 and how many bytes are missing; or nil when
-- it is malformed, and nothing behind it can be made out.
local function dissect(buffer, at, pinfo, root)
  local left = buffer:len() - at
  if left < HEADER_SIZE then return 0, DESEGMENT_ONE_MORE_SEGMENT end
  local header = buffer(at, HEADER_SIZE):tvb()
  local sender = sender_of(pinfo)
  local passed, message = pcall(check_header, header, sender)
  local size = HEADER_SIZE + header(0, 4):le_uint()
  if passed and left < size then return 0, size - left end

  local frame = buffer(at, passed and size or HEADER_SIZE):tvb()
  local type = messages[header(4, 2):le_uint()]
  local name = type and type.name or "unknown"
  local tree = root:add(protocol, frame(), "@name@: " .. name .. ", id " .. header(8, 4):le_uint())
  local cursor = { frame = frame, tree = tree, size = size, at = HEADER_SIZE, number = 0 }
  setmetatable(cursor, Cursor)
  add_header(tree, frame)
  pinfo.cols.info:append(" " .. name)
  if not shown(tree, frame, cursor, check_header, header, sender) then return nil end
  if not shown(tree, frame, cursor, check_body, cursor, message) then return nil end
  return size
end

function protocol.dissector(buffer, pinfo, root)
  pinfo.cols.protocol = "@name@"
  pinfo.cols.info = ""
  local at = 0
  while at < buffer:len() do
    local size, missing = dissect(buffer, at, pinfo, root)
    if not size then
      root:add(fields.dropped, buffer(at))
      return
    end
    if size == 0 then
      pinfo.desegment_offset = at
      pinfo.desegment_len = missing
      return
    end
    at = at + size
  end
end

local ports, current = DissectorTable.get("tcp.port"), 0
ports:add_for_decode_as(protocol)

function protocol.prefs_changed()
  if current ~= 0 then ports:remove(current, protocol) end
  current = protocol.prefs.port
  if current ~= 0 then ports:add(current, protocol) end
end
"""
