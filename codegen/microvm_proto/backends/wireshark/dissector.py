"""Template of the Wireshark dissector in Lua, with placeholders for what depends on a schema."""

from __future__ import annotations

DISSECTOR = r"""
-- A Wireshark dissector for @name@, version @version@, over @transport@.
-- Generated from @source@ by `microvm-proto gen`.
--
--   tshark -X lua_script:@file@ -o @filter@.port:PORT -r FILE
--
-- PORT is the port of the @second@. Without it, use `Decode As` in Wireshark. The direction of the
-- messages is then not checked.

local HEADER_SIZE, PREFIX_SIZE = @header_size@, @prefix_size@
@if cobs datagram check
local CHECK_SIZE = @check_size@
@end
@if check
local SEEDS = { @seeds@ }
@end

-- The prefix of filters and preferences. If Wireshark already has a protocol of that name,
-- `_frames` is appended.
local NAME = "@filter@"
local free, protocol = pcall(Proto, NAME, "@name@, version @version@")
if not free then
  NAME = NAME .. "_frames"
  protocol = Proto(NAME, "@name@, version @version@")
end

protocol.prefs.port = Pref.uint("@transport@ port of the @second@", 0, "0 if it is not known")

-- A field of a message, struct or flags has a dot in its name here. These others have none, so the
-- names cannot clash.
local fields = {
@header_fields@  length = ProtoField.uint32(NAME .. ".length", "length"),
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

-- The code and the description of each fault.
local faults = {
@codes@}

-- The fields of structs. `known` lists the valid values of a field, as they are encoded; `unknown`
-- has the bits that must not be set.
local structs = {
@structs@}

-- The messages by type.
local messages = {
@messages@}

@cursor@
-- Checks everything that needs no body. Returns the message of the frame.
local function check_header(header, sender)
@else
-- Checks everything except for checksum and body. `header` is the whole frame. Returns its message.
local function check_header(header, sender)
  local length = header:len() - HEADER_SIZE - CHECK_SIZE
  if length < 0 then refuse("truncated", header:len()) end
@end
  local message = messages[@type@:le_uint()]
@if id
  local id = @id@:le_uint()
@end
  if not message then refuse("unknown_type", @type_at@) end
  if sender and message.sender ~= sender and message.sender ~= "both" then
    refuse("bad_direction", @type_at@)
  end
@if flags
  if @flags@:le_uint() ~= 0 then refuse("reserved_flags", @flags_at@) end
@end
@if id
  if message.id == "required" and id == 0 or message.id == "none" and id ~= 0 then
    refuse("bad_id", @id_at@)
  end
@end
@if stream
  if @body_length@:le_uint() > message.max_body then refuse("body_too_long", 0) end
@else
  if length > message.max_body then refuse("body_too_long", 0) end
@end
  return message
end

@if crc16
-- CRC-16/IBM-3740.
local function crc(data)
  local value = 0xffff
  for at = 1, #data do
    value = bit.bxor(value, bit.lshift(data:byte(at), 8))
    for _ = 1, 8 do
      value = bit.lshift(value, 1)
      if value >= 0x10000 then value = bit.bxor(value, 0x11021) end
    end
  end
  return value
end

@end
@if crc32c
-- CRC-32C.
local function crc(data)
  local value = 0xffffffff
  for at = 1, #data do
    value = bit.bxor(value, data:byte(at))
    for _ = 1, 8 do
      local last = bit.band(value, 1)
      value = bit.rshift(value, 1)
      if last == 1 then value = bit.bxor(value, 0x82f63b78) end
    end
  end
  return bit.bnot(value)
end

@end
@if check
-- Checks that the checksum of a frame is correct for one of the versions.
local function check_check(frame)
  local at = frame:len() - CHECK_SIZE
  local seed = bit.bxor(crc(frame:raw(0, at)), frame(at, CHECK_SIZE):le_uint())
  for _, each in ipairs(SEEDS) do
    if seed == bit.tobit(each) then return end
  end
  refuse("bad_check", at)
end

@end
local function check_body(cursor, message)
  for _, field in ipairs(message.fields) do
    cursor.number = field.number
    cursor[field.kind](cursor, field)
  end
  cursor.number = 0
  if cursor.at < cursor.size then refuse("trailing_bytes", cursor.at) end
end

-- Calls `check`. If it finds a fault, shows the fault in the tree and returns false. Otherwise
-- returns true and the result of `check`.
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
@header_shown@end

@if cobs datagram
-- Shows a complete frame, which may be malformed.
local function show(frame, pinfo, root)
  local tree = root:add(protocol, frame(), "@name@")
  local size = math.max(frame:len() - CHECK_SIZE, 0)
  local cursor = { frame = frame, tree = tree, size = size, at = HEADER_SIZE, number = 0 }
  setmetatable(cursor, Cursor)
  if frame:len() >= HEADER_SIZE then add_header(tree, frame) end
  local passed, message = shown(tree, frame, cursor, check_header, frame, sender_of(pinfo))
  local name = passed and message.name or "malformed"
  tree:append_text(": " .. name)
  pinfo.cols.info:append(" " .. name)
  if not passed then return end
@if check
  if not shown(tree, frame, cursor, check_check, frame) then return end
@end
  if not shown(tree, frame, cursor, check_body, cursor, message) then return end
@if check
  tree:add_le(fields.check, frame(size, CHECK_SIZE))
@end
end

@end
@if cobs
-- Decodes COBS. Returns nil if a run extends beyond the end of the data.
local function unstuffed(data)
  local parts, at = {}, 1
  while at <= #data do
    local code = data:byte(at)
    if at + code - 1 > #data then return nil end
    parts[#parts + 1] = data:sub(at + 1, at + code - 1)
    at = at + code
    if code < 255 and at <= #data then parts[#parts + 1] = "\0" end
  end
  return table.concat(parts)
end

-- Shows the bytes between two zero bytes.
local function show_stuffed(stuffed, pinfo, root)
  local bare = unstuffed(stuffed:raw())
  if bare and #bare > 0 then
    show(ByteArray.new(bare, true):tvb("frame"), pinfo, root)
    return
  end
  local tree = root:add(protocol, stuffed(), "@name@: malformed")
  local fault = bare and "truncated" or "bad_stuffing"
  shown(tree, stuffed, { number = 0 }, refuse, fault, 0)
  pinfo.cols.info:append(" malformed")
end

@end
@if stream
-- Shows the frame at an offset. Returns its size. If the frame is incomplete, returns 0 and the
-- number of missing bytes. If it is malformed, so that its end is unknown, returns nil.
local function dissect(buffer, at, pinfo, root)
  local left = buffer:len() - at
  if left < HEADER_SIZE then return 0, DESEGMENT_ONE_MORE_SEGMENT end
  local header = buffer(at, HEADER_SIZE):tvb()
  local sender = sender_of(pinfo)
  local passed, message = pcall(check_header, header, sender)
@if check
  local size = HEADER_SIZE + @body_length@:le_uint() + CHECK_SIZE
@else
  local size = HEADER_SIZE + @body_length@:le_uint()
@end
  if passed and left < size then return 0, size - left end

  local frame = buffer(at, passed and size or HEADER_SIZE):tvb()
  local type = messages[@type@:le_uint()]
  local name = type and type.name or "unknown"
@if id
  local tree = root:add(protocol, frame(), "@name@: " .. name .. ", id " .. @id@:le_uint())
@else
  local tree = root:add(protocol, frame(), "@name@: " .. name)
@end
  local cursor = { frame = frame, tree = tree, size = size, at = HEADER_SIZE, number = 0 }
@if check
  cursor.size = size - CHECK_SIZE
@end
  setmetatable(cursor, Cursor)
  add_header(tree, frame)
  pinfo.cols.info:append(" " .. name)
  if not shown(tree, frame, cursor, check_header, header, sender) then return nil end
@if check
  if not shown(tree, frame, cursor, check_check, frame) then return nil end
@end
  if not shown(tree, frame, cursor, check_body, cursor, message) then return nil end
@if check
  tree:add_le(fields.check, frame(cursor.size, CHECK_SIZE))
@end
  return size
end

@end
function protocol.dissector(buffer, pinfo, root)
  pinfo.cols.protocol = "@name@"
  pinfo.cols.info = ""
@if datagram
  show(buffer, pinfo, root)
@else
  local at = 0
  while at < buffer:len() do
@if cobs
    local zero = buffer:raw(at):find("\0", 1, true)
    if not zero then
      pinfo.desegment_offset = at
      pinfo.desegment_len = DESEGMENT_ONE_MORE_SEGMENT
      return
    end
    if zero > 1 then show_stuffed(buffer(at, zero - 1):tvb(), pinfo, root) end
    at = at + zero
@else
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
@end
  end
@end
end

local ports, current = DissectorTable.get("@ports@"), 0
ports:add_for_decode_as(protocol)

function protocol.prefs_changed()
  if current ~= 0 then ports:remove(current, protocol) end
  current = protocol.prefs.port
  if current ~= 0 then ports:add(current, protocol) end
end
"""
