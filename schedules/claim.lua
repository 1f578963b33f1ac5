-- Claim a tick of an entry. KEYS: lease, ticks, missed. ARGV: holder, entry, tick, now, patient.
-- An entry that was never sent is sent at once, or when its next tick begins if it is patient.
-- Only the holder of the lease may, and only forwards: each tick is sent once, by one beat.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return -1
end
local last = tonumber(redis.call('HGET', KEYS[2], ARGV[2]))
local tick = tonumber(ARGV[3])
if last and last >= tick then
  return 0
end
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
if not last and ARGV[5] == '1' then
  return 0
end
if last and tick - last > 1 then
  redis.call('LPUSH', KEYS[3], cjson.encode({
    entry = ARGV[2], first = last + 1, last = tick - 1, at_s = tonumber(ARGV[4])}))
  redis.call('LTRIM', KEYS[3], 0, 999)
end
return 1
