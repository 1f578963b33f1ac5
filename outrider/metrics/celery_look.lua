-- Look at a queue's list without moving its messages, which may be large. KEYS: the list.
-- ARGV: how many marks of the next in line, how many of every so-manieth behind.
-- The exit is the list's tail. Returns the end of the first message, its headers among it, and
-- the marks of those next in line, of those behind, and of the last.
local near, far = tonumber(ARGV[1]), tonumber(ARGV[2])

local function mark(message)
  return string.match(string.sub(message, -4096), '"delivery_tag": ?"([^"]+)"') or ''
end

local marks, behind = {}, {}
local first = redis.call('LRANGE', KEYS[1], -near, -1)
for place = #first, 1, -1 do
  marks[#marks + 1] = string.sub(mark(first[place]), 1, 12)
end
for place = 1, far do
  local message = redis.call('LINDEX', KEYS[1], -(place * near) - 1)
  if not message then
    break
  end
  behind[#behind + 1] = string.sub(mark(message), 1, 12)
end
local last = string.sub(mark(redis.call('LINDEX', KEYS[1], 0) or ''), 1, 12)
return {string.sub(first[#first] or '', -8192), marks, behind, last}
