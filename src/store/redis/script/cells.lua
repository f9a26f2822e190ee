-- How a cell log is read and changed. Its header has 89 bytes and goes on with, by place: 11 the units that are counted, 12
-- the moment it was begun, 13 the last tick of the oldest cell, 14 the running total at its end, 15 that of the newest, 16 the
-- grain. The places have no names here: each name would be one more thing that these functions share.

local FORMAT = '<I6BI7I4I4I7I7I7I3I4I6I7I7I6I6I7'
local call, pack, read, sub, spread = redis.call, struct.pack, struct.unpack, string.sub, unpack
local floor, min, max = math.floor, math.min, math.max

-- The log of a header: its tick, where its cells are cut, and how the older ones are written.
local function opened(log, text)
  local h = { read(FORMAT, text) }
  log.h, log.tick, h[17] = h, floor(h[9] / 4096), nil
  log.cut = 2 ^ 43 % (log.grain / log.tick) * log.tick
  log.size, log.entry, log.span = 9, '<I3I6', 2 ^ 24
  if log.window >= 2 ^ 23 * log.grain then log.size, log.entry, log.span = 12, '<I6I6', 2 ^ 48 end
  return log
end

-- When a log records what is admitted now.
local function stamp_of(log, now)
  return now % log.tick == 0 and now or now - now % log.tick + log.tick
end

-- The last tick of a cell and the running total at its end.
local function cell(log, number)
  local h = log.h
  local newest = floor((h[6] + log.cut) / log.grain)
  if number == h[5] - 1 then return (newest + 1) * log.grain - log.cut - log.tick, h[15] end
  local size = log.size
  local from = 89 + number % h[4] * size
  local entry = log.whole and sub(log.whole, from + 1, from + size) or call('GETRANGE', log.key, from, from + size - 1)
  local low, total = 0, 0
  if #entry == size then low, total = read(log.entry, entry) end
  return (newest - (newest - low) % log.span + 1) * log.grain - log.cut - log.tick, total
end

-- The first cell from this one on in which the running total is another, its last tick and its total. All units of a cell may
-- have been given back, and then it is not when the oldest unit was recorded. There is one: the newest has another total.
local function filled(log, number, before)
  local empty, last, step = number, log.h[5] - 1, 1
  local ends, total = cell(log, last)
  while last - empty > 1 do
    local at = min(empty + step, last - 1)
    local ends_at, total_at = cell(log, at)
    if total_at == before then
      empty, step = at, 2 * step
    else
      last, ends, total = at, ends_at, total_at
      step = max(1, floor((last - empty) / 2))
    end
  end
  return last, ends, total
end

-- Lets go of the cells that have left the window. Usually that is the oldest alone; else the first one that is alive
-- is searched in steps that grow and then shrink.
local function settle(log, now)
  local h, expired = log.h, now - log.window
  if h[10] == 0 or h[13] > expired then return end
  log.moved = true
  local dead, alive, before = h[5] - h[10], h[5] - 1, h[14]
  local ends, total = cell(log, alive)
  if ends <= expired then
    h[10], h[11] = 0, 0
    return
  end
  local step, overshot = 1, false
  while alive - dead > 1 do
    local at = min(dead + step, alive - 1)
    local ends_at, total_at = cell(log, at)
    if ends_at <= expired then
      dead, before = at, total_at
    else
      alive, ends, total, overshot = at, ends_at, total_at, true
    end
    step = overshot and max(1, floor((alive - dead) / 2)) or step * 2
  end
  if h[15] == before then
    h[10], h[11] = 0, 0
    return
  end
  if total == before then alive, ends, total = filled(log, alive, before) end
  h[10], h[13], h[14], h[11] = h[5] - alive, ends, total, (h[15] - before) % 2 ^ 48
end

-- How many requests all quotas have room for. One that costs nothing is denied where more is counted than a quota allows.
local function room_of(log)
  local room, cost = log.limits[1] - log.h[11], log.cost
  for j = 2, log.n do room = min(room, log.limits[j] - log.h[11]) end
  if cost == 0 then return room < 0 and 0 or 255 end
  return max(cost == 1 and room or floor(room / cost), 0)
end

-- Twice the room, and not more than the window needs. The older cells are put in order, from the first place on.
local function grow(log, closed)
  local h, room, size = log.h, log.h[4], log.size
  local ring = room > 0 and call('GETRANGE', log.key, 89, -1) or ''
  local first = room > 0 and (h[5] - h[10]) % room * size or 0
  h[4], h[5] = max(room + 1, min(max(2 * room, 2), floor(log.window / log.grain) + 1)), room + 2
  return sub(ring, first + 1) .. sub(ring, 1, first) .. closed .. string.rep('\0', (h[4] - room - 1) * size)
end

-- Puts units into the newest cell, or into a new one. Returns the ring if all of that has to be written.
local function add(log, units, stamp)
  local h, grain, cut, ring = log.h, log.grain, log.cut, nil
  local live, old, index = h[10], floor((h[6] + cut) / grain), floor((stamp + cut) / grain)
  units = min(units, 2 ^ 48 - 1 - h[11])
  local closed, total = pack(log.entry, old, h[15]), (h[15] + units) % 2 ^ 48
  if live == 0 then
    h[4], h[5], total, ring = 0, 1, units, ''
  elseif index > old and live > h[4] then
    ring = grow(log, closed)
  elseif index > old then
    call('SETRANGE', log.key, 89 + (h[5] - 1) % h[4] * log.size, closed)
    h[5] = h[5] % h[4] + 1
  end
  if live == 0 or index > old then live = live + 1 end
  if live == 1 then h[13], h[14] = (index + 1) * grain - cut - log.tick, total end
  h[6], h[8], h[10], h[11] = stamp, log.window, live, h[11] + units
  h[15], h[16] = total, grain
  return ring
end

-- Records units. Only those who count by a log prolong its life.
local function record(log, units, at, now)
  local h, key = log.h, log.key
  local stamp = max(h[6], stamp_of(log, at))
  local renew = log.ttl and h[7] < stamp + log.window + log.grain
  if renew then h[7] = now + log.ttl * 1000 end
  local ring = add(log, units, stamp)
  local text = pack(FORMAT, spread(h))
  if ring and renew then
    call('SET', key, text .. ring, 'PX', log.ttl)
  elseif ring then
    call('SET', key, text .. ring, 'KEEPTTL')
  else
    if renew then call('PEXPIRE', key, log.ttl) end
    call('SETRANGE', key, '0', text)
  end
end

-- Keeps what has been let go of. Who is denied asks for a long life as well.
local function keep(log, now)
  local renew = log.h[10] > 0 and log.h[7] < now + log.window + log.grain
  if renew then
    log.h[7] = now + log.ttl * 1000
    call('PEXPIRE', log.key, log.ttl)
  end
  if renew or log.moved then call('SETRANGE', log.key, '0', pack(FORMAT, spread(log.h))) end
end

-- When unit `nth` of those counted was recorded at the latest, counted from 1 at the oldest.
local function recorded_at(log, nth)
  local h = log.h
  local before, early, late = h[15] - h[11], h[5] - h[10] - 1, h[5] - 1
  if nth <= 1 then return h[13] end
  while late - early > 1 do
    local at = floor((early + late) / 2)
    local _, total = cell(log, at)
    if (total - before) % 2 ^ 48 >= nth then late = at else early = at end
  end
  return (cell(log, late))
end

-- The reply, with when the log was begun instead of how long it lives: there may be more units than a quota allows, and all
-- that are too many are in the way, for the request or for another like it.
local function told(log)
  local h, format = { spread(log.h, 1, 10) }, '<I6BI7I4I4I7I7I7I3I4' .. string.rep('I6I7', log.n)
  h[7] = log.h[12]
  for j = 1, log.n do
    local used = log.counts_denied and min(log.h[11], log.cap) or log.h[11]
    local excess = min(max(1, used + log.cost - log.limits[j]), used)
    h[9 + 2 * j], h[10 + 2 * j] = used, recorded_at(log, log.h[11] - used + excess)
  end
  return pack(format, spread(h))
end

-- Opens the log of a writer. Returns nothing if it is not one.
local function own(log, s, tag, exact, mode, now, part)
  if s == '' and exact then
    log.whole = part('memory').cells_seeded(log.key, exact, log.window, log.grain, log.own_tick, log.ttl, now, mode)
    s = sub(log.whole, 1, 89)
  end
  local is_new = s == ''
  if is_new then s = pack(FORMAT, tag, 0, 0, 0, 0, 0, 0, log.window, 4096 * log.own_tick, 0, 0, now, 0, 0, 0, log.grain) end
  local is_ours = #s == 89 and read('<I6', s) == tag
  if is_ours then opened(log, s) end
  if is_new or is_ours and now >= log.h[3] and log.h[6] <= stamp_of(log, now) + 10000 then return log end
  log.whole = part('memory').cells_rebuilt(log.key, log.window, log.grain, log.ttl, now, mode)
  return log.whole and opened(log, sub(log.whole, 1, 89))
end

-- Records units in those cell logs of a history that do not belong to who admits them.
local function feed(key, siblings, own_siblings, units, at, now)
  for from = 1, #siblings, 14 do
    local one, is_own = sub(siblings, from, from + 13), false
    for at = 1, #own_siblings, 14 do is_own = is_own or sub(own_siblings, at, at + 13) == one end
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

return own, settle, room_of, record, keep, told, feed, opened, stamp_of, cell, filled
