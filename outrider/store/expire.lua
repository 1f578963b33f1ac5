-- Forget the pieces that ended before a time, and schemas that no piece is left of.
-- Returns how many pieces. KEYS: the host's pieces, all hosts, its schemas, the time up to which
-- everything was forgotten. ARGV: that time, what keys begin with, host, time to live.
local call = redis.call
local old = call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1])
for _, name in ipairs(old) do
  call('DEL', ARGV[2] .. name)
  call('ZREM', KEYS[1], name)
end
local names = call('ZRANGE', KEYS[1], 0, -1)
if #names == 0 then
  call('DEL', KEYS[1], KEYS[3], KEYS[4])
  call('SREM', KEYS[2], ARGV[3])
  return #old
end
local before = call('GET', KEYS[4])
if not before or tonumber(before) < tonumber(ARGV[1]) then
  call('SET', KEYS[4], ARGV[1], 'EX', ARGV[4])
end
if call('HLEN', KEYS[3]) > 1 then
  local needed = {}
  for _, name in ipairs(names) do
    if string.sub(name, 1, 2) == 'h:' then
      for _, field in ipairs(call('HKEYS', ARGV[2] .. name)) do needed[string.sub(field, 2)] = true end
    else
      needed[call('GETRANGE', ARGV[2] .. name, 8, 15)] = true
    end
  end
  for _, schema in ipairs(call('HKEYS', KEYS[3])) do
    if not needed[schema] then call('HDEL', KEYS[3], schema) end
  end
end
return #old
