-- Ask to load a key. Returns its value if there is one, who else loads it, or a lease with a token.
-- ARGV[4]: holder; [5]: lease in ms; [6]: 'miss', 'beside' (the value is held to be old) or 'steal';
-- [7]: a value that lives longer than so many ms is newer than ours; [8]: life of tags in ms;
-- [9...]: tags.
local holder, lease_ms, mode, newer_ms = ARGV[4], ARGV[5], ARGV[6], tonumber(ARGV[7])
local value, lease = place('v', version, key), place('l', version, key)
if mode == 'miss' or (mode == 'beside' and redis.call('PTTL', value) > newer_ms) then
  local found = redis.call('GET', value)
  if found then
    return {'value', epoch, count, found}
  end
end
if mode ~= 'steal' then
  local left_ms = redis.call('PTTL', lease)
  if left_ms > 0 then
    return {'held', epoch, count, left_ms}
  end
end
-- The number only grows, and the holder keeps two tokens apart even if it was lost.
local token = redis.call('HINCRBY', state, 'token', 1) .. ':' .. holder
redis.call('SET', lease, token, 'PX', lease_ms)
for number = 9, #ARGV do
  enrol(ARGV[number], tonumber(ARGV[8]))
end
return {'lease', epoch, count, token}
