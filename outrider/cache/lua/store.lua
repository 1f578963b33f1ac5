-- Put a value where the client's next command, a RENAME in the same transaction, takes it from: only
-- what a client writes by a plain command is kept from coming back to it as an invalidation (NOLOOP).
-- Who listens to writes instead leaves the staging key out, and puts the value into its place here,
-- outside a transaction: before Redis 7.2 a push to the writer itself would break that one's answer.
-- ARGV[4]: epoch the client knows; [5]: token, or ''; [6]: message; [7]: life in ms; [8]: writer;
-- [9]: staging key, or ''; [10]: invalidations when it was loaded, for a late write, or ''; [11...]: tags.
local token, life_ms, expected = ARGV[5], tonumber(ARGV[7]), ARGV[10]
local value, lease = place('v', version, key), place('l', version, key)
if ARGV[4] ~= epoch then
  return {'moved', epoch, count}
end
if token ~= '' and redis.call('GET', lease) ~= token then
  return {'late', epoch, count}
end
-- A write that was held back while the server was away: it must not undo an invalidation that its
-- process could not hear of, nor replace a value that was loaded after it, which lives longer.
if expected ~= '' and (tonumber(expected) ~= count
    or redis.call('PTTL', value) >= life_ms or redis.call('EXISTS', lease) == 1) then
  return {'late', epoch, count}
end
redis.call('SET', ARGV[9] ~= '' and ARGV[9] or value, ARGV[6], 'PX', life_ms)
redis.call('DEL', lease)
for number = 11, #ARGV do
  enrol(ARGV[number], life_ms)
end
redis.call('PUBLISH', 'or:cache:w:' .. namespace, ARGV[8] .. ':' .. key)
return {'stored', epoch, count}
