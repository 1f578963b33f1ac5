-- Everything that a reader needs of a host's pieces, in one round trip.
-- KEYS: the host's pieces, its schemas.
-- ARGV: what ('series', 'window', 'ticks', 'newest'), what keys begin with, start, end, how many
--   schemas the reader knows, for each of them: id, the place of the series (-1: it has none), its
--   length; then for each sealed piece whose table it knows: name, first and last byte of the blob.
-- Returns damaged rows, {schema id, names, ...} of those it does not know, {name, blob, ...} of the
-- pieces whose tables it knows, then a list a piece:
--   name, header and bitmap, blob      a sealed piece, for a series (not when it lacks it); the
--                                      first with the table too, when that is short
--   name, all of it                    a sealed piece, for a window
--   name, header and bitmap            a sealed piece, for ticks
--   name, ticks, values                raw rows, for a series: ticks as text, 8 bytes a value
--   name, ticks, rows                  raw rows, for a window: 8 bytes a tick
--   name, ticks                        raw rows, for ticks
-- 'newest' is a window of what ends last before the end, with one raw row of each head.
local call = redis.call
local what, prefix = ARGV[1], ARGV[2]
local start_s, end_s = tonumber(ARGV[3]), tonumber(ARGV[4])
local place, width, unknown, asked, first_byte = {}, {}, {}, {}, {}
local schemas_end = 5 + 3 * tonumber(ARGV[5])
for at = 6, schemas_end, 3 do
  place[ARGV[at]], width[ARGV[at]] = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
end
for at = schemas_end + 1, #ARGV, 3 do first_byte[ARGV[at]] = at + 1 end
local damaged, found, told = 0, {}, {}
local most_table = 16384
-- So much of a sealed piece is fetched at first: as a rule it holds the table's entry as well.
local ahead = 56
for _, columns in pairs(width) do ahead = math.max(ahead, math.min(56 + 4 * (columns + 2), 4096)) end
local missing = string.char(0x52, 0x4f, 0, 0, 0, 0, 0xf8, 0x7f)

-- Tells whether the reader knows a schema, and looks its names up when it does not.
local function known(id)
  if place[id] then return true end
  if asked[id] == nil then
    local names = call('HGET', KEYS[2], id)
    asked[id] = names ~= false
    if names then
      unknown[#unknown + 1] = id
      unknown[#unknown + 1] = names
    end
  end
  return false
end

local function sealed(name, key)
  if what == 'window' or what == 'newest' then
    local all = call('GET', key)
    if all then
      known(string.sub(all, 9, 16))
      found[#found + 1] = { name, all }
    end
    return
  end
  local begin = call('GETRANGE', key, 0, what == 'series' and ahead - 1 or 55)
  if begin == '' then return end
  local head = string.sub(begin, 1, 56)
  if #head < 56 then
    found[#found + 1] = { name, head, '' }
    return
  end
  local kind, group, id = string.byte(head, 5), string.byte(head, 6), string.sub(head, 9, 16)
  local span = struct.unpack('<I4', head, 33)
  local base = 56
  if kind == 1 and span < 2 ^ 24 then
    base = base + math.ceil(span / 8)
    head = head .. call('GETRANGE', key, 56, base - 1)
  end
  if what == 'ticks' then
    found[#found + 1] = { name, head }
  elseif not known(id) or group == 0 then
    if not asked[id] then found[#found + 1] = { name, head, '' } end  -- damaged: nobody knows it
  elseif place[id] >= 0 then
    local at = base + 4 * math.floor(place[id] / group)
    local ends = string.sub(begin, at + 1, at + 8)
    if #ends < 8 then ends = call('GETRANGE', key, at, at + 7) end
    local columns = struct.unpack('<I4', head, 45)
    base = base + 4 * (math.ceil(columns / group) + 1)
    local blob = ''
    if #ends == 8 then
      local from, to = struct.unpack('<I4I4', ends)
      if from < to then blob = call('GETRANGE', key, base + from, base + to - 1) end
    end
    if base <= most_table then
      if #begin < base then begin = begin .. call('GETRANGE', key, #begin, base - 1) end
      head = string.sub(begin, 1, base)
    end
    found[#found + 1] = { name, head, blob }
  end
end

local function raw(name, key, step)
  local ticks = {}
  for _, field in ipairs(call('HKEYS', key)) do
    local tick = tonumber(field)
    if tick and tick * step >= start_s and tick * step < end_s then
      if what == 'newest' and ticks[1] then
        if tick > tonumber(ticks[1]) then ticks[1] = field end
      else
        ticks[#ticks + 1] = field
      end
    end
  end
  if not ticks[1] then return end
  local packed, rows = {}, {}
  if what == 'ticks' then
    for at, tick in ipairs(ticks) do packed[at] = struct.pack('<i8', tonumber(tick)) end
    found[#found + 1] = { name, table.concat(packed) }
    return
  end
  for from = 1, #ticks, 1000 do
    local until_ = math.min(from + 999, #ticks)
    for at, row in ipairs(call('HMGET', key, unpack(ticks, from, until_))) do
      known(string.sub(row, 1, 8))
      packed[#packed + 1] = struct.pack('<i8', tonumber(ticks[from + at - 1]))
      rows[#rows + 1] = row
    end
  end
  found[#found + 1] = { name, table.concat(packed), rows }
end

-- The rows of a head, for a series: all at once when the range begins before them, as a rule.
local function column_of(name, key, step, first, span)
  local ticks, values, count = {}, {}, 0
  local id, column, size
  local function inside(field)
    local tick = tonumber(field)
    return tick and tick * step >= start_s and tick * step < end_s
  end
  local function take(tick, row)
    local now = string.sub(row, 1, 8)
    if now ~= id then
      id, column, size = now, nil, nil
      if known(now) then column, size = place[now], 8 + 8 * width[now] end
    end
    if #row ~= size then
      damaged = damaged + 1
      return
    end
    count = count + 1
    ticks[count] = tick
    -- A row may replace a sealed one: that it lacks the series counts too.
    values[count] = column < 0 and missing or string.sub(row, 9 + 8 * column, 16 + 8 * column)
  end
  if span <= 1000 and start_s <= first * step then
    local all = call('HGETALL', key)
    for at = 1, #all, 2 do
      if inside(all[at]) then take(all[at], all[at + 1]) end
    end
  else
    local wanted = {}
    for _, field in ipairs(call('HKEYS', key)) do
      if inside(field) then wanted[#wanted + 1] = field end
    end
    for from = 1, #wanted, 1000 do
      local until_ = math.min(from + 999, #wanted)
      for at, row in ipairs(call('HMGET', key, unpack(wanted, from, until_))) do
        take(wanted[from + at - 1], row)
      end
    end
  end
  if count > 0 then
    found[#found + 1] = { name, table.concat(ticks, ' '), table.concat(values) }
  end
end

local function read(name)
  local at = first_byte[name]
  if at then
    told[#told + 1] = name
    told[#told + 1] = call('GETRANGE', prefix .. name, ARGV[at], ARGV[at + 1])
    return
  end
  local kind, step, first, ticks = string.match(name, '^([hms]):([^:]+):(%-?%d+):(%d+)$')
  step, first = tonumber(step), tonumber(first)
  if not (kind and step and first) or first * step >= end_s then return nil end
  local key = prefix .. name
  if kind ~= 'h' then
    sealed(name, key)
  elseif what == 'series' then
    column_of(name, key, step, first, tonumber(ticks))
  else
    raw(name, key, step)
  end
  return first * step
end

if what == 'newest' then
  -- Pieces by their end, the latest first: as far as one may hold a later row than those found.
  local names, from, latest = call('ZREVRANGEBYSCORE', KEYS[1], '+inf', '-inf', 'WITHSCORES'), 1
  while names[from] and not (latest and tonumber(names[from + 1]) <= latest) do
    local before = #found
    local begins = read(names[from])
    if begins and #found > before then latest = math.max(latest or begins, begins) end
    from = from + 2
  end
else
  for _, name in ipairs(call('ZRANGEBYSCORE', KEYS[1], '(' .. ARGV[3], '+inf')) do read(name) end
end
return { damaged, unknown, told, unpack(found) }
