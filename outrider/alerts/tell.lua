-- Writes what a look at a group decided, all of it or nothing: nothing when the group, or a message
-- of it that waits, changed since it was read.
-- KEYS: group, members, told, groups, acknowledgements, missed. ARGV: group's name, JSON decision.
local name, now = ARGV[1], cjson.decode(ARGV[2])
if (redis.call('HGET', KEYS[1], 'version') or '') ~= now.version then
  return 0
end
for _, message in ipairs(now.messages) do
  if (redis.call('HGET', message.waits, name) or '') ~= message.expected then
    return 0
  end
end
for _, message in ipairs(now.messages) do
  redis.call('HSET', message.waits, name, message.text)
  redis.call('ZADD', message.due, 'LT', string.format('%.6f', message.at_s), name)
end
for _, alert in ipairs(now.told) do
  redis.call('SADD', KEYS[3], alert)
  redis.call('SREM', KEYS[6], alert)
end
-- What is hidden now may have been in the message that was replaced: it is news when it shows again.
for _, alert in ipairs(now.missed) do
  redis.call('SADD', KEYS[6], alert)
end
for _, alert in ipairs(now.ended) do
  redis.call('HDEL', KEYS[2], alert)
  redis.call('SREM', KEYS[3], alert)
  redis.call('SREM', KEYS[6], alert)
end
for _, alert in ipairs(now.unacknowledged) do
  redis.call('HDEL', KEYS[5], alert)
end
redis.call('HINCRBY', KEYS[1], 'version', 1)
redis.call('HSET', KEYS[1], 'level', now.level)
if now.last_s ~= '' then
  redis.call('HSET', KEYS[1], 'last_s', now.last_s)
end
if redis.call('EXISTS', KEYS[2]) == 1 then
  redis.call('ZADD', KEYS[4], string.format('%.6f', now.next_s), name)
else
  -- Remembered for a while, so that what flaps does not begin a new group each time.
  redis.call('ZREM', KEYS[4], name)
  redis.call('DEL', KEYS[3], KEYS[6])
  redis.call('EXPIRE', KEYS[1], now.kept_s)
end
return 1
