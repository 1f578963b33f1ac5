-- Put one sealed piece in the place of those that it was made of, unless one of them has changed
-- since it was read. Returns 1: done, 0: something has changed and nothing was done.
-- KEYS: the new piece, the host's pieces, its schemas, then the keys of what it was made of.
-- ARGV: the piece, its name, its end, its time to live, its schema's id, names, time to live of
--   pieces and schemas, then for each key it was made of: its name, and what it looked like: rows
--   and replacements of a head ('12:0'), the header of a sealed piece, '' for one that is not there.
local call = redis.call
for at = 4, #KEYS do
  local name, seen = ARGV[2 * at], ARGV[2 * at + 1]
  local now
  if string.sub(name, 1, 1) == 'h' then
    now = call('HLEN', KEYS[at]) .. ':' .. (call('HGET', KEYS[at], '#') or 0)
  else
    now = call('GETRANGE', KEYS[at], 0, 55)
  end
  if now ~= seen then return 0 end
end
call('SET', KEYS[1], ARGV[1], 'EX', ARGV[4])
for at = 4, #KEYS do
  if KEYS[at] ~= KEYS[1] then
    call('DEL', KEYS[at])
    call('ZREM', KEYS[2], ARGV[2 * at])
  end
end
call('ZADD', KEYS[2], ARGV[3], ARGV[2])
call('HSETNX', KEYS[3], ARGV[5], ARGV[6])
for at = 2, 3 do
  if call('TTL', KEYS[at]) < tonumber(ARGV[7]) then call('EXPIRE', KEYS[at], ARGV[7]) end
end
return 1
