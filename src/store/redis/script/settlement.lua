-- Gives units back that a request did not need, out of the very cells in which they were recorded.

local FORMAT, MAGIC, SMALL_LEAD, STRETCH = '<I6BI7I4I4I7I7I7I3I4I6I7I7I6I6I7', 84, 10000, 64
local call, pcall, pack, read, sub, spread = redis.call, redis.pcall, struct.pack, struct.unpack, string.sub, unpack
local floor, min, max, rep = math.floor, math.min, math.max, string.rep
local rarely, opened, settle, cell = cells[5], cells[6], cells[7], cells[8]

-- When a log records what is admitted then.
local function stamp_of(log, now)
  return now % log.tick == 0 and now or now - now % log.tick + log.tick
end

-- Takes units out of a cell that is among the newest, so many of them at most, without reading the others. Returns what
-- `taken_out` does, and what number the cell has; nothing if it is not among them.
local function taken_from_newest(log, number, low, units, before)
  local h, entry, size = log.h, sub(log.entry, 2), log.size
  local last, room = h[5] - 2, h[4]
  -- As far as they are next to each other.
  number = max(number, last - last % room)
  local count, from = last - number + 1, 89 + number % room * size
  local entries = { read('<' .. rep(entry, count), call('GETRANGE', log.key, from, from + count * size - 1)) }
  local k = count
  while k > 0 and entries[2 * k - 1] ~= low do k = k - 1 end
  if k == 0 then return end
  if k > 1 then before = entries[2 * k - 2] elseif number > h[5] - h[10] then return end
  local held = (entries[2 * k] - before) % 2 ^ 48
  local taken = min(units, held)
  for j = 2 * k, 2 * count, 2 do entries[j] = (entries[j] - taken) % 2 ^ 48 end
  local text = pack('<' .. rep(entry, count - k + 1), spread(entries, 2 * k - 1, 2 * count))
  if taken > 0 then call('SETRANGE', log.key, from + (k - 1) * size, text) end
  return taken, held - taken, number + k - 1
end

-- The cell with this last tick: its number and the running total at its end. It is searched from the newest on, in steps that
-- grow and then shrink. Returns nothing if it has left the window or never was.
local function found(log, ends)
  local h, step, overshot = log.h, 1, false
  local early, late = h[5] - h[10] - 1, h[5] - 1
  local ends_at, total = cell(log, late)
  if ends < h[13] or ends > ends_at then return end
  while ends_at > ends and late - early > 1 do
    local at = max(late - step, early + 1)
    local its_end, its_total = cell(log, at)
    if its_end < ends then
      early, overshot = at, true
    else
      late, ends_at, total = at, its_end, its_total
    end
    step = overshot and max(1, floor((late - early) / 2)) or 2 * step
  end
  if ends_at == ends then return late, total end
end

-- Takes units off the running totals from this cell on. That of the newest is in the header.
local function lowered(log, number, units)
  local room, last, entry = log.h[4], log.h[5] - 2, sub(log.entry, 2)
  while number <= last do
    local place = number % room
    local count = min(last - number + 1, room - place, STRETCH)
    local from, format = 89 + place * log.size, '<' .. rep(entry, count)
    local entries = { read(format, call('GETRANGE', log.key, from, from + count * log.size - 1)) }
    for j = 2, 2 * count, 2 do entries[j] = (entries[j] - units) % 2 ^ 48 end
    call('SETRANGE', log.key, from, pack(format, spread(entries, 1, 2 * count)))
    number = number + count
  end
end

-- Takes units out of the cell of a moment, as many as it has. Says how many, and how many it has left. There are none for whom
-- the log was begun anew after that, by a reset or because the clock stepped back.
local function taken_out(log, units, history, stamp, now)
  local h, grain, cut = log.h, log.grain, log.cut
  if h[12] > history or h[6] > stamp_of(log, now) + SMALL_LEAD then return 0, 0 end
  settle(log, now)
  if h[10] == 0 then return 0, 0 end
  local index, oldest, before = floor((stamp_of(log, stamp) + cut) / grain), h[5] - h[10], (h[15] - h[11]) % 2 ^ 48
  local ends, last = (index + 1) * grain - cut - log.tick, h[5] - 2
  if ends < h[13] then return 0, 0 end
  local taken, left, number
  if index < floor((h[6] + cut) / grain) then
    local low = index % log.span
    taken, left, number = taken_from_newest(log, max(oldest, last - 11), low, units, before)
    if not taken and last - oldest > 11 then
      taken, left, number = taken_from_newest(log, max(oldest, last - 55), low, units, before)
    end
  end
  if not taken then
    local total
    number, total = found(log, ends)
    if not number then return 0, 0 end
    if number > oldest then before = select(2, cell(log, number - 1)) end
    local held = (total - before) % 2 ^ 48
    taken = min(units, held)
    left = held - taken
    if taken > 0 then lowered(log, number, taken) end
  end
  if taken == 0 then return 0, left end
  h[11], h[15] = h[11] - taken, (h[15] - taken) % 2 ^ 48
  if number == oldest then h[14] = (h[14] - taken) % 2 ^ 48 end
  if h[11] == 0 then
    h[10] = 0
  elseif number == oldest and left == 0 then
    rarely().skip(log, number, h[14])
  end
  return taken, left
end

-- The cell logs beside an exact log, opened. Returns nothing if there is something else under one of their names.
local function beside(first, siblings, own)
  local logs = {}
  for from = 1, #siblings, 14 do
    local one, key = sub(siblings, from, from + 13), KEYS[first + (from + 13) / 14]
    local window, grain = read('<I7I7', one)
    if one ~= sub(own, from, from + 13) then key = KEYS[first] .. string.format(':%.0f.%.0f', window, grain) end
    local text = pcall('GETRANGE', key, '0', '88')
    if text.err or #text > 0 and (#text < 89 or string.byte(text) ~= MAGIC) then return end
    if text ~= '' then logs[#logs + 1] = opened({ key = key, window = window, grain = grain }, text) end
  end
  return logs
end

-- Writes the logs back; if nothing at all is left, the history is gone.
local function kept(key, logs, is_needed, now)
  local names = { key }
  for j, log in ipairs(logs) do
    local h = log.h
    names[j + 1] = log.key
    is_needed = is_needed or h[10] > 0 or h[12] > now or h[3] > now or h[6] > now
  end
  if not is_needed then return call('DEL', unpack(names)) end
  for _, log in ipairs(logs) do
    if log.moved then call('SETRANGE', log.key, '0', pack(FORMAT, spread(log.h))) end
  end
end

-- Takes units out of all cell logs of a history that were recorded at a moment. Says how many.
local function given_back(first, units, history, stamp, now, part)
  local key, spec = KEYS[first], ARGV[first]
  local text = pcall('GETRANGE', key, '0', '824')
  if text.err then return end
  local magic, n = string.byte(text, 1, 2)
  if not magic or magic >= 81 and magic < MAGIC then return 0 end
  if magic ~= MAGIC or #text < 50 then return end
  local window, kept_bits = read('<I7I3', text, 37)
  local siblings = sub(text, 51 + 11 * n, 50 + 11 * n + 14 * (floor(kept_bits / 128) % 32))
  local logs = beside(first, siblings, sub(spec, 34 + 13 * string.byte(spec, 9)))
  if not logs then return end
  local moved, left, longest = 0, 0, 0
  for _, log in ipairs(logs) do
    local taken, its_left = taken_out(log, units, history, stamp, now)
    log.moved = log.moved or taken > 0
    if taken > 0 and log.window > longest then left, longest = its_left, log.window end
    moved = max(moved, taken)
  end
  if window > 0 and moved > 0 then
    local _, reduced = part('entries', part('memory').ring)
    reduced(key, spec, left, stamp, now)
  end
  kept(key, logs, window > 0, now)
  return moved
end

return given_back
