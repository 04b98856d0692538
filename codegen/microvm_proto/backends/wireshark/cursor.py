"""Template of the Lua code that reads a frame's body, with one function for each kind of type."""

from __future__ import annotations

CURSOR = r"""
local function refuse(fault, offset)
  error({ fault = fault, offset = offset }, 0)
end

-- A position in a frame: `at` is the offset from its start, `number` that of the current field.
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

-- Reads a value that is preceded by its length. Returns the ranges of the value and of the length.
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

-- Patterns of UTF-8 characters. In a search from an offset, `^` matches at that offset.
local CHARACTERS = {
  "^[\0-\x7F]+", "^[\xC2-\xDF][\x80-\xBF]", "^\xE0[\xA0-\xBF][\x80-\xBF]",
  "^[\xE1-\xEC\xEE\xEF][\x80-\xBF][\x80-\xBF]", "^\xED[\x80-\x9F][\x80-\xBF]",
  "^\xF0[\x90-\xBF][\x80-\xBF][\x80-\xBF]", "^[\xF1-\xF3][\x80-\xBF][\x80-\xBF][\x80-\xBF]",
  "^\xF4[\x80-\x8F][\x80-\xBF][\x80-\xBF]",
}

-- Returns the number of bytes at the start of a string that are valid UTF-8.
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

-- Wireshark shows bytes in hexadecimal. This appends the first 48 of them as text.
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

@if stream
"""
