-- What is rarely done with the older cells of a log: they are searched, and put into a larger ring. A log of others is fed.

local FORMAT = '<I6BI7I4I4I7I7I7I3I4I6I7I7I6I6I7'
local call, pack, read, sub, spread = redis.call, struct.pack, struct.unpack, string.sub, unpack
local floor, min, max, rep = math.floor, math.min, math.max, string.rep
local cell, opened = cells.cell, cells.opened

-- The first cell after this one that is no more what `is_before` says: its number, its last tick and its total, and the total
-- of the one before it. It is searched in steps that grow and then shrink; the newest is one.
local function first_after(log, number, before, is_before)
  local last, step, overshot = log.h[5] - 1, 1, false
  local ends, total = cell(log, last)
  while last - number > 1 do
    local at = min(number + step, last - 1)
    local ends_at, total_at = cell(log, at)
    if is_before(ends_at, total_at) then
      number, before = at, total_at
    else
      last, ends, total, overshot = at, ends_at, total_at, true
    end
    step = overshot and max(1, floor((last - number) / 2)) or step * 2
  end
  return last, ends, total, before
end

-- All units of a cell may have been given back, and then it is not when the oldest unit was recorded: the first is the oldest
-- in which the running total is another.
local function skip(log, number, before)
  local h = log.h
  local alive, ends, total = first_after(log, number, before, function(_, total_at) return total_at == before end)
  h[10], h[13], h[14] = h[5] - alive, ends, total
end

-- Lets go of the cells that have left the window.
local function leave(log, expired)
  local h = log.h
  local newest, all = cell(log, h[5] - 1)
  if newest <= expired then
    h[10], h[11] = 0, 0
    return
  end
  local alive, ends, total, before =
    first_after(log, h[5] - h[10], h[14], function(ends_at) return ends_at <= expired end)
  h[11] = (all - before) % 2 ^ 48
  if all == before then
    h[10] = 0
  elseif total == before then
    skip(log, alive, before)
  else
    h[10], h[13], h[14] = h[5] - alive, ends, total
  end
end

-- Twice the room, and not more than the window needs. The older cells are put in order, from the first place on.
local function grown(log, closed)
  local h, room, size = log.h, log.h[4], log.size
  local ring = room > 0 and call('GETRANGE', log.key, 89, -1) or ''
  local first = room > 0 and (h[5] - h[10]) % room * size or 0
  h[4], h[5] = max(room + 1, min(max(2 * room, 2), floor(log.window / log.grain) + 1)), room + 2
  return sub(ring, first + 1) .. sub(ring, 1, first) .. closed .. rep('\0', (h[4] - room - 1) * size)
end

-- When unit `nth` of those counted was recorded at the latest, counted from 1 at the oldest.
local function recorded_at(log, nth)
  local h = log.h
  local before, early, late = h[15] - h[11], h[5] - h[10] - 1, h[5] - 1
  if nth <= (h[14] - before) % 2 ^ 48 or nth <= 1 then return h[13] end
  while late - early > 1 do
    local at = floor((early + late) / 2)
    local _, total = cell(log, at)
    if (total - before) % 2 ^ 48 >= nth then late = at else early = at end
  end
  return (cell(log, late))
end

-- The reply where more has to leave than the oldest unit.
local function told(log, used)
  local h, moments = { spread(log.h) }, ''
  h[11] = used
  for j = 1, log.n do
    local excess = min(max(1, used + log.cost - log.limits[j]), used)
    local moment = recorded_at(log, log.h[11] - used + excess)
    if j == 1 then h[13] = moment else moments = moments .. pack('<I7', moment) end
  end
  return pack(FORMAT, spread(h)) .. moments
end

-- Records units in those cell logs of a history that do not belong to who admits them.
local function feed(key, siblings, own_siblings, units, at, now, settle, record)
  for from = 1, #siblings, 14 do
    local one, is_own = sub(siblings, from, from + 13), false
    for place = 1, #own_siblings, 14 do is_own = is_own or sub(own_siblings, place, place + 13) == one end
    if not is_own then
      local window, grain = read('<I7I7', one)
      local name = key .. string.format(':%.0f.%.0f', window, grain)
      local s = call('GETRANGE', name, '0', '88')
      if #s == 89 then
        local log = opened({ key = name, window = window, grain = grain }, s)
        settle(log, now)
        record(log, units, at, now)
      end
    end
  end
end

return { leave = leave, skip = skip, grown = grown, told = told, feed = feed }
