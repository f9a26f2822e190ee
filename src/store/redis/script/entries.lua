-- The entries of an exact log that only others count by, while one of them has costs and another has none.

local call, ceil = redis.call, math.ceil

-- Writes a log back with these units, as many of the newest as are asked for by anybody.
local function written(key, spec, log, list, now, life)
  local laid = ring.rolled(list, log.tick, log.width, 2 ^ log.most)
  laid.live = math.min(ring.count_after(laid, now - log.window), laid.live)
  local lives = life and now + life * 1000 or log.lives
  local text = ring.laid_out(laid, spec, now, log.window, log.kept, lives, log.siblings)
  if life then call('SET', key, text, 'PX', life) else call('SET', key, text, 'KEEPTTL') end
end

-- Records many units at once.
local function charged(key, spec, units, stamp, now, life)
  local log = ring.exact_log(key)
  local list = ring.listed(log)
  local count = #list.times + 1
  list.times[count], list.units[count], list.newest = stamp, units, math.max(stamp, log.newest)
  written(key, spec, log, list, now, life)
end

-- Takes out what was recorded at a moment, but as many units as are left of it elsewhere: not all of them may have had an entry.
local function reduced(key, spec, left, stamp, now)
  local log = ring.exact_log(key)
  if not log then return end
  local list, times, units = ring.listed(log), {}, {}
  stamp = ceil(stamp / log.tick) * log.tick
  for k = 1, #list.times do
    if list.times[k] ~= stamp or left > 0 then
      times[#times + 1], units[#units + 1] = list.times[k], list.units[k]
      if list.times[k] == stamp then left = left - 1 end
    end
  end
  if #times == #list.times then return end
  list.times, list.units = times, units
  written(key, spec, log, list, now)
end

return charged, reduced
