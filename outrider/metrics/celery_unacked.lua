-- Count by exchange and routing key which messages workers hold. KEYS: the hash of them.
-- ARGV: how many to read at most. An entry is JSON: [message, exchange, routing key]; messages may be
-- large, so only their ends are read. Returns how many were read, then key, count, key, count, ...
local most, read, cursor = tonumber(ARGV[1]), 0, '0'
local counts = {}
repeat
  local answer = redis.call('HSCAN', KEYS[1], cursor, 'COUNT', 100)
  cursor = answer[1]
  for place = 2, #answer[2], 2 do
    local exchange, key = string.match(string.sub(answer[2][place], -600), ', ?"([^"]*)", ?"([^"]*)"%]$')
    local name = (exchange or '') .. '\31' .. (key or '')
    counts[name] = (counts[name] or 0) + 1
    read = read + 1
  end
until cursor == '0' or read >= most
local flat = {read}
for name, count in pairs(counts) do
  flat[#flat + 1] = name
  flat[#flat + 1] = count
end
return flat
