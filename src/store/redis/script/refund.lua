-- Takes units back out of the logs that they were recorded in.

local CELL, SMALL_LEAD = 9, 10000
local call, pcall, pack, read, sub = redis.call, redis.pcall, struct.pack, struct.unpack, string.sub
local min, max, floor, rep, concat = math.min, math.max, math.floor, string.rep, table.concat

-- Takes units out of a list that were recorded at `stamp`, or a little later if the log was ahead of the clock; of cells
-- those that may have been. Says how many.
local function taken_out(list, stamp, most, grain, tick)
  local times, units, found, left = list.times, list.units, 1, most
  while times[found] and times[found] < stamp do found = found + 1 end
  while left > 0 and times[found] and times[found] - grain + tick <= stamp + SMALL_LEAD do
    local taken = min(left, units[found])
    left, units[found] = left - taken, units[found] - taken
    if units[found] == 0 then
      table.remove(times, found)
      table.remove(units, found)
    end
  end
  return most - left
end

-- As `given_back`, wherever in the log the units are.
local function searched_out(key, spec, stamp, most, now)
  local log = ring.exact_log(key)
  if not log then return end
  local list = ring.listed(log)
  local taken = taken_out(list, stamp, most, log.tick, log.tick)
  if taken == 0 then return 0, log end
  if #list.times > 0 then list.newest = list.times[#list.times] end
  local laid = ring.rolled(list, log.tick, log.width, math.huge)
  log.live = laid.live
  if laid.live > 0 or #log.siblings > 0 then
    call('SET', key, ring.laid_out(laid, spec, now, log.window, log.kept, log.lives, log.siblings), 'KEEPTTL')
  end
  return taken, log
end

-- The exact log under a key as far as its ring; and of its newest entries, up to 32, the bytes, and where those of the ring
-- are.
local function newest_of(key)
  local text = pcall('GETRANGE', key, 0, 49)
  local log = not text.err and ring.opened(text)
  if not log then return end
  log.text = call('GETRANGE', key, 0, log.ring - 1)
  log.siblings = sub(log.text, 51 + 11 * log.n, log.header)
  if #log.text < (log.room > 0 and log.ring or log.header + log.held * log.width) then return end
  local bytes, from = '', nil
  if log.room > 0 and log.live > log.held then
    from = log.ring + (log.next - log.held - 16) / 16 % log.room * log.size
    bytes = call('GETRANGE', key, from, from + log.size - 1)
    if #bytes < log.size then return end
  end
  return log, bytes .. sub(log.text, log.header + 1, log.header + log.held * log.width), from
end

-- Writes a log back of whose newest entries these are left, after so many were taken out; `younger` ones are newer.
local function shortened(key, log, bytes, from, taken, younger)
  local width, size, count = log.width, log.size, #bytes / log.width
  local function stamp_at(place) return ring.widened(log, read(log.low, bytes, (place - 1) * width + 1)) end
  local newest, next = stamp_at(count), log.next - taken
  if next < 1 then next = next + 16 * log.room end
  local held = (next - 1) % 16 + 1
  local before = count > held and sub(bytes, 1, size) or nil
  local block, copies = sub(bytes, (count - held) * width + 1), {}
  local parts = { sub(log.text, 1, 18), pack('<I4I7', next, newest), sub(log.text, 30, 46), pack('<I4', log.live) }
  for j = 1, log.n do
    local units, at = read('<I4I7', log.text, 40 + 11 * j)
    units = units - max(0, min(taken, units - younger))
    if units > 0 and units <= count then at = stamp_at(count - units + 1) end
    parts[#parts + 1] = pack('<I4I7', units, at)
    copies[j] = sub(log.text, log.header + j * size + 1, log.header + (j + 1) * size)
    if before and units > held and units <= held + 16 then copies[j] = before end
  end
  parts[#parts + 1] = log.siblings .. block
  if log.room == 0 then return call('SET', key, concat(parts), 'KEEPTTL') end
  call('SETRANGE', key, 0, concat(parts) .. rep('\0', size - #block) .. concat(copies))
  if before then call('SETRANGE', key, from, before) end
end

-- Takes units out of an exact log: if they are among the newest 16 then without reading the others.
local function given_back(key, spec, stamp, most, now)
  local log, bytes, from = newest_of(key)
  if not log then return end
  local width = log.width
  local function stamp_at(place) return ring.widened(log, read(log.low, bytes, (place - 1) * width + 1)) end
  local count = #bytes / width
  local oldest = max(count - log.live, 0) + 1
  local first, taken = count + 1, 0
  while first > oldest and stamp_at(first - 1) >= stamp do first = first - 1 end
  if first == oldest and log.live > count - oldest + 1 then return searched_out(key, spec, stamp, most, now) end
  while taken < most and first + taken <= count and stamp_at(first + taken) <= stamp + SMALL_LEAD do taken = taken + 1 end
  if taken == 0 then return 0, log end
  if count == taken then return searched_out(key, spec, stamp, most, now) end
  log.live = log.live - taken
  bytes = sub(bytes, 1, (first - 1) * width) .. sub(bytes, (first - 1 + taken) * width + 1)
  shortened(key, log, bytes, from, taken, count - (first + taken - 1))
  return taken, log
end

-- Takes units out of the newest cell, if they are there and it has more of them. Says whether it has.
local function newest_cell_reduced(key, text, stamp, most)
  local room, next, newest, _, window, kept, live, used, _, _, before, total, grain = read('<I4I4I7I7I7I3I4I6I7I7I6I6I7', text, 15)
  local tick = floor(kept / 4096)
  if live == 0 or tick == 0 or grain < tick then return end
  local cut, units = memory.first_cut(grain, tick), used
  if floor((stamp + cut) / grain) ~= floor((newest + cut) / grain) then return end
  if live > 1 and room > 0 then
    local entry, size = memory.entry_of(window, grain)
    local from = 89 + (next - 2) % room * size
    local last = call('GETRANGE', key, from, from + size - 1)
    local _, before_it = read(entry, last)
    units = (total - before_it) % 2 ^ 48
  end
  if units <= most then return end
  if live == 1 then before = (before - most) % 2 ^ 48 end
  call('SETRANGE', key, 50, pack('<I6', used - most))
  call('SETRANGE', key, 70, pack('<I6I6', before, (total - most) % 2 ^ 48))
  return true
end

-- Takes units out of a cell log. Says how many, and whether it is empty.
local function cells_given_back(key, stamp, most)
  local text = pcall('GETRANGE', key, 0, 88)
  if text.err then return end
  if text == '' then return 0, true end
  if #text < 89 then return end
  if newest_cell_reduced(key, text, stamp, most) then return most, false end
  local list = memory.cells_of(call('GET', key))
  if not list then return end
  local taken = taken_out(list, stamp, most, list.grain, list.tick)
  if taken > 0 then
    list.newest = min(list.newest, list.times[#list.times] or list.newest)
    call('SET', key, memory.cells_text(list, list.window, list.grain, list.tick, list.lives), 'KEEPTTL')
  end
  return taken, #list.times == 0
end

-- Takes units out of an exact log and out of the cell logs beside it that are only others'. Says how many of its own, all
-- names, and whether there is anything left.
local function history_given_back(key, spec, stamp, most, now)
  local first = pcall('GETRANGE', key, 0, 0)
  if first.err then return end
  if first == '' or first == 'Q' or first == 'R' or first == 'S' then return 0, { key }, false end
  local taken, log = given_back(key, spec, stamp, most, now)
  if not taken then return end
  local names, is_needed, own = { key }, log.live > 0, 34 + 13 * read('B', spec, 9)
  for _, sibling in ipairs(memory.beside(log.siblings)) do
    names[#names + 1] = key .. sibling.suffix
    if not string.find(spec, sibling.text, own, true) then
      local _, is_empty = cells_given_back(names[#names], stamp, most)
      is_needed = is_needed or not is_empty
    end
  end
  return taken, names, is_needed
end

-- Takes units out of all logs of some histories. What is empty as a whole is gone.
local function refunded(stamp, most, now)
  local total, names, is_needed = 0, {}, true
  for i = 1, #KEYS do
    local taken, is_empty
    if read('B', ARGV[i], 7) < CELL then
      if not is_needed then call('DEL', unpack(names)) end
      taken, names, is_needed = history_given_back(KEYS[i], ARGV[i], stamp, most, now)
    else
      taken, is_empty = cells_given_back(KEYS[i], stamp, most)
      is_needed = is_needed or not is_empty
    end
    if not taken then return end
    total = total + taken
  end
  if not is_needed then call('DEL', unpack(names)) end
  return total
end

return refunded
