-- Keep a row unless its tick has one. Returns 1: kept, 0: the tick has one, -1: look first.
-- KEYS: rows, names, the host's chunks, all hosts, the sealed block.
-- ARGV: field, row, schema id, names, ttl, host, chunk, '1' when the sealed block lacks the tick.
-- A sealed hour takes late rows too: they lie beside the block until the next seal merges them.
if ARGV[8] == '' and redis.call('EXISTS', KEYS[5]) == 1 then
  return -1
end
if redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2]) == 0 then
  return 0
end
if redis.call('HSETNX', KEYS[2], ARGV[3], ARGV[4]) == 1 then
  redis.call('EXPIRE', KEYS[2], ARGV[5])
end
if redis.call('HLEN', KEYS[1]) == 1 then
  redis.call('EXPIRE', KEYS[1], ARGV[5])
  redis.call('ZADD', KEYS[3], ARGV[7], ARGV[7])
  redis.call('EXPIRE', KEYS[3], ARGV[5])
  redis.call('SADD', KEYS[4], ARGV[6])
end
return 1
