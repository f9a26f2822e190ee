-- How a cell log is read and changed. Its header has 89 bytes and goes on with, by place: 11 the units that are counted, 12
-- the moment it was begun, 13 the last tick of the oldest cell, 14 the running total at its end, 15 that of the newest, 16 the
-- grain. The places have no names here: each name would be one more thing that these functions share.

local FORMAT = '<I6BI7I4I4I7I7I7I3I4I6I7I7I6I6I7'
local call, pack, read, sub, spread = redis.call, struct.pack, struct.unpack, string.sub, unpack
local floor = math.floor
local older

-- The log of a header: its tick, where its cells are cut, and how the older ones are written.
local function opened(log, text)
  local h, window, grain = { read(FORMAT, text) }, log.window, log.grain
  local tick = (h[9] - h[9] % 4096) / 4096
  h[17], log.h, log.tick, log.cut = nil, h, tick, 2 ^ 43 % (grain / tick) * tick
  if window < 2 ^ 23 * grain then
    log.size, log.entry, log.span = 9, '<I3I6', 2 ^ 24
  else
    log.size, log.entry, log.span = 12, '<I6I6', 2 ^ 48
  end
  return log
end

-- The last tick of a cell and the running total at its end.
local function cell(log, number)
  local h, grain = log.h, log.grain
  local newest = floor((h[6] + log.cut) / grain)
  if number == h[5] - 1 then return (newest + 1) * grain - log.cut - log.tick, h[15] end
  local size = log.size
  local from = 89 + number % h[4] * size
  local entry = log.whole and sub(log.whole, from + 1, from + size) or call('GETRANGE', log.key, from, from + size - 1)
  local low, total = 0, 0
  if #entry == size then low, total = read(log.entry, entry) end
  return (newest - (newest - low) % log.span + 1) * grain - log.cut - log.tick, total
end

-- What is rarely done with the older cells.
local function rarely()
  older = older or part('older_cells', nil, nil, { cell = cell, opened = opened })
  return older
end

-- Lets go of the cells that have left the window: usually the oldest alone.
local function settle(log, now)
  local h, expired = log.h, now - log.window
  if h[10] == 0 or h[13] > expired then return end
  log.moved = true
  local ends, total = cell(log, h[5] - h[10] + (h[10] > 1 and 1 or 0))
  if ends > expired and total ~= h[14] then
    h[10], h[11], h[13], h[14] = h[10] - 1, (h[15] - h[14]) % 2 ^ 48, ends, total
  else
    rarely().leave(log, expired)
  end
end

-- Opens the log of a writer, lets go of what has left, and says how many requests all quotas have room for. One that costs
-- nothing is denied where more is counted than a quota allows. Returns nothing if it is no log.
local function room_of(log, s, tag, exact, listed, mode, now)
  if s == '' and exact then
    log.whole = part('memory').cells_seeded(log.key, exact, listed, log.window, log.grain, log.own_tick, log.ttl, now, mode)
    s = sub(log.whole, 1, 89)
  end
  local is_new = s == ''
  if is_new then s = pack(FORMAT, tag, 0, 0, 0, 0, 0, 0, log.window, 4096 * log.own_tick, 0, 0, now, 0, 0, 0, log.grain) end
  local is_sound = #s == 89
  if is_sound then
    opened(log, s)
    local h, past = log.h, now % log.tick
    is_sound = h[1] == tag and (is_new or now >= h[3] and h[6] <= now - past + (past > 0 and log.tick or 0) + 10000)
  end
  if not is_sound then
    log.whole = part('memory').cells_rebuilt(log.key, log.window, log.grain, log.ttl, now, mode)
    if not log.whole then return end
    opened(log, sub(log.whole, 1, 89))
  end
  settle(log, now)
  local used, cost, limits = log.h[11], log.cost, log.limits
  local room = limits[1] - used
  for j = 2, log.n do
    if limits[j] - used < room then room = limits[j] - used end
  end
  if cost > 1 then return room < cost and 0 or floor(room / cost) end
  if cost == 0 then return room < 0 and 0 or 255 end
  return room < 0 and 0 or room
end

-- Records units: in the newest cell, or in a new one. Only those who count by a log prolong its life. Returns the header.
local function record(log, units, at, now)
  local h, key, grain, cut, ring = log.h, log.key, log.grain, log.cut, nil
  local past, live, newest, lasts = at % log.tick, h[10], h[6], log.window + grain
  local stamp = past > 0 and at - past + log.tick or at
  if stamp < newest then stamp = newest end
  local renew = log.ttl and h[7] < stamp + lasts
  if renew then h[7] = now + log.ttl * 1000 end
  if units > 2 ^ 48 - 1 - h[11] then units = 2 ^ 48 - 1 - h[11] end
  local old, index, total = floor((newest + cut) / grain), floor((stamp + cut) / grain), (h[15] + units) % 2 ^ 48
  if live == 0 then
    h[4], h[5], live, total, ring = 0, 1, 1, units, ''
    h[13], h[14] = (index + 1) * grain - cut - log.tick, total
  elseif index == old then
    if live == 1 then h[14] = total end
  else
    local closed = pack(log.entry, old, h[15])
    if live > h[4] then
      ring = rarely().grown(log, closed)
    else
      call('SETRANGE', key, 89 + (h[5] - 1) % h[4] * log.size, closed)
      h[5] = h[5] % h[4] + 1
    end
    live = live + 1
  end
  h[6], h[10], h[11], h[15] = stamp, live, h[11] + units, total
  local text = pack(FORMAT, spread(h))
  if ring then
    if renew then call('SET', key, text .. ring, 'PX', log.ttl) else call('SET', key, text .. ring, 'KEEPTTL') end
  else
    if renew then call('PEXPIRE', key, log.ttl) end
    call('SETRANGE', key, '0', text)
  end
  -- The string is another one than was read as a whole.
  log.whole = nil
  return text
end

-- Keeps what has been let go of. Who is denied asks for a long life as well. Returns the header.
local function keep(log, mode, now)
  local h = log.h
  local renew = mode == 'd' and h[10] > 0 and h[7] < now + log.window + log.grain
  if renew then
    h[7] = now + log.ttl * 1000
    call('PEXPIRE', log.key, log.ttl)
  end
  local text = pack(FORMAT, spread(h))
  if mode == 'd' and (renew or log.moved) then call('SETRANGE', log.key, '0', text) end
  return text
end

-- The reply is the header, with when there is room for as much again in place of the last tick of the oldest cell: until then
-- all that is too much has to leave. If there are several limits, the moments of the others follow.
local function told(log, text)
  local h, cost, limits = log.h, log.cost, log.limits
  local used = log.counts_denied and h[11] > log.cap and log.cap or h[11]
  local is_plain = used == h[11]
  for j = 1, log.n do is_plain = is_plain and used + cost <= limits[j] + 1 end
  return is_plain and text or rarely().told(log, used)
end

-- The log of what decide.lua has by place, or of the header that it has made of that.
local function named(places, text)
  local log = { key = places[19], window = places[8], grain = places[16], cost = places[20], n = 1, limits = { places[21] },
    ttl = places[22], counts_denied = places[23], cap = places[24], moved = places[25], is_cells = true }
  return opened(log, text or pack(FORMAT, spread(places, 1, 16)))
end

return room_of, record, keep, told, rarely, opened, settle, cell, named
