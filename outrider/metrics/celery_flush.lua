-- Add a batch of counts, once, while its writer may. KEYS: counts, runtimes, the writer's last
-- batch, apps, workers, receiver, lease. ARGV: batch, now, app, most fields, lease's holder or '',
-- receiver's JSON or '', seconds that runtimes stay, then three lists, each led by its length:
-- counts (field, by), runtimes (field, by), workers (name, JSON).
-- Returns 1: added, 0: it was added before, -1: the lease is another's, nothing was written.
if ARGV[5] ~= '' and redis.call('GET', KEYS[7]) ~= ARGV[5] then
  return -1
end
local last = tonumber(redis.call('GET', KEYS[3]))
if last and last >= tonumber(ARGV[1]) then
  return 0
end
local at = 8

-- A field beyond the cap is added to the overflow of its kind: names from outside cost no memory.
local function add(key, overflow)
  local room = tonumber(ARGV[4]) - redis.call('HLEN', key)
  local pairs = tonumber(ARGV[at])
  at = at + 1
  for _ = 1, pairs do
    local field, by = ARGV[at], ARGV[at + 1]
    at = at + 2
    if room <= 0 and redis.call('HEXISTS', key, field) == 0 then
      field = overflow(field)
    end
    if redis.call('HINCRBY', key, field, by) == tonumber(by) then
      room = room - 1
    end
  end
  return pairs
end

if add(KEYS[1], function(field)
  return string.match(field, '^[^\31]*') .. '\31overflow\31overflow\31overflow\31'
end) > 0 then
  redis.call('EXPIRE', KEYS[1], 2592000)
end
if add(KEYS[2], function(field)
  return 'overflow\31' .. string.match(field, '[^\31]*$')
end) > 0 then
  redis.call('EXPIRE', KEYS[2], ARGV[7])
end
for _ = 1, tonumber(ARGV[at]) do
  redis.call('HSET', KEYS[5], ARGV[at + 1], ARGV[at + 2])
  at = at + 2
end
if ARGV[6] ~= '' then
  redis.call('SET', KEYS[6], ARGV[6], 'EX', 86400)
end
redis.call('ZADD', KEYS[4], ARGV[2], ARGV[3])
redis.call('SET', KEYS[3], ARGV[1], 'EX', 86400)
return 1
