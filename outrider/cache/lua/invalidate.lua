-- Forget a key ('k'), all keys of a tag ('t') or the namespace ('n', key ''), and tell every process.
-- Deleting the lease as well fences out whoever loads the old value now. ARGV[4]: which of the three.
local kind = ARGV[4]
local told = key
local known = versions()
local function forget(gone)
  for _, each in ipairs(known) do
    redis.call('UNLINK', place('v', each, gone))
    redis.call('DEL', place('l', each, gone))
  end
end
if kind == 'k' then
  forget(key)
elseif kind == 't' then
  local name = 'or:cache:t:' .. namespace .. ':' .. key
  for _, member in ipairs(redis.call('ZRANGE', name, 0, -1)) do
    forget(member)
  end
  redis.call('DEL', name)
else
  -- Time never comes again: an epoch that was evicted can't be given out twice.
  local time = redis.call('TIME')
  epoch = time[1] .. string.format('%06d', time[2])
  redis.call('HSET', state, 'epoch', epoch)
  told = epoch
end
count = redis.call('HINCRBY', state, 'invalidations', 1)
tell(kind .. count .. ':' .. told)
return {'told', epoch, count}
