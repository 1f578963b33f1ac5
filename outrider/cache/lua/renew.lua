-- Keep the lease of a load that takes its time. ARGV[4]: token; [5]: lease in ms.
local lease = place('l', version, key)
if redis.call('GET', lease) ~= ARGV[4] then
  return {'late', epoch, count}
end
redis.call('PEXPIRE', lease, ARGV[5])
return {'renewed', epoch, count}
