-- Notes the result of a delivery. A message that was replaced while it was sent stays: its
-- successor has more to tell.
-- KEYS: messages, due, log, channels. ARGV: JSON.
local now = cjson.decode(ARGV[1])
for _, message in ipairs(now.messages) do
  if redis.call('HGET', KEYS[1], message.group) == message.text then
    if now.done then
      redis.call('HDEL', KEYS[1], message.group)
      redis.call('ZREM', KEYS[2], message.group)
    else
      redis.call('HSET', KEYS[1], message.group, message.again)
      redis.call('ZADD', KEYS[2], string.format('%.6f', now.next_s), message.group)
    end
  end
end
redis.call('LPUSH', KEYS[3], now.entry)
redis.call('LTRIM', KEYS[3], 0, now.kept - 1)
redis.call('HSET', KEYS[4], now.channel, now.health)
return 1
