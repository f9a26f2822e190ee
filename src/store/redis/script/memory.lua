-- What a history remembers as a whole, for a writer that cannot go on with a log as it is.

local MAGIC, CELLS, SMALL_LEAD = 84, 32, 10000
local call, pack, read, sub = redis.call, struct.pack, struct.unpack, string.sub
local min, max, floor, ceil, concat = math.min, math.max, math.floor, math.ceil, table.concat
local CELL_HEADER = '<BBI4BI7I4I4I7I7I7I3I4I6I7I7I6I6I7'

-- What follows the key in the name of a cell log.
local function suffix(window, grain)
  return string.format(':%.0f.%.0f', window, grain)
end

-- Where cells are cut: so long before 1970, as in memory.
local function first_cut(grain, tick)
  return 2 ^ 43 % (grain / tick) * tick
end

-- The finest tick of which so long a window has at most 2^30.
local function tick_for(window)
  for _, tick in ipairs({ 1, 2, 4, 5, 8, 10, 20, 25, 40, 50, 100, 125, 200, 250, 500 }) do
    if window <= 2 ^ 30 * tick then return tick end
  end
  return 1000
end

-- How an older cell is written, in how many bytes, and after how many its number begins again: there are wider ones for windows
-- of many cells.
local function entry_of(window, grain)
  if window >= 2 ^ 23 * grain then return '<I6I6', 12, 2 ^ 48 end
  return '<I3I6', 9, 2 ^ 24
end

-- All cells that a log remembers, oldest first: until when each may have been recorded, and its units. Cells whose units have
-- all been given back are not among them.
local function cells_of(text)
  if not text or #text < 89 then return end
  local magic, kind, _, _, _, room, next, newest, lives, window, kept, live, used, born, _, _, total, grain =
    read(CELL_HEADER, text)
  local tick = floor(kept / 4096)
  if magic ~= MAGIC or kind ~= CELLS or tick < 1 or grain < tick then return end
  local entry, size, span = entry_of(window, grain)
  if #text ~= 89 + room * size or live > room + 1 then return end
  local list = { newest = newest, lives = lives, window = window, grain = grain, tick = tick, born = born, times = {}, units = {} }
  local times, units, cut, before = list.times, list.units, first_cut(grain, tick), (total - used) % 2 ^ 48
  local newest_index = floor((newest + cut) / grain)
  for age = live - 1, 0, -1 do
    local index, at = newest_index, total
    if age > 0 then
      local low
      low, at = read(entry, text, 89 + (next - 1 - age) % room * size + 1)
      index = index - (index - low) % span
    end
    if at ~= before then
      times[#times + 1], units[#units + 1] = (index + 1) * grain - cut - tick, (at - before) % 2 ^ 48
      before = at
    end
  end
  return list
end

-- The string of a cell log of these units; if there are none, when the newest was recorded still matters while the
-- clock is a little behind that.
local function cells_text(list, window, grain, tick, lives)
  local indices, totals, ring, total, cut = {}, {}, {}, 0, first_cut(grain, tick)
  local newest = ceil(list.newest / tick) * tick
  for k = 1, #list.times do
    local index = floor((min(ceil(list.times[k] / tick) * tick, newest) + cut) / grain)
    total = (total + list.units[k]) % 2 ^ 48
    if index ~= indices[#indices] then indices[#indices + 1] = index end
    totals[#indices] = total
  end
  -- The newest cell is where the newest unit was recorded, also if it has been given back.
  local last = floor((newest + cut) / grain)
  if #indices > 0 and indices[#indices] ~= last then indices[#indices + 1], totals[#totals + 1] = last, total end
  local live = #indices
  local entry = entry_of(window, grain)
  for k = 1, live - 1 do ring[k] = pack(entry, indices[k], totals[k]) end
  local oldest = live > 0 and (indices[1] + 1) * grain - cut - tick or 0
  return pack(CELL_HEADER, MAGIC, CELLS, 0, 0, 0, max(live - 1, 0), live, newest, lives, window, 4096 * tick, live, total,
    list.born or newest, oldest, totals[1] or 0, total, grain) .. concat(ring)
end

-- The cell logs beside an exact log, by window.
local function beside(siblings)
  local all = {}
  for from = 1, #siblings, 14 do
    local window, grain = read('<I7I7', siblings, from)
    all[#all + 1] = { window = window, grain = grain, suffix = suffix(window, grain), text = sub(siblings, from, from + 13) }
  end
  table.sort(all, function(one, other) return one.window < other.window end)
  return all
end

-- Puts the units of cells before those of a list that knows so many of them. Says how many are known now.
local function preceded(list, cells, known)
  local total, times, units = 0, {}, {}
  for k = 1, #cells.times do total = total + cells.units[k] end
  local older = total - known
  for k = 1, #cells.times do
    local taken = min(cells.units[k], max(older, 0))
    older = older - taken
    if taken > 0 then
      times[#times + 1], units[#units + 1] = min(cells.times[k], list.times[1] or cells.newest), taken
    end
  end
  for k = 1, #list.times do times[#times + 1], units[#units + 1] = list.times[k], list.units[k] end
  list.times, list.units, list.newest = times, units, max(list.newest, cells.newest)
  return max(known, total)
end

-- All units of a history, oldest first, but those that only the cell log `but` knows. What the exact log does not know any
-- more is in the cells: those units are older than its own.
local function remembered(key, log, but)
  local list, known = ring.listed(log), log.live
  for _, sibling in ipairs(beside(log.siblings)) do
    local cells = sibling.suffix ~= but and cells_of(call('GET', key .. sibling.suffix))
    if cells then
      list.born, known = max(list.born or 0, cells.born), preceded(list, cells, known)
    end
  end
  return list
end

-- Forgets what is older, and brings units from the future down to now if the clock has stepped back, so that they count
-- for one whole window from now and not for longer.
local function corrected(list, window, tick, latest, reach)
  local times, units = {}, {}
  local is_ahead = list.newest > latest + SMALL_LEAD
  local expired = latest - reach - tick
  if is_ahead then expired = max(expired, list.newest - window - tick) end
  for k = 1, #list.times do
    if list.times[k] > expired then times[#times + 1], units[#units + 1] = list.times[k], list.units[k] end
  end
  list.times, list.units = times, units
  if is_ahead then list.newest = latest end
end

-- Whether some of these cell logs are not among those.
local function has_new(own, siblings)
  for _, sibling in ipairs(beside(own)) do
    if not string.find(siblings, sibling.text, 1, true) then return true end
  end
end

-- Which cell logs are beside the log of a key: those that are still there and those of the writer.
local function siblings_with(key, siblings, own)
  local all, is_own = {}, {}
  for _, sibling in ipairs(beside(own)) do is_own[sibling.text] = true end
  for _, sibling in ipairs(beside(siblings)) do
    if not is_own[sibling.text] and call('EXISTS', key .. sibling.suffix) == 1 then all[#all + 1] = sibling.text end
  end
  while #all + #own / 14 > 31 do table.remove(all, 1) end
  return concat(all) .. own
end

-- The longest window of a history with these cell logs, and how long its newest unit matters.
local function needs(siblings, window)
  local longest, need = window, window
  for _, sibling in ipairs(beside(siblings)) do
    longest, need = max(longest, sibling.window), max(need, sibling.window + sibling.grain)
  end
  return longest, need
end

-- What a log has to keep from now on. Whenever its key's life is renewed it is seen anew whether as much is asked for: it
-- is halved if nobody has asked since the last time. As a life is twice what matters, that is no sooner than what is kept.
local function to_keep(log, spec, is_renewed)
  local window, most, asks_window, asks_most = log.window, log.most, log.asked % 2 == 1, log.asked >= 2
  local own_window, own_kept = read('<I7I3', spec, 18)
  local own_most = floor(own_kept / 4) % 32
  if is_renewed then
    if not asks_window then window = floor(window / 2) end
    if not asks_most then most = max(most - 1, 0) end
    asks_window, asks_most = false, false
  end
  window, most = max(window, own_window), max(most, own_most)
  asks_window, asks_most = asks_window or 2 * own_window > window, asks_most or own_most == most
  return window, most, (asks_window and 1 or 0) + (asks_most and 2 or 0)
end

-- The units of a log as they are laid out anew.
local function relaid(log, key, is_learning, recorded, window, reach, tick, units)
  local list = is_learning and remembered(key, log) or ring.listed(log)
  corrected(list, log.window, log.tick, recorded, reach)
  return ring.rolled(list, tick, ring.width_for(window, tick), units)
end

-- Lays a log out for another writer: with other windows, other cell logs beside it, or a longer memory; also if it has
-- not been asked to keep as much for as long as that lasts, and if the clock has stepped back. Its life is twice what is
-- kept, from when it was renewed.
local function adopted(key, spec, now, mode)
  local log = ring.exact_log(key)
  if not log then return end
  local _, _, _, n, _, ttl = read('<I6BBBI2I6', spec)
  local own = sub(spec, 34 + 13 * n)
  local siblings = siblings_with(key, log.siblings, own)
  local soon, _, known_need = now + 1000, needs(log.siblings, log.window)
  local window, most, flags = to_keep(log, spec, log.lives < soon + known_need)
  local longest, listed_need = needs(siblings, window)
  local need, tick = max(listed_need, (ttl - 1000) * 500), tick_for(longest)
  local is_ahead, life = log.newest > ceil(now / log.tick) * log.tick + SMALL_LEAD, ceil(need / 500) + 1000
  local is_renewed = is_ahead or listed_need > known_need or log.lives < soon + need
  local lives = is_renewed and now + life * 1000 or log.lives
  local is_learning = #log.siblings > 0 and (window > log.window or most > log.most)
  -- What a new cell log can still learn from this one stays until then.
  local laid, reach, units = log, window, 2 ^ most
  if has_new(own, log.siblings) then reach, units = need, max(units, log.live) end
  if is_ahead or is_learning or tick ~= log.tick or ring.width_for(window, tick) ~= log.width then
    laid = relaid(log, key, is_learning, ceil(now / tick) * tick, window, reach, tick, units)
  end
  laid.live = min(ring.count_after(laid, now - reach), units)
  if laid.live == 0 or laid.room * 16 > 4 * laid.live + 32 then
    -- The ring is too large for what is left.
    laid = ring.rolled(ring.listed(laid), tick, laid.width, units)
  end
  local kept = flags + 4 * most + 128 * (#siblings / 14) + 4096 * tick
  local text = ring.laid_out(laid, spec, now, window, kept, lives, siblings)
  if mode == 'd' and is_renewed then call('SET', key, text, 'PX', life) end
  if mode == 'd' and not is_renewed then call('SET', key, text, 'KEEPTTL') end
  return text, log.siblings
end

-- A cell log for a clock that has stepped back.
local function cells_rebuilt(key, window, grain, ttl, now, mode)
  local list = cells_of(call('GET', key))
  if not list then return end
  local recorded = ceil(now / list.tick) * list.tick
  -- What was recorded before is not to be given back: its moment may come again.
  if list.newest > recorded + SMALL_LEAD then list.newest, list.born = recorded, max(now, list.born + 1) end
  local text = cells_text(list, window, grain, list.tick, now + ttl * 1000)
  if mode == 'd' then call('SET', key, text, 'PX', ttl) end
  return text
end

-- A cell log that begins with what the other logs of its history remember. Of the cell logs that the exact log lists by now,
-- those that it did not list before are void: they are what is left of a history that was reset.
local function cells_seeded(key, exact, listed, window, grain, tick, ttl, now, mode)
  local log = ring.exact_log(exact)
  if log and listed ~= true then log.siblings = listed end
  local list = log and remembered(exact, log, sub(key, #exact + 1))
  if list then corrected(list, log.window, log.tick, ceil(now / tick) * tick, window + grain) end
  if not list or #list.times == 0 then
    if mode == 'd' then call('DEL', key) end
    return ''
  end
  local text = cells_text(list, window, grain, tick, now + ttl * 1000)
  if mode == 'd' then call('SET', key, text, 'PX', ttl) end
  return text
end

return { ring = ring, adopted = adopted, cells_rebuilt = cells_rebuilt, cells_seeded = cells_seeded, cells_of = cells_of,
  cells_text = cells_text, beside = beside, remembered = remembered, first_cut = first_cut, entry_of = entry_of }
