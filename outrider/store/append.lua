-- Keep a row unless its tick has one. Returns 1: kept, 0: the tick has one already,
-- -1: send the schema's names as well, -2: older than what was forgotten.
-- KEYS: the range's head, the range sealed, the chunk sealed, the host's pieces, all hosts,
--       the host's schemas, the time up to which everything was forgotten.
-- ARGV: tick, row, schema id, names or '', then what is the same for the whole range: the head's
--       name, its end, time to live, host, '1' to replace the tick's row.
local call = redis.call
local tick, row, schema = ARGV[1], ARGV[2], ARGV[3]
local replace = ARGV[9] == '1'

-- Whether a sealed piece has the tick: its header says which it has (layout: chunks.py).
local function has(key)
  local head = call('GETRANGE', key, 0, 55)
  if #head < 56 or string.sub(head, 1, 2) ~= 'OC' then return false end
  local first, span, offset, rows = struct.unpack('<i8I4I4I4', head, 25)
  local at = tonumber(tick) - first
  if at < 0 or at >= span then return false end
  if string.byte(head, 5) == 0 then return at >= offset and at < offset + rows end
  local place = 56 + math.floor(at / 8)
  local byte = string.byte(call('GETRANGE', key, place, place))
  return byte ~= nil and math.floor(byte / 2 ^ (at % 8)) % 2 == 1
end

local old
if replace then
  old = call('HGET', KEYS[1], tick)
  call('HSET', KEYS[1], tick, row)
  -- A seal that has read the old row notices by this count, and leaves the head as it is.
  if old then call('HINCRBY', KEYS[1], '#', 1) end
elseif has(KEYS[3]) or has(KEYS[2]) or call('HSETNX', KEYS[1], tick, row) == 0 then
  return 0
end

-- All that follows is done once a range, or when a range sees a schema for the first time.
local mark = '#' .. schema
if call('HSETNX', KEYS[1], mark, '') == 0 then return 1 end
local forgotten = call('GET', KEYS[7])
local refused = forgotten and tonumber(ARGV[6]) <= tonumber(forgotten) and -2
if not refused and call('HEXISTS', KEYS[6], schema) == 0 then
  if ARGV[4] == '' then refused = -1 else call('HSET', KEYS[6], schema, ARGV[4]) end
end
if refused then
  call('HDEL', KEYS[1], tick, mark)
  if old then call('HSET', KEYS[1], tick, old) end
  return refused
end
-- Pieces whose time to live is over leave their names behind when nobody does the housekeeping.
for _, name in ipairs(call('ZRANGE', KEYS[4], 0, 3)) do
  local key = string.sub(KEYS[1], 1, #KEYS[1] - #ARGV[5]) .. name
  if name ~= ARGV[5] and call('EXISTS', key) == 0 then call('ZREM', KEYS[4], name) end
end
call('ZADD', KEYS[4], ARGV[6], ARGV[5])
call('SADD', KEYS[5], ARGV[8])
call('EXPIRE', KEYS[1], ARGV[7])
call('EXPIRE', KEYS[4], ARGV[7])
call('EXPIRE', KEYS[6], ARGV[7])
return 1
