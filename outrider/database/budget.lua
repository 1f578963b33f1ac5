-- The budget of one database server: who may have how many connections open. See budget.py.
--
-- KEYS: state, floors, shares, owners, holders, expiry, waiting.   ARGV: what to do, channel, ...
--
-- state    wall, surge, reserved (sum of floors), extra (sum over holders), starters, seq,
--          frozen_until_ms, urgent (as it was last told)
-- floors   instance -> what it is sure to have       shares  instance -> what the plan gives it
-- owners   instance -> the holder that has its floor
-- holders  holder -> cmsgpack {cap, open, floor, starter, want, instance, seq, share,
--          application, process}
--
-- Kept at all times:  reserved + surge + extra <= wall,  where a holder's extra is
-- max(0, max(cap, open) - floor - starter), and starters <= surge. (A wall that was lowered is
-- exceeded until holders give back; nobody is given anything meanwhile.)
local state, floors, shares, owners, holders, expiry, waiting =
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7]
local what, channel = ARGV[1], ARGV[2]
local PATIENCE_MS = 250
local clock = redis.call('TIME')
local now_ms = clock[1] * 1000 + math.floor(clock[2] / 1000)

local function number(key, field) return tonumber(redis.call('HGET', key, field) or '0') end

local function extra_of(h) return math.max(0, math.max(h.cap, h.open) - h.floor - h.starter) end

local function load(name)
  local packed = redis.call('HGET', holders, name)
  if packed then return cmsgpack.unpack(packed) end
  return nil
end

-- Keep a holder, and the sum that its part is in.
local function keep(name, h, before)
  h.seq = redis.call('HINCRBY', state, 'seq', 1)
  redis.call('HSET', holders, name, cmsgpack.pack(h))
  local difference = extra_of(h) - before
  if difference ~= 0 then redis.call('HINCRBY', state, 'extra', difference) end
end

local function free()
  return number(state, 'wall') - number(state, 'reserved') - number(state, 'surge')
    - number(state, 'extra')
end

-- Who has waited longest goes first. (Whoever is below its share first would take from a bot that is
-- busy for a moment all that it needs: shares are what a plan expects, not what happens.)
local function enqueue(name)
  if not redis.call('ZSCORE', waiting, name) then redis.call('ZADD', waiting, now_ms, name) end
end

-- How many wait for long although they are below their share: what others have above theirs goes
-- to them even if it is in use.
local function count_urgent()
  local urgent = 0
  for _, name in ipairs(redis.call('ZRANGEBYSCORE', waiting, '-inf', now_ms - PATIENCE_MS)) do
    local h = load(name)
    if h and math.max(h.cap, h.open) < h.share then urgent = urgent + 1 end
  end
  return urgent
end

-- Give what is free to those who wait, one at a time, and say how many still do.
local function serve(told_before)
  if number(state, 'frozen_until_ms') <= now_ms then
    local left = free()
    while left > 0 do
      local first = redis.call('ZRANGE', waiting, 0, 0)[1]
      if not first then break end
      redis.call('ZREM', waiting, first)
      local h = load(first)
      if h and h.want > h.cap then
        local before = extra_of(h)
        h.cap = h.cap + 1
        keep(first, h, before)
        if h.want > h.cap then enqueue(first) end
        local news = string.format('cap %s %d %.0f', first, h.cap, h.seq)
        redis.call('PUBLISH', channel, news)
        left = free()
      end
    end
  end
  local hungry = redis.call('ZCARD', waiting)
  local urgent = count_urgent()
  -- Only what is new: whoever hears it renews, and would have it said again.
  if hungry ~= told_before or urgent ~= number(state, 'urgent') then
    redis.call('HSET', state, 'urgent', urgent)
    redis.call('PUBLISH', channel, 'hungry ' .. hungry .. ' ' .. urgent)
  end
  return hungry
end

local function forget(name)
  local h = load(name)
  if not h then return end
  redis.call('HINCRBY', state, 'extra', -extra_of(h))
  redis.call('HINCRBY', state, 'starters', -h.starter)
  if redis.call('HGET', owners, h.instance) == name then redis.call('HDEL', owners, h.instance) end
  redis.call('HDEL', holders, name)
  redis.call('ZREM', expiry, name)
  redis.call('ZREM', waiting, name)
end

-- Publish a plan. ARGV: wall, surge, ttl_ms, then instance, floor, share for each.
--
-- What is lowered is lowered at once. A floor or the surge is raised only as far as there is room:
-- what somebody has is not promised to another. The next plan raises the rest.
if what == 'plan' then
  if redis.call('HEXISTS', state, 'wall') == 0 then
    -- Nobody knows what was given out before: whoever still holds it tells within a lease's time.
    redis.call('HSET', state, 'frozen_until_ms', now_ms + ARGV[5])
    -- Numbers of caps must not begin anew. As microseconds they are above all that were given
    -- before: nobody gives caps faster than that.
    redis.call('HSET', state, 'seq', clock[1] .. string.format('%06d', clock[2]))
  end
  local wall, surge = tonumber(ARGV[3]), tonumber(ARGV[4])
  local planned, floor, reserved = {}, {}, 0
  for place = 6, #ARGV, 3 do
    local instance = ARGV[place]
    planned[#planned + 1] = {instance, tonumber(ARGV[place + 1]), ARGV[place + 2]}
    floor[instance] = math.min(tonumber(ARGV[place + 1]), number(floors, instance))
    reserved = reserved + floor[instance]
  end
  local known, extra = redis.call('HGETALL', holders), 0
  local all = {}
  for place = 1, #known, 2 do
    local h = cmsgpack.unpack(known[place + 1])
    if h.floor > 0 then h.floor = floor[h.instance] or 0 end
    all[known[place]] = h
    extra = extra + extra_of(h)
  end
  local old_surge = math.max(number(state, 'starters'), math.min(surge, number(state, 'surge')))
  local room = wall - reserved - old_surge - extra
  for _, each in ipairs(planned) do
    local raise = math.max(0, math.min(each[2] - floor[each[1]], room))
    floor[each[1]] = floor[each[1]] + raise
    reserved, room = reserved + raise, room - raise
  end
  surge = old_surge + math.max(0, math.min(surge - old_surge, room))
  redis.call('DEL', floors, shares)
  for _, each in ipairs(planned) do
    redis.call('HSET', floors, each[1], floor[each[1]])
    redis.call('HSET', shares, each[1], each[3])
  end
  extra = 0
  for name, h in pairs(all) do
    if h.floor > 0 then h.floor = floor[h.instance] or 0 end
    h.share = number(shares, h.instance)
    redis.call('HSET', holders, name, cmsgpack.pack(h))
    extra = extra + extra_of(h)
  end
  redis.call('HSET', state, 'wall', wall, 'surge', surge, 'reserved', reserved, 'extra', extra)
  serve(-1)
  return reserved
end

if redis.call('HEXISTS', state, 'wall') == 0 then return nil end
local told = redis.call('ZCARD', waiting)

-- Renew a lease. ARGV: holder, instance, open, want, seq that it knows, ttl_ms, application, process.
if what == 'renew' then
  local name, instance = ARGV[3], ARGV[4]
  local open, want, seq, ttl_ms = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
  local frozen = number(state, 'frozen_until_ms') > now_ms
  local h = load(name)
  local before = h and extra_of(h) or 0
  local fresh = h == nil
  if fresh then
    h = {cap = 0, open = open, floor = 0, starter = 0, want = want, instance = instance, seq = seq,
         share = number(shares, instance), application = ARGV[9], process = ARGV[10]}
    -- A server's clock may have gone back while it was away.
    if seq > number(state, 'seq') then redis.call('HSET', state, 'seq', ARGV[7]) end
  end
  -- A message that comes late or twice tells of the past: it frees nothing, and takes nothing
  -- that was given to another meanwhile.
  h.open = seq == h.seq and open or math.max(h.open, math.min(open, h.cap))
  if h.floor == 0 then
    local owner = redis.call('HGET', owners, instance)
    local floor = number(floors, instance)
    if floor > 0 and (not owner or owner == name or redis.call('HEXISTS', holders, owner) == 0) then
      redis.call('HSET', owners, instance, name)
      redis.call('HINCRBY', state, 'starters', -h.starter)
      h.floor, h.starter = floor, 0
    elseif floor > 0 and h.starter == 0 then
      -- Its predecessor may still have connections open: begin with the part kept for that.
      h.starter = math.max(0, math.min(floor, number(state, 'surge') - number(state, 'starters')))
      redis.call('HINCRBY', state, 'starters', h.starter)
    end
  end
  local base = h.floor + h.starter
  local cap = h.cap
  if fresh then
    -- What it has open already was given to it before this budget was born.
    cap = math.max(base, open)
  elseif want < cap then
    -- Only who knows its present cap may lower it: it may have been raised meanwhile.
    if seq == h.seq then cap = math.max(base, want) end
  end
  h.cap, h.want = math.max(cap, base), want
  local room = free() + before - extra_of(h)
  if want > h.cap and not frozen and room > 0 then h.cap = math.min(want, h.cap + room) end
  keep(name, h, before)
  redis.call('ZADD', expiry, now_ms + ttl_ms, name)
  if want > h.cap then enqueue(name) else redis.call('ZREM', waiting, name) end
  local hungry = serve(told)
  h = load(name)
  return {h.cap, h.floor + h.starter, h.share, h.seq, hungry, frozen and 1 or 0}
end

-- Give everything back. ARGV: holders that are known to have nothing open.
if what == 'release' then
  for place = 3, #ARGV do forget(ARGV[place]) end
  return serve(told)
end

-- Correct what lost holders have open, counted by the server. ARGV: holder, open for each.
if what == 'audit' then
  for place = 3, #ARGV, 2 do
    local name, open = ARGV[place], tonumber(ARGV[place + 1])
    local h = load(name)
    local due = redis.call('ZSCORE', expiry, name)
    if h and due and tonumber(due) <= now_ms then
      if open == 0 then
        forget(name)
      else
        local before = extra_of(h)
        h.cap, h.open, h.want = 0, open, 0
        redis.call('ZREM', waiting, name)
        keep(name, h, before)
      end
    end
  end
  return serve(told)
end

-- End the lease of a process that is known to be dead; an audit then frees its part. ARGV: holders.
if what == 'bury' then
  for place = 3, #ARGV do
    if redis.call('ZSCORE', expiry, ARGV[place]) then
      redis.call('ZADD', expiry, 0, ARGV[place])
      redis.call('ZREM', waiting, ARGV[place])
    end
  end
  return serve(told)
end

-- Return all holders: name, application, process, open, cap, floor, starter, lost for each.
if what == 'holders' then
  local known, all = redis.call('HGETALL', holders), {}
  for place = 1, #known, 2 do
    local h = cmsgpack.unpack(known[place + 1])
    local due = tonumber(redis.call('ZSCORE', expiry, known[place]) or '0')
    all[#all + 1] = {known[place], h.application, h.process, h.open, h.cap, h.floor, h.starter,
                     due <= now_ms and 1 or 0, h.instance, h.share}
  end
  return all
end
return redis.error_reply('no such order: ' .. what)
