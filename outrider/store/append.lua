-- Keep a row unless its tick has one.
-- KEYS: rows, names, the host's chunks, all hosts. ARGV: field, row, schema id, names, ttl, host, chunk.
-- A sealed hour takes late rows too: they lie beside the block until the next seal merges them.
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
