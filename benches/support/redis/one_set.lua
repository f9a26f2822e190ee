-- One sorted set for both windows, with no call that can be spared.
-- KEYS the set; ARGV and reply as in two_sets.lua.
local call, key, now = redis.call, KEYS[1], tonumber(ARGV[6])
if not now then
  local time = call('TIME')
  now = time[1] * 1000000 + time[2]
end
call('ZREMRANGEBYSCORE', key, '-inf', now - ARGV[4] * 1000)
local hour = call('ZCARD', key)
if hour >= tonumber(ARGV[3]) then return now - ARGV[4] * 1000 - call('ZRANGE', key, 0, 0, 'WITHSCORES')[2] end
local minute = call('ZCOUNT', key, '(' .. string.format('%.0f', now - ARGV[2] * 1000), '+inf')
if minute >= tonumber(ARGV[1]) then
  local at = hour - ARGV[1]
  return now - ARGV[2] * 1000 - call('ZRANGE', key, at, at, 'WITHSCORES')[2]
end
call('ZADD', key, now, ARGV[5])
call('PEXPIRE', key, ARGV[4])
return math.min(ARGV[1] - minute, ARGV[3] - hour) - 1
