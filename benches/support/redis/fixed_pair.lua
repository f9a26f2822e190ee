-- Two counters, each for a window that begins with its first request: not exact, and a denial is charged.
-- KEYS minute, hour; ARGV limit and milliseconds of each. Replies what is left of the tighter one, below 0 if denied.
local minute = redis.call('INCR', KEYS[1])
if minute == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
local hour = redis.call('INCR', KEYS[2])
if hour == 1 then redis.call('PEXPIRE', KEYS[2], ARGV[4]) end
return math.min(ARGV[1] - minute, ARGV[3] - hour)
