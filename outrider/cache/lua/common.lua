-- What all scripts of the cache begin with.
-- KEYS[1]: or:cache:state:{namespace}. ARGV[1..3]: namespace, loader version, key (or tag).
-- The epoch is read here, on the server: a process that has not heard of a flush can't undo it.
-- Names are built here, so that a cluster is not supported; one server, replicated or not, is.
local namespace, version, key = ARGV[1], ARGV[2], ARGV[3]
local state = KEYS[1]
local epoch = redis.call('HGET', state, 'epoch') or ''
local count = tonumber(redis.call('HGET', state, 'invalidations') or '0')

local function place(kind, of_version, of_key)
  local generation = ''
  if epoch ~= '' or of_version ~= '' then
    generation = '@' .. epoch .. '.' .. of_version
  end
  return 'or:cache:' .. kind .. ':' .. namespace .. generation .. ':' .. of_key
end

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function versions()
  local found = {''}
  for _, field in ipairs(redis.call('HKEYS', state)) do
    if string.sub(field, 1, 2) == 'v:' then
      found[#found + 1] = string.sub(field, 3)
    end
  end
  return found
end

-- Note that a key bears a tag, for as long as its value can live; drop a few of those that no longer
-- do. A value that somebody else loaded ahead of need outlives its note: its key stays. So does the
-- whole, for a day, which is as long as loads ahead go on for a key that nobody uses.
local DAY_MS = 86400000
local function enrol(tag, life_ms)
  local name = 'or:cache:t:' .. namespace .. ':' .. tag
  local now = now_ms()
  for _, old in ipairs(redis.call('ZRANGEBYSCORE', name, '-inf', now, 'LIMIT', 0, 8)) do
    local left_ms = 0
    for _, each in ipairs(versions()) do
      left_ms = math.max(left_ms, redis.call('PTTL', place('v', each, old)))
    end
    if left_ms > 0 then
      redis.call('ZADD', name, now + left_ms, old)
    else
      redis.call('ZREM', name, old)
    end
  end
  redis.call('ZADD', name, 'GT', now + life_ms, key)
  if redis.call('PTTL', name) < life_ms + DAY_MS then
    redis.call('PEXPIRE', name, life_ms + DAY_MS)
  end
end

local function tell(message)
  redis.call('PUBLISH', 'or:cache:i:' .. namespace, message)
end
