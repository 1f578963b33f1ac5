-- Give a lease back after a load that failed, so that somebody else tries. ARGV[4]: token.
local lease = place('l', version, key)
if redis.call('GET', lease) ~= ARGV[4] then
  return {'late', epoch, count}
end
redis.call('DEL', lease)
tell('r:' .. key)
return {'released', epoch, count}
