-- Enter a namespace: return its epoch and how many invalidations it has seen. ARGV[3]: ''.
if version ~= '' then
  redis.call('HSET', state, 'v:' .. version, now_ms())
end
return {'attached', epoch, count}
