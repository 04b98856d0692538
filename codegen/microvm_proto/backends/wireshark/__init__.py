"""The backend `wireshark`: a dissector in Lua, in one file, for streams over TCP."""

from __future__ import annotations

import re

from microvm_proto.backends.wireshark.tables import (
    message,
    names,
    proto_fields,
    string,
    struct,
    table,
)
from microvm_proto.faults import FAULTS
from microvm_proto.schema import Output, Schema


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
        "header_size": str(schema.framing.header_size),
        "prefix_size": str(schema.prefix.size),
        "types": names((each.number, each.name) for each in schema.messages),
        "faults": names((fault.number, fault.name) for fault in FAULTS),
        "codes": table((f.name, f"{{ {f.number}, {string(f.doc)} }}") for f in FAULTS),
        "fields": table(proto_fields(schema)),
        "structs": "".join(map(struct, schema.structs)),
        "messages": "".join(map(message, schema.messages)),
    }
    text = re.sub("@([a-z_]+)@", lambda place: values[place[1]], _DISSECTOR)
    return {output.path.name: text.lstrip("\n")}


def filter_name(schema: Schema) -> str:
    """Return what the name of a field in a filter begins with.

    Wireshark wants more than one letter.
    """
    return schema.name if len(schema.name) > 1 else f"{schema.name}_frames"


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

-- The fields of structs. `known` are the only values of a field, as they are on the wire, and
-- `unknown` are bits that may not be set.
local structs = {
@structs@}

-- The messages by type.
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

function Cursor:scalar(field)
  local start = self.at
  local range = self:take(field.size)
  local bytes = range:bytes()
  if field.known and not field.known[bytes:tohex(true)] then refuse("unknown_value", start) end
  if field.unknown and range:le_uint64():band(field.unknown) ~= UInt64(0) then
    refuse("unknown_value", start)
  end
  if field.finite and bytes:get_index(field.size - 1) % 128 == 127
    and bytes:get_index(field.size - 2) >= field.finite then
    refuse("not_finite", start)
  end
  local item = self.tree:add_le(fields[field.field], range)
  for _, bit in ipairs(field.bits or {}) do item:add_le(fields[bit], range) end
  local unit = field.unit and " " .. field.unit or ""
  if field.absent == bytes:tohex(true) then
    unit = " (absent)"
  elseif field.scale then
    local value = tonumber(tostring(range[field.read](range))) * field.scale
    unit = (" (%.10g%s)"):format(value, unit)
  end
  item:append_text(unit)
end

function Cursor:struct(field)
  local tree, left = self.tree, self.size - self.at
  if left == 0 then refuse("truncated", self.at) end
  self.tree = tree:add(fields[field.field], self.frame(self.at, math.min(field.size, left)))
  for _, each in ipairs(structs[field.struct]) do self[each.kind](self, each) end
  self.tree = tree
end

function Cursor:array(field)
  for _ = 1, field.count do self[field.element.kind](self, field.element) end
end

function Cursor:octets(field)
  self:add_text(field, self:take(field.size))
end

-- What has a length in front.
function Cursor:prefixed(field)
  local start = self.at
  local prefix = self:take(PREFIX_SIZE)
  local length = prefix:le_uint()
  if length > field.max then refuse("too_long", start) end
  local range = self:take(length)
  if not field.nul and length > 0 then
    local nul = range:raw():find("\0", 1, true)
    if nul then refuse("embedded_nul", start + PREFIX_SIZE + nul - 1) end
  end
  return range, prefix
end

function Cursor:bytes(field)
  local range, prefix = self:prefixed(field)
  self.tree:add_le(fields.length, prefix)
  self:add_text(field, range)
end

-- The characters of UTF-8, as patterns that begin where they are told to.
local CHARACTERS = {
  "^[\0-\x7F]+", "^[\xC2-\xDF][\x80-\xBF]", "^\xE0[\xA0-\xBF][\x80-\xBF]",
  "^[\xE1-\xEC\xEE\xEF][\x80-\xBF][\x80-\xBF]", "^\xED[\x80-\x9F][\x80-\xBF]",
  "^\xF0[\x90-\xBF][\x80-\xBF][\x80-\xBF]", "^[\xF1-\xF3][\x80-\xBF][\x80-\xBF][\x80-\xBF]",
  "^\xF4[\x80-\x8F][\x80-\xBF][\x80-\xBF]",
}

-- How many bytes of a string are UTF-8, from its start.
local function valid(text)
  local at, last = 1, nil
  repeat
    for _, pattern in ipairs(CHARACTERS) do
      _, last = text:find(pattern, at)
      if last then break end
    end
    at = last and last + 1 or at
  until not last
  return at - 1
end

function Cursor:text(field)
  local range, prefix = self:prefixed(field)
  local length = range:len()
  local right = length > 0 and valid(range:raw()) or 0
  if right < length then refuse("not_utf8", self.at - length + right) end
  self.tree:add_le(fields.length, prefix)
  self.tree:add_packet_field(fields[field.field], range, ENC_UTF_8 + ENC_STRING)
end

-- Wireshark shows bytes in hexadecimal; what can be read of the first of them stands behind.
function Cursor:add_text(field, range)
  local text = range:raw():sub(1, 48):gsub("[^ -~]", ".")
  self.tree:add(fields[field.field], range):append_text('  "' .. text .. '"')
end

function Cursor:list(field)
  local start = self.at
  local prefix = self:take(PREFIX_SIZE)
  local count = prefix:le_uint()
  if count > field.max_items then refuse("too_many", start) end
  self.tree:add_le(fields.count, prefix)
  local first, element = self.at, field.element
  for _ = 1, count do
    start = self.at
    self[element.kind](self, element)
    if field.max_total and self.at - first > field.max_total then
      refuse("total_too_long", start)
    end
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
