-- A sorted set per window, as it is usually done.
-- KEYS minute, hour; ARGV limit and milliseconds of each, a unique name, and a time in microseconds if it is not the
-- server's. Replies what is left of the tighter one, or how many microseconds to wait, below 0.
local now = tonumber(ARGV[6])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2] * 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - ARGV[4] * 1000)
local minute, hour = redis.call('ZCARD', KEYS[1]), redis.call('ZCARD', KEYS[2])
if hour >= tonumber(ARGV[3]) then
  return now - ARGV[4] * 1000 - redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2]
end
if minute >= tonumber(ARGV[1]) then
  return now - ARGV[2] * 1000 - redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2]
end
redis.call('ZADD', KEYS[1], now, ARGV[5])
redis.call('ZADD', KEYS[2], now, ARGV[5])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('PEXPIRE', KEYS[2], ARGV[4])
return math.min(ARGV[1] - minute, ARGV[3] - hour) - 1
