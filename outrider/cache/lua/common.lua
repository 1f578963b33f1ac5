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

-- Note that a key bears a tag, for as long as its value can live; drop those that no longer do.
local function enrol(tag, life_ms)
  local name = 'or:cache:t:' .. namespace .. ':' .. tag
  local now = now_ms()
  redis.call('ZREMRANGEBYSCORE', name, '-inf', now)
  redis.call('ZADD', name, 'GT', now + life_ms, key)
  if redis.call('PTTL', name) < life_ms then
    redis.call('PEXPIRE', name, life_ms)
  end
end

local function tell(message)
  redis.call('PUBLISH', 'or:cache:i:' .. namespace, message)
end
