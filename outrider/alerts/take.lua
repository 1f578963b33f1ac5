-- Moves changes from the outbox into groups of alerts: each once, and only if it is newer than what
-- the group has of the alert.
-- KEYS: outbox, groups, acknowledgements. ARGV: now, JSON list of changes.
-- A member is stored as its time, a space, and JSON.
local now, taken = tonumber(ARGV[1]), 0
for _, change in ipairs(cjson.decode(ARGV[2])) do
  if redis.call('HDEL', KEYS[1], change.id) == 1 then
    taken = taken + 1
    for _, group in ipairs(change.groups) do
      local head = 'or:alerts:group:' .. group.id
      local old = redis.call('HGET', head .. ':members', change.key)
      if not old or tonumber(string.match(old, '^[^ ]+')) <= change.at_s then
        redis.call('HSET', head .. ':members', change.key, change.text)
        redis.call('HSET', head, 'route', group.route, 'labels', group.labels)
        redis.call('HINCRBY', head, 'version', 1)
        redis.call('PERSIST', head)
        if change.ended then
          redis.call('HDEL', KEYS[3], change.key)
        end
        local last, due = redis.call('HGET', head, 'last_s'), now + group.wait
        if last then
          due = math.max(now, tonumber(last) + group.interval)
        end
        redis.call('ZADD', KEYS[2], 'LT', string.format('%.6f', due), group.id)
      end
    end
  end
end
return taken
