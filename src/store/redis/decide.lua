-- Decides all charges of one request in one atomic step: all are admitted, or none is charged. Several requests may be
-- asked about in one call; they are decided one after the other.
--
-- A history is kept in one or several *logs*, each of them one string. Its *exact log* has one entry per unit and is
-- shared by all quotas that count exactly. A *cell log* belongs to the large quotas of one window: units recorded in one
-- grain of time share a cell. The exact log lists the cell logs beside it, and is there as long as one of these is: a cell
-- log that it does not list is void. Every unit is recorded in every log of its history, by whomever it is admitted.
--
-- What a history remembers does not depend on who writes: an exact log keeps its units for the longest window that
-- anybody has asked for, and as many as the largest limit needs. Not limits but only windows are part of its layout: its
-- cursors are those of the last writer, and one with other windows brings its own with it.
--
-- KEYS  the logs; those of one history are next to each other, the exact log first, then the cell logs by window.
-- ARGV  for each log: tag I6, bytes per entry B (4, 6; 8 for cells), counts denied B, quotas n B, time to live I6, what it
--       keeps I7, n times (window I6, limit I4), the longest window first; of the exact log also the cell logs beside it,
--       of each (window I6, grain I6); of a cell log its grain I6, and in place of what it keeps the most units to tell of.
--       After those, unless this is about one unit of one request by the server's time: mode c1, time in microseconds
--       I7, stamp I6, and for each request: units B, logs I2.
-- Modes d decide: charge so many units, or as many as there is room for; p peek: say what would be decided and write
--       nothing; r refund so many units recorded at `stamp`. A time of 0 is the server's own, as always outside of tests.
-- Reply the header of the only log, or of every log (what follows a header means nothing); a number for a refund. For
--       several requests one such reply for each, or the text of an error after which nothing was decided any more.
--
-- A header is little-endian and begins in the same way in all logs. It is stored and is the reply as well, since making
-- a Lua string is dear here, for Redis hashes each byte of it:
--
--    0  I6  tag: a magic byte, the number of quotas (32 for cells), and a hash of the windows its cursors are for
--    6  B   units that the last decision admitted
--    7  I7  when that was, in microseconds
--   14  I4  room in the ring: blocks of 16 entries, or cells
--   18  I4  number of the entry that comes next; it may be changed by a multiple of the ring's size
--   22  I6  when the newest unit was recorded, in milliseconds
--   28  I6  until when the key lives at least
--   34  I7  what is kept: the longest window (42 bits), whether anybody has asked for more than half of that since the
--           key's life was last renewed (1), the binary logarithm of the most units (5), the number of cell logs beside (5);
--           of cells the window
--   41  I4  entries that are kept, or cells
--   45  n times  I4 units that the quota counts, I6 when the one was recorded whose leaving changes that
--
-- An exact log goes on with the cell logs beside it, and with its newest block, which has up to 16 entries: the low bytes
-- of their milliseconds. If that is all then the ring has no room and the string ends there. Else the block is followed by
-- one copy per quota of the block that its oldest unit stands in, and by the ring of older blocks. So an admission is one
-- GETRANGE of the header with these blocks and one SETRANGE of the header with the newest block, however long the log is.
--
-- A cell log has one quota in its header and goes on with: I6 end and I4 running total of the oldest cell, I4 running total
-- of the newest, I6 grain; then the ring of the older cells: I4 low bytes of the number, I4 running total.
--
-- Recording rounds up to a millisecond and asking rounds down, so nothing is free early. Every number is below 2^53.

-- Functions are made anew in every run of a script, so there are few of them here and those share nothing: with what
-- they share each of them would cost a tenth of a microsecond.
local function stopped(why, replies, group)
  if not replies then return redis.error_reply(why) end
  replies[group] = { ok = why }
  return replies
end

-- What is rarely needed: makes the functions that lay a log out anew and that take units back.
local function rare()
  local MAGIC, OLDER, CELLS, SMALL_LEAD, KEPT = 82, 81, 32, 10, 2 ^ 42
  local call, pcall, pack, read, sub = redis.call, redis.pcall, struct.pack, struct.unpack, string.sub
  local min, max, floor, rep, concat, spread = math.min, math.max, math.floor, string.rep, table.concat, unpack

  -- What the fields of a header say that is kept.
  local function kept(number)
    local window = number % KEPT
    local rest = (number - window) / KEPT
    local asked = rest % 2
    local most = (rest - asked) / 2 % 32
    return window, asked, most, ((rest - asked) / 2 - most) / 32
  end

  -- How the exact log is laid out that begins with this.
  local function opened(text)
    if #text < 45 then return end
    local magic, n, _, _, _, room, next, newest, lives, keep, live = read('<BBI4BI7I4I4I6I6I7I4', text)
    if magic ~= MAGIC or n > 16 then return end
    local window, asked, most, siblings = kept(keep)
    local width = window > 2 ^ 30 and 6 or 4
    local header = 45 + 10 * n + 12 * siblings
    local log = { n = n, room = room, next = next, newest = newest, lives = lives, live = live, keep = keep, text = text,
      window = window, asked = asked, most = most, width = width, size = 16 * width, low = '<I' .. width,
      modulus = 256 ^ width, header = header, ring = header + (n + 1) * 16 * width }
    log.held = next == 0 and 0 or (next - 1) % 16 + 1
    return log
  end

  local function is_whole(log)
    local length = log.room == 0 and log.header + log.held * log.width or log.ring + log.room * log.size
    return #log.text == length and log.live <= log.held + log.room * 16
  end

  -- The exact log under a key, with all its text.
  local function exact_log(key)
    local text = pcall('GET', key)
    local log = not (text and text.err) and opened(text or '')
    if not log or not is_whole(log) then return end
    log.siblings = sub(text, 46 + 10 * log.n, log.header)
    return log
  end

  -- Where the block is of an entry that is so many older than the newest, and the number of the entry.
  local function block_of(log, age)
    local number = log.next - 1 - age
    if age < log.held then return log.header, number end
    return log.ring + (number - number % 16) / 16 % log.room * log.size, number
  end

  local function stamp_of(log, age)
    local block, number = block_of(log, age)
    local low = read(log.low, log.text, block + number % 16 * log.width + 1)
    return log.newest - (log.newest - low) % log.modulus
  end

  -- How many units are later than that.
  local function count_after(log, expired)
    local alive, dead = 0, log.live
    while alive < dead do
      local age = floor((alive + dead) / 2)
      if stamp_of(log, age) > expired then alive = age + 1 else dead = age end
    end
    return alive
  end

  -- A log of these units, without a header: the newest of them, as many as are kept.
  local function rolled(log, list, most)
    local stamps, entries, blocks = {}, {}, {}
    for k = #list.times, 1, -1 do
      for _ = 1, min(list.units[k], most - #stamps) do stamps[#stamps + 1] = min(list.times[k], list.newest) end
    end
    local live = #stamps
    for k = live, 1, -1 do
      entries[#entries + 1] = pack('<I' .. log.width, stamps[k])
      if #entries == 16 and k > 1 then blocks[#blocks + 1], entries = concat(entries), {} end
    end
    local size, held = 16 * log.width, live == 0 and 0 or (live - 1) % 16 + 1
    local pad = #blocks > 0 and rep('\0', (16 - held) * log.width) or ''
    return { room = #blocks, next = live, live = live, held = held, newest = list.newest, width = log.width, size = size,
      low = '<I' .. log.width, modulus = 256 ^ log.width, header = 0, ring = size,
      text = concat(entries) .. pad .. concat(blocks) }
  end

  -- The string of a log, with cursors for the windows of `spec`.
  local function laid_out(log, spec, asked, keep, lives, siblings)
    local tag, _, _, n = read('<I6BBB', spec)
    local parts = { pack('<I6BI7I4I4I6I6I7I4', tag, 0, 0, log.room, log.next, log.newest, lives, keep, log.live) }
    local copies = {}
    for j = 1, n do
      local count = count_after(log, asked - read('<I6', spec, 13 + 10 * j))
      local block = count > log.held and block_of(log, count - 1) or log.header
      parts[j + 1] = pack('<I4I6', count, count > 0 and stamp_of(log, count - 1) or log.newest)
      copies[j] = log.room > 0 and sub(log.text, block + 1, block + log.size) or ''
    end
    local newest = log.room > 0 and log.size or log.held * log.width
    return concat(parts) .. siblings .. sub(log.text, log.header + 1, log.header + newest) .. concat(copies)
      .. (log.room > 0 and sub(log.text, log.ring + 1) or '')
  end

  -- All cells that a log remembers, oldest first: until when each may have been recorded, and its units.
  local function cells_of(text)
    if not text or #text < 75 then return end
    local magic, kind, _, _, _, room, next, newest, lives, window, live, used, _, _, _, total, grain =
      read('<BBI4BI7I4I4I6I6I7I4I4I6I6I4I4I6', text)
    if magic ~= MAGIC or kind ~= CELLS or grain < 1 then return end
    if #text ~= 75 + room * 8 or live > room + 1 then return end
    local list = { newest = newest, lives = lives, window = window, grain = grain, times = {}, units = {} }
    local times, units = list.times, list.units
    local index, after, before = (newest - newest % grain) / grain, total, total - used
    for age = 0, live - 1 do
      if age > 0 then
        local low, at = read('<I4I4', text, 75 + (next - 1 - age) % room * 8 + 1)
        index, units[live - age + 1] = index - (index - low) % 2 ^ 32, (after - at) % 2 ^ 32
        after = at
      end
      times[live - age] = (index + 1) * grain - 1
    end
    units[1] = live > 0 and (after - before) % 2 ^ 32 or nil
    return list
  end

  -- The string of a cell log of these units; if there are none, when the newest was recorded still matters while the
  -- clock is a little behind that.
  local function cells_text(list, window, grain, lives)
    local indices, totals, ring, total = {}, {}, {}, 0
    for k = 1, #list.times do
      local index = floor(min(list.times[k], list.newest) / grain)
      total = (total + list.units[k]) % 2 ^ 32
      if index ~= indices[#indices] then indices[#indices + 1] = index end
      totals[#indices] = total
    end
    local live = #indices
    for k = 1, live - 1 do ring[k] = pack('<I4I4', indices[k], totals[k]) end
    local oldest = live > 0 and (indices[1] + 1) * grain - 1 or 0
    return pack('<BBI4BI7I4I4I6I6I7I4I4I6I6I4I4I6', MAGIC, CELLS, 0, 0, 0, max(live - 1, 0), live, list.newest, lives,
      window, live, total, oldest, oldest, totals[1] or 0, total, grain) .. concat(ring)
  end

  -- The cell logs beside an exact log, by window.
  local function beside(siblings)
    local all = {}
    for from = 1, #siblings, 12 do
      local window, grain = read('<I6I6', siblings, from)
      all[#all + 1] = { window = window, grain = grain, suffix = ':' .. window .. '.' .. grain }
    end
    table.sort(all, function(one, other) return one.window < other.window end)
    return all
  end

  -- All units of a history, oldest first. What the exact log does not know any more is in the cells: those units are
  -- older than its own.
  local function remembered(key, log, but)
    local list = { times = {}, units = {}, newest = log.newest }
    for age = log.live - 1, 0, -1 do
      list.times[log.live - age], list.units[log.live - age] = stamp_of(log, age), 1
    end
    local known = log.live
    for _, sibling in ipairs(beside(log.siblings)) do
      local cells = sibling.suffix ~= but and cells_of(call('GET', key .. sibling.suffix))
      if cells then
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
        known = max(known, total)
      end
    end
    return list
  end

  -- Forgets what is older, and brings units from the future down to now if the clock has stepped back, so that they count
  -- for one whole window from now and not for longer.
  local function corrected(list, window, latest, reach)
    local times, units = {}, {}
    local is_ahead = list.newest > latest + SMALL_LEAD
    local expired = is_ahead and list.newest - window - 1 or latest - reach - 1
    for k = 1, #list.times do
      if list.times[k] > expired then times[#times + 1], units[#units + 1] = list.times[k], list.units[k] end
    end
    list.times, list.units = times, units
    if is_ahead then list.newest = latest end
  end

  -- Which cell logs are beside the log of a key: those that are still there and those of the writer.
  local function siblings_with(key, siblings, own)
    local all = {}
    for from = 1, #siblings, 12 do
      local one, is_own = sub(siblings, from, from + 11), false
      for at = 1, #own, 12 do is_own = is_own or sub(own, at, at + 11) == one end
      local window, grain = read('<I6I6', one)
      if not is_own and call('EXISTS', key .. ':' .. window .. '.' .. grain) == 1 then all[#all + 1] = one end
    end
    while #all + #own / 12 > 31 do table.remove(all, 1) end
    return concat(all) .. own
  end

  -- Lays a log out for another writer: with other windows, other cell logs beside it, or a longer memory; also if it has
  -- not been asked to keep as much for as long as that lasts, and if the clock has stepped back.
  local function adopted(key, spec, recorded, asked, mode)
    local log = exact_log(key)
    if not log then return end
    local _, _, _, n, ttl, own = read('<I6BBBI6I7', spec)
    local own_window, _, own_most = kept(own)
    local window, most, stored = log.window, log.most, log.siblings
    local flag = log.asked
    if log.lives < recorded + window then
      if flag == 0 then window, most = floor(window / 2), max(most - 1, 0) end
      flag = 0
    end
    window, most = max(window, own_window), max(most, own_most)
    if 2 * own_window > window or own_most == most then flag = 1 end
    local siblings = siblings_with(key, stored, sub(spec, 23 + 10 * n))
    local need = max(window, (ttl - 1000) / 2)
    for _, sibling in ipairs(beside(siblings)) do need = max(need, sibling.window + sibling.grain) end
    local is_ahead, life = log.newest > recorded + SMALL_LEAD, 2 * need + 1000
    local lives = (is_ahead or log.lives < recorded + need) and asked + life or log.lives
    local width = window > 2 ^ 30 and 6 or 4
    local laid = log
    local is_learning = #stored > 0 and (window > log.window or most > log.most)
    if is_ahead or width ~= log.width or is_learning then
      local list = remembered(key, is_learning and log or setmetatable({ siblings = '' }, { __index = log }))
      corrected(list, log.window, recorded, window)
      laid = rolled({ width = width }, list, 2 ^ most)
    end
    -- What a new cell log can still learn from this one stays until then.
    laid.live = min(count_after(laid, asked - (#siblings > #stored and need or window)), 2 ^ most)
    if laid.live == 0 or laid.room * 16 > 4 * laid.live + 32 then
      -- The ring is too large for what is left.
      local list = { times = {}, units = {}, newest = laid.newest }
      for age = laid.live - 1, 0, -1 do list.times[laid.live - age], list.units[laid.live - age] = stamp_of(laid, age), 1 end
      laid = rolled({ width = width }, list, 2 ^ most)
    end
    local keep = window + KEPT * (flag + 2 * (most + 32 * (#siblings / 12)))
    local text = laid_out(laid, spec, asked, keep, lives, siblings)
    if mode == 'd' then
      if lives == log.lives then call('SET', key, text, 'KEEPTTL') else call('SET', key, text, 'PX', life) end
    end
    return text, stored
  end

  -- A cell log for a clock that has stepped back.
  local function cells_rebuilt(key, window, grain, ttl, recorded, asked, mode)
    local list = cells_of(call('GET', key))
    if not list then return end
    if list.newest > recorded + SMALL_LEAD then list.newest = recorded end
    local text = cells_text(list, window, grain, asked + ttl)
    if mode == 'd' then call('SET', key, text, 'PX', ttl) end
    return text
  end

  -- A cell log that begins with what the other logs of its history remember.
  local function cells_seeded(key, exact, window, grain, ttl, recorded, asked, mode)
    local log = exact_log(exact)
    local list = log and remembered(exact, log, sub(key, #exact + 1))
    if list then corrected(list, log.window, recorded, window + grain) end
    if not list or #list.times == 0 then
      if mode == 'd' then call('DEL', key) end
      return ''
    end
    local text = cells_text(list, window, grain, asked + ttl)
    if mode == 'd' then call('SET', key, text, 'PX', ttl) end
    return text
  end

  -- Takes units out of a list that were recorded at `stamp`, or a little later if the log was ahead of the clock. Says how
  -- many.
  local function taken_out(list, stamp, most, grain)
    local times, units, found, left = list.times, list.units, 1, most
    while times[found] and times[found] < stamp do found = found + 1 end
    while left > 0 and times[found] and times[found] - grain + 1 <= stamp + SMALL_LEAD do
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
  local function searched_out(key, spec, stamp, most, asked)
    local log = exact_log(key)
    if not log then return end
    local list = remembered(key, setmetatable({ siblings = '' }, { __index = log }))
    local taken = taken_out(list, stamp, most, 1)
    if taken == 0 then return 0, log end
    if #list.times > 0 then list.newest = list.times[#list.times] end
    local laid = rolled(log, list, 65536)
    log.live = laid.live
    if laid.live > 0 or #log.siblings > 0 then
      call('SET', key, laid_out(laid, spec, asked, log.keep, log.lives, log.siblings), 'KEEPTTL')
    end
    return taken, log
  end

  -- Takes units out of an exact log: if they are among the newest 16 then without reading the others.
  local function given_back(key, spec, stamp, most, asked)
    local text = pcall('GETRANGE', key, 0, 44)
    if text.err then return end
    if text == '' or string.byte(text) == OLDER then return 0 end
    local log = opened(text)
    if not log then return end
    log.text = call('GETRANGE', key, 0, log.ring - 1)
    log.siblings = sub(log.text, 46 + 10 * log.n, log.header)
    if log.room > 0 and #log.text < log.ring or #log.text < log.header + log.held * log.width then return end
    local width, size, held, bytes, from = log.width, log.size, log.held, '', nil
    if log.room > 0 and log.live > held then
      from = log.ring + (log.next - held - 16) / 16 % log.room * size
      bytes = call('GETRANGE', key, from, from + size - 1)
      if #bytes < size then return end
    end
    bytes = bytes .. sub(log.text, log.header + 1, log.header + held * width)
    local function stamp_at(place)
      return log.newest - (log.newest - read(log.low, bytes, (place - 1) * width + 1)) % log.modulus
    end
    local count = #bytes / width
    local oldest = max(count - log.live, 0) + 1
    local first, taken = count + 1, 0
    while first > oldest and stamp_at(first - 1) >= stamp do first = first - 1 end
    if first == oldest and log.live > count - oldest + 1 then return searched_out(key, spec, stamp, most, asked) end
    while taken < most and first + taken <= count and stamp_at(first + taken) <= stamp + SMALL_LEAD do taken = taken + 1 end
    if taken == 0 then return 0, log end
    if count == taken then return searched_out(key, spec, stamp, most, asked) end
    bytes = sub(bytes, 1, (first - 1) * width) .. sub(bytes, (first - 1 + taken) * width + 1)
    local youngest = count - (first + taken - 1)
    log.live, count = log.live - taken, count - taken
    local newest = stamp_at(count)
    local next = log.next - taken
    if next < 1 then next = next + 16 * log.room end
    held = (next - 1) % 16 + 1
    local before = count > held and sub(bytes, 1, size) or nil
    local block = sub(bytes, (count - held) * width + 1)
    local parts, copies = { sub(log.text, 1, 18), pack('<I4I6', next, newest), sub(log.text, 29, 41), pack('<I4', log.live) }, {}
    for j = 1, log.n do
      local units, at = read('<I4I6', log.text, 36 + 10 * j)
      units = units - max(0, min(taken, units - youngest))
      if units > 0 and units <= count then at = stamp_at(count - units + 1) end
      parts[#parts + 1] = pack('<I4I6', units, at)
      copies[j] = sub(log.text, log.header + j * size + 1, log.header + (j + 1) * size)
      if before and units > held and units <= held + 16 then copies[j] = before end
    end
    parts[#parts + 1] = log.siblings .. block
    if log.room == 0 then
      call('SET', key, concat(parts), 'KEEPTTL')
    else
      call('SETRANGE', key, 0, concat(parts) .. rep('\0', size - #block) .. concat(copies))
      if before then call('SETRANGE', key, from, before) end
    end
    return taken, log
  end

  -- Takes units out of a cell log. Says how many, and whether it is empty.
  local function cells_given_back(key, stamp, most)
    local text = pcall('GETRANGE', key, 0, 74)
    if text.err then return end
    if text == '' then return 0, true end
    if #text < 75 then return end
    local room, next, newest, _, _, live, used, _, _, before, total, grain = read('<I4I4I6I6I7I4I4I6I6I4I4I6', text, 15)
    if live > 0 and grain > 0 and floor(stamp / grain) == floor(newest / grain) then
      local units, last = used, nil
      if live > 1 and room > 0 then
        last = call('GETRANGE', key, 75 + (next - 2) % room * 8 + 4, 75 + (next - 2) % room * 8 + 7)
        units = #last == 4 and (total - read('<I4', last)) % 2 ^ 32 or 0
      end
      if units > most then
        if live == 1 then before = (before - most) % 2 ^ 32 end
        call('SETRANGE', key, 45, pack('<I4', used - most))
        call('SETRANGE', key, 61, pack('<I4I4', before, (total - most) % 2 ^ 32))
        return most, false
      end
    end
    local list = cells_of(call('GET', key))
    if not list then return end
    local taken = taken_out(list, stamp, most, list.grain)
    if taken > 0 then
      list.newest = min(list.newest, list.times[#list.times] or list.newest)
      call('SET', key, cells_text(list, list.window, list.grain, list.lives), 'KEEPTTL')
    end
    return taken, #list.times == 0
  end

  -- Takes units out of all logs of some histories, also of those that are only others'. What is empty as a whole is gone.
  local function refunded(stamp, most, asked)
    local total, names, is_needed = 0, {}, true
    for i = 1, #KEYS + 1 do
      local _, width, _, n = read('<I6BBB', ARGV[min(i, #KEYS)])
      if i > #KEYS or width < 8 then
        if not is_needed then call('DEL', spread(names)) end
        if i > #KEYS then return total end
        local taken, log = given_back(KEYS[i], ARGV[i], stamp, most, asked)
        if not taken then return end
        total, names, is_needed = total + taken, { KEYS[i] }, not log or log.live > 0
        for _, sibling in ipairs(log and beside(log.siblings) or {}) do
          names[#names + 1] = KEYS[i] .. sibling.suffix
          if not string.find(ARGV[i], pack('<I6I6', sibling.window, sibling.grain), 23 + 10 * n, true) then
            local _, is_empty = cells_given_back(names[#names], stamp, most)
            is_needed = is_needed or not is_empty
          end
        end
      else
        local taken, is_empty = cells_given_back(KEYS[i], stamp, most)
        if not taken then return end
        total, is_needed = total + taken, is_needed or not is_empty
      end
    end
  end

  return adopted, cells_rebuilt, cells_seeded, refunded
end

-- How a cell log is read and changed.
local function cells()
  local call, pack, read, sub, spread = redis.call, struct.pack, struct.unpack, string.sub, unpack
  local floor, min, max = math.floor, math.min, math.max
  local FORMAT = '<I6BI7I4I4I6I6I7I4I4I6I6I4I4I6'

  -- The last millisecond of a cell and the running total at its end.
  local function cell(log, number)
    local h = log.h
    local newest = (h[6] - h[6] % log.grain) / log.grain
    if number == h[5] - 1 then return (newest + 1) * log.grain - 1, h[14] end
    local from = 75 + number % h[4] * 8
    local entry = log.whole and sub(log.whole, from + 1, from + 8) or call('GETRANGE', log.key, from, from + 7)
    local low, total = 0, 0
    if #entry == 8 then low, total = read('<I4I4', entry) end
    return (newest - (newest - low) % 2 ^ 32 + 1) * log.grain - 1, total
  end

  -- Lets go of the cells that have left the window. Usually that is the oldest alone; else the first one that is alive
  -- is searched in steps that grow and then shrink.
  local function settle(log, asked)
    local h, expired = log.h, asked - log.window
    if h[9] == 0 or h[12] > expired then return end
    log.moved = true
    local dead, alive, before = h[5] - h[9], h[5] - 1, h[13]
    local ends, total = cell(log, alive)
    if ends <= expired then
      h[9], h[10] = 0, 0
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
    h[9], h[12], h[13], h[10] = h[5] - alive, ends, total, (h[14] - before) % 2 ^ 32
  end

  -- How many units all quotas have room for.
  local function room_of(log)
    local room = log.limits[1] - log.h[10]
    for j = 2, log.n do room = min(room, log.limits[j] - log.h[10]) end
    return max(room, 0)
  end

  -- Twice the room, and not more than the window needs. The older cells are put in order, from the first place on.
  local function grow(log, closed)
    local h, room = log.h, log.h[4]
    local ring = room > 0 and call('GETRANGE', log.key, 75, -1) or ''
    local first = room > 0 and (h[5] - h[9]) % room * 8 or 0
    h[4], h[5] = max(room + 1, min(max(2 * room, 2), floor(log.window / log.grain) + 1)), room + 2
    return sub(ring, first + 1) .. sub(ring, 1, first) .. closed .. string.rep('\0', (h[4] - room - 1) * 8)
  end

  -- Records units. Only those who count by a log prolong its life.
  local function record(log, units, recorded, asked)
    local h, key, grain = log.h, log.key, log.grain
    local stamp = max(h[6], recorded)
    local renew = log.ttl and h[7] < stamp + log.window + grain
    if renew then h[7] = asked + log.ttl end
    local live, old, index = h[9], floor(h[6] / grain), floor(stamp / grain)
    local closed = pack('<I4I4', old, h[14])
    local total, ends, ring = (h[14] + units) % 2 ^ 32, (index + 1) * grain - 1, nil
    if live == 0 then
      h[4], h[5], total, ring = 0, 1, units, ''
    elseif index > old and live > h[4] then
      ring = grow(log, closed)
    elseif index > old then
      call('SETRANGE', key, 75 + (h[5] - 1) % h[4] * 8, closed)
      h[5] = h[5] % h[4] + 1
    end
    if live == 0 or index > old then live = live + 1 end
    if live == 1 then h[12], h[13] = ends, total end
    h[6], h[8], h[9], h[10], h[11], h[14], h[15] = stamp, log.window, live, h[10] + units, h[12], total, grain
    local text = pack(FORMAT, spread(h))
    if ring and renew then
      call('SET', key, text .. ring, 'PX', log.ttl)
    elseif ring then
      call('SET', key, text .. ring, 'KEEPTTL')
    else
      if renew then call('PEXPIRE', key, log.ttl) end
      call('SETRANGE', key, 0, text)
    end
  end

  -- Keeps what has been let go of. Who is denied asks for a long life as well.
  local function keep(log, asked)
    local renew = log.h[9] > 0 and log.h[7] < asked + log.window + log.grain
    if renew then
      log.h[7] = asked + log.ttl
      call('PEXPIRE', log.key, log.ttl)
    end
    if renew or log.moved then call('SETRANGE', log.key, 0, pack(FORMAT, spread(log.h))) end
  end

  -- When unit `nth` of those counted was recorded at the latest, counted from 1 at the oldest.
  local function recorded_at(log, nth)
    local h = log.h
    local before, early, late = h[14] - h[10], h[5] - h[9] - 1, h[5] - 1
    if nth <= 1 then return h[12] end
    while late - early > 1 do
      local at = floor((early + late) / 2)
      local _, total = cell(log, at)
      if (total - before) % 2 ^ 32 >= nth then late = at else early = at end
    end
    return (cell(log, late))
  end

  -- The reply: there may be more units than a quota allows, and all that are too many are in the way.
  local function told(log)
    local h, format = { spread(log.h, 1, 9) }, '<I6BI7I4I4I6I6I7I4' .. string.rep('I4I6', log.n)
    for j = 1, log.n do
      local used = log.counts_denied and min(log.h[10], log.cap) or log.h[10]
      h[8 + 2 * j], h[9 + 2 * j] = used, recorded_at(log, log.h[10] - used + max(1, used + 1 - log.limits[j]))
    end
    return pack(format, spread(h))
  end

  -- Records units in those cell logs of a history that do not belong to who admits them.
  local function feed(key, siblings, own, units, recorded, asked)
    for from = 1, #siblings, 12 do
      local one, is_own = sub(siblings, from, from + 11), false
      for at = 1, #own, 12 do is_own = is_own or sub(own, at, at + 11) == one end
      if not is_own then
        local window, grain = read('<I6I6', one)
        local name = key .. ':' .. window .. '.' .. grain
        local s = call('GETRANGE', name, 0, 74)
        if #s == 75 then
          local log = { key = name, h = { read(FORMAT, s) }, window = window, grain = grain }
          log.h[16] = nil
          settle(log, asked)
          record(log, units, recorded, asked)
        end
      end
    end
  end

  return settle, room_of, record, keep, told, feed
end

local EPOCH, SMALL_LEAD, KEPT, OLDER = 2 ^ 43, 10, 2 ^ 42, 81
local call, pack, read, sub, spread = redis.call, struct.pack, struct.unpack, string.sub, unpack

local logs = #KEYS
local mode, now, given, options, groups = 'd', 0, 0, ARGV[logs + 1], 1
if options then
  mode, now, given = read('<c1I7I6', options)
  groups = (#options - 14) / 3
end
if now == 0 then
  local time = call('TIME')
  now = time[1] * 1000000 + time[2]
end
local asked = EPOCH + (now - now % 1000) / 1000
local recorded = now % 1000 > 0 and asked + 1 or asked
if mode == 'r' then
  local _, _, _, refunded = rare()
  return refunded(given, string.byte(options, 15), asked) or stopped('TOWERQUOTA corrupt: not a log')
end

local replies = groups > 1 and {}
-- What the argument of a log says, which the next log may share; and how logs of cells are handled, if there are any.
local known, tag, width, counts_denied, n, ttl, keep, format, header, full, own, grain
local settle_cells, room_of_cells, record_cells, keep_cells, told_of_cells, feed_cells
-- The log in hand; and the exact log of the history in hand, with the cell logs that it listed before.
local key, s, h, whole, held, moved, copies, over, siblings, need, life, window_kept, most_kept
local exact, listed

-- Which request it is, how many of its units have been admitted so far, and the last log before its own.
local group, taken, before = 1, 0, 0
while group <= groups do
  local first, last, wanted = before + 1, logs, 1
  if options then
    local units, low, high = string.byte(options, 12 + 3 * group, 14 + 3 * group)
    last, wanted = before + low + 256 * high, units - taken
  end
  -- The logs in hand, if there are several; and for how many units there is room.
  local parts, room_left = last > first and {}, wanted

  -- First look at all logs.
  for i = first, last do
    local spec = ARGV[i]
    key = KEYS[i]
    if spec ~= known then
      known = spec
      tag, width, counts_denied, n, ttl, keep = read('<I6BBBI6I7', spec)
      if width < 8 then
        own = ''
        if keep >= 281474976710656 then own = sub(spec, 23 + 10 * n) end
        if n == 1 then
          format = '<I6BI7I4I4I6I6I7I4I4I6'
        elseif n == 2 then
          format = '<I6BI7I4I4I6I6I7I4I4I6I4I6'
        else
          format = '<I6BI7I4I4I6I6I7I4' .. string.rep('I4I6', n)
        end
        header = 45 + 10 * n + #own
        full = header + 16 * width * (n + 1)
      else
        grain, format, full = read('<I6', spec, 23 + 10 * n), '<I6BI7I4I4I6I6I7I4I4I6I6I4I4I6', 75
      end
    end

    s, whole, moved, copies, over = redis.pcall('GETRANGE', key, 0, full - 1), nil, false
    if s.err then
      return stopped(string.find(s.err, 'WRONGTYPE', 1, true) and 'TOWERQUOTA corrupt: not a string' or s.err, replies, group)
    end

    if width == 8 then
      if not settle_cells then
        settle_cells, room_of_cells, record_cells, keep_cells, told_of_cells, feed_cells = cells()
      end
      parts = parts or {}
      local log = { key = key, n = n, grain = grain, counts_denied = counts_denied == 1, cap = keep, ttl = ttl, limits = {},
        is_cells = true }
      for j = 1, n do log.window, log.limits[j] = read('<I6I4', spec, 13 + 10 * j) end
      if listed ~= true then
        local one, is_listed = pack('<I6I6', log.window, grain), false
        for from = 1, #listed, 12 do is_listed = is_listed or sub(listed, from, from + 11) == one end
        if not is_listed then s = '' end
      end
      if s == '' and exact then
        local _, _, seeded = rare()
        log.whole = seeded(key, exact, log.window, grain, ttl, recorded, asked, mode)
        s = sub(log.whole, 1, 75)
      end
      h = #s == 75 and { read(format, s) }
      if s ~= '' and not (h and h[1] == tag and now >= h[3] and h[6] <= recorded + SMALL_LEAD) then
        local _, rebuilt = rare()
        log.whole = rebuilt(key, log.window, grain, ttl, recorded, asked, mode)
        if not log.whole then return stopped('TOWERQUOTA corrupt: not a log', replies, group) end
        s = sub(log.whole, 1, 75)
        h = { read(format, s) }
      end
      h = h or { read(format, string.rep('\0', 75)) }
      h[1], h[16], log.h = tag, nil, h
      settle_cells(log, asked)
      local room = room_of_cells(log)
      if room < room_left then room_left = room end
      parts[i] = log
    else
      -- A header of other windows has cursors of no use here; one from the future has them too far on.
      local sound, is_read
      exact, listed = key, true
      repeat
        sound, is_read, siblings, window_kept, need, life = true, false, own, nil, (ttl - 1000) / 2, ttl
        if s == '' then
          h, held, exact, listed = { read(format, string.rep('\0', header)) }, 0, nil, ''
          h[1], h[8] = tag, keep
          is_read = true
        elseif #s >= 45 + 10 * n then
          h = { read(format, s) }
          sound = h[1] == tag and now >= h[3] and h[6] <= recorded + SMALL_LEAD
          if sound and (h[8] ~= keep or own ~= '' and sub(s, 46 + 10 * n, header) ~= own) then
            -- More is kept than this writer asks for, or less.
            known = nil
            local rest, own_window, own_rest = h[8], keep % KEPT, keep
            window_kept = rest % KEPT
            rest, own_rest = (rest - window_kept) / KEPT, (own_rest - own_window) / KEPT
            local flag, own_most = rest % 2, (own_rest - 1) / 2 % 32
            most_kept = (rest - flag) / 2 % 32
            local beside = ((rest - flag) / 2 - most_kept) / 32
            sound = own_window <= window_kept and own_most <= most_kept and (flag == 1 or h[7] >= recorded + window_kept)
            if sound then
              width = window_kept > 1073741824 and 6 or 4
              header = 45 + 10 * n + 12 * beside
              full = header + 16 * width * (n + 1)
              s = whole and sub(whole, 1, full) or call('GETRANGE', key, 0, full - 1)
              siblings = sub(s, 46 + 10 * n, header)
              if siblings ~= own then
                -- It lists cell logs of others, or not those of this writer.
                local found = 0
                for from = 1, #siblings, 12 do
                  local one, is_own = sub(siblings, from, from + 11), false
                  for at = 1, #own, 12 do is_own = is_own or sub(own, at, at + 11) == one end
                  local window, its_grain = read('<I6I6', one)
                  if is_own then
                    found = found + 1
                  elseif mode == 'd' then
                    sound = sound and call('EXISTS', key .. ':' .. window .. '.' .. its_grain) == 1
                  end
                  if window + its_grain > need then need = window + its_grain end
                end
                sound = sound and found == #own / 12
                if listed == true then listed = siblings end
              end
              if window_kept > need then need = window_kept end
              life = 2 * need + 1000
              if flag == 0 and (2 * own_window > window_kept or own_most == most_kept) then
                h[8], moved = h[8] + KEPT, true
              end
            end
          end
          if sound then
            held = h[5] == 0 and 0 or (h[5] - 1) % 16 + 1
            is_read = #s == (h[4] == 0 and header + held * width or full)
          end
        end
        if not is_read then
          if whole then return stopped('TOWERQUOTA corrupt: not a log', replies, group) end
          known, moved = nil, false
          tag, width = read('<I6B', spec)
          header = 45 + 10 * n + #own
          full = header + 16 * width * (n + 1)
          if string.byte(s) == OLDER then
            -- A history of an earlier layout begins afresh.
            s = ''
          else
            whole, listed = rare()(key, spec, recorded, asked, mode)
            if not whole then return stopped('TOWERQUOTA corrupt: not a log', replies, group) end
            s = sub(whole, 1, full)
          end
        end
      until is_read

      -- Each cursor is moved past the units that have left its window; nearly always by one of them or by none. A unit
      -- that a denied request is about to add needs a place too.
      local next, newest, room, entry, live = h[5], h[6], h[4], width == 4 and '<I4' or '<I6', h[9]
      local modulus, block_size, extra, most = width == 4 and 4294967296 or 281474976710656, 16 * width, 0, live
      if live > room * 16 + held then return stopped('TOWERQUOTA corrupt: more units than entries', replies, group) end
      if counts_denied == 1 and mode == 'd' then
        if not window_kept then most_kept = ((keep - keep % KEPT) / KEPT - 1) / 2 % 32 end
        extra = 1
        if most > 2 ^ most_kept then most = 2 ^ most_kept end
      end
      for j = 1, n do
        local window, limit = read('<I6I4', spec, 13 + 10 * j)
        local at = 8 + 2 * j
        local count, oldest, expired = h[at], h[at + 1], asked - window
        if count > 0 and (oldest <= expired or count > most) then
          if count > room * 16 + held then return stopped('TOWERQUOTA corrupt: more units than entries', replies, group) end
          if newest <= expired then
            count = 0
          else
            local number, block, offset = next - count, s, header + 1
            if count > held then offset = offset + block_size * j end
            repeat
              count, number = count - 1, number + 1
              if count == 0 then break end
              if count == held then
                block, offset = s, header + 1
              elseif number % 16 == 0 then
                local from = full + number / 16 % room * block_size
                block, offset = whole and sub(whole, from + 1, from + block_size)
                  or call('GETRANGE', key, from, from + block_size - 1), 1
                if #block < block_size then return stopped('TOWERQUOTA corrupt: a ring that is too short', replies, group) end
                copies = copies or {}
                copies[j] = block
              end
              oldest = newest - (newest - read(entry, block, offset + number % 16 * width)) % modulus
            until oldest > expired and count <= most
          end
          if j == 1 and count ~= h[10] then moved = true end
          h[at], h[at + 1] = count, oldest
        end
        if count + extra > limit or counts_denied == 1 and count + extra > read('<I4', spec, 29) then
          -- Where denials count no more are told of than the longest quota allows.
          over = over or {}
          over[j] = counts_denied == 1 and math.min(limit, (read('<I4', spec, 29))) or limit
        end
        if limit - count < room_left then room_left = limit - count end
        if j == 1 and (not window_kept or window_kept == window) then live = count end
      end
      if window_kept and newest <= asked - window_kept then live = 0 end
      h[9] = live
      if room_left > 1 then
        -- In one go no more than the newest block has a place for, or the one after it.
        local places = (live == 0 or live < 16 and (room == 0 or held == 16)) and live or held % 16
        if 16 - places < room_left then room_left = 16 - places end
      end
      if parts then
        parts[i] = { h = h, s = s, n = n, key = key, width = width, format = format, header = header, held = held,
          copies = copies, moved = moved, over = over, whole = whole, counts_denied = counts_denied, siblings = siblings,
          own = own, need = need, life = life, window_kept = window_kept, most_kept = most_kept, keep = keep }
      end
    end
  end
  if room_left < 0 then room_left = 0 end
  local has_room = room_left > 0

  -- Then charge all of them or none.
  local reply = last > first and {}
  local units = has_room and room_left or 1
  local admitted = taken + (has_room and units or 0)
  for i = first, last do
    local log, text = parts and parts[i]
    if log and log.is_cells then
      log.h[2], log.h[3] = admitted, now
      if mode == 'd' and (has_room or log.counts_denied) then
        record_cells(log, units, recorded, asked)
      elseif mode == 'd' then
        keep_cells(log, asked)
      end
      text = told_of_cells(log)
    else
      if log then
        h, s, n, key, width, format, header = log.h, log.s, log.n, log.key, log.width, log.format, log.header
        held, copies, moved, over, whole = log.held, log.copies, log.moved, log.over, log.whole
        counts_denied, siblings, own, need, life = log.counts_denied, log.siblings, log.own, log.need, log.life
        window_kept, most_kept, keep = log.window_kept, log.most_kept, log.keep
      end
      h[2], h[3] = admitted, now
      local size, next, live = 16 * width, h[5], h[9]
      local is_charged = mode == 'd' and (has_room or counts_denied == 1)
      if is_charged and n == 0 and (window_kept or 0) == 0 then
        -- Nobody counts exactly: this log says which others there are.
        text = pack(format, spread(h)) .. siblings
        if h[7] < recorded + need then
          h[6], h[7] = recorded, asked + life
          text = pack(format, spread(h)) .. siblings
          call('SET', key, text, 'PX', life)
        end
      elseif is_charged then
        local stamp, room, renew = h[6] > recorded and h[6] or recorded, h[4], false
        for j = 1, n do
          local at = 8 + 2 * j
          if h[at] == 0 then h[at + 1] = stamp end
          h[at] = h[at] + units
        end
        h[6], h[9] = stamp, live + units
        if h[7] < stamp + need then
          renew, h[7] = true, asked + life
          if window_kept then
            -- From now on it is seen anew whether as much is asked for.
            local own_window, rest = keep % KEPT, (h[8] - window_kept) / KEPT
            local own_most = ((keep - own_window) / KEPT - 1) / 2 % 32
            if rest % 2 == 1 and 2 * own_window <= window_kept and own_most < most_kept then h[8] = h[8] - KEPT end
          end
        end
        local entries, ring = '', nil
        if live == 0 or live < 16 and (room == 0 or held == 16) then
          -- What counts fits into one block: the string is just that. It is set as a whole, which takes just the memory
          -- it needs, while one that grows by SETRANGE is given twice as much.
          h[4], h[5], ring = 0, live + units, ''
          if live > 0 then entries = sub(s, header + 1 + (held - live) * width, header + held * width) end
        elseif held < 16 then
          h[5] = next + units
          entries = sub(s, header + 1, header + held * width)
        else
          -- The newest block is full and goes into the ring.
          local block = sub(s, header + 1, header + size)
          copies = copies or {}
          for j = 1, n do
            if h[8 + 2 * j] <= 16 + units then copies[j] = block end
          end
          local full = header + size * (n + 1)
          if window_kept then
            -- Not more than are kept, and if there is no room only those that are to be kept.
            if live + units > 2 ^ most_kept + 1 then live = 2 ^ most_kept + 1 - units end
            while next - 16 - (next - live - (next - live) % 16) >= 16 * room and room > 0 and live > 32 do
              local oldest = next - live
              local from = full + (oldest - oldest % 16) / 16 % room * size + size - width
              local low = whole and sub(whole, from + 1, from + width) or call('GETRANGE', key, from, from + width - 1)
              low = read(width == 4 and '<I4' or '<I6', low)
              if h[6] - (h[6] - low) % 256 ^ width > asked - window_kept then break end
              live = live - (16 - oldest % 16)
            end
            h[9] = live + units
          end
          local oldest = next - live
          if next - 16 - (oldest - oldest % 16) < 16 * room then
            call('SETRANGE', key, full + (next / 16 - 1) % room * size, block)
            h[5] = next % (16 * room) + units
          else
            -- Every block of the ring is alive: twice the room, and not more than the longest quota needs. The blocks are
            -- put in order, from the first place on.
            local old = room > 0 and call('GETRANGE', key, full, -1) or ''
            local from = room > 0 and (oldest - oldest % 16) / 16 % room * size or 0
            local limit = window_kept and 2 ^ most_kept or read('<I4', ARGV[i], 29)
            h[4] = math.max(room + 1, math.min(math.max(2 * room, 2), math.ceil(limit / 16)))
            h[5] = 16 * room + 16 + units
            ring = string.rep('\0', size - units * width)
            for j = 1, n do ring = ring .. (copies[j] or sub(s, header + 1 + j * size, header + (j + 1) * size)) end
            ring = ring .. sub(old, from + 1) .. sub(old, 1, from) .. block .. string.rep('\0', (h[4] - room - 1) * size)
            copies = nil
          end
        end
        if units > 1 then entries = entries .. string.rep(pack(width == 4 and '<I4' or '<I6', stamp), units - 1) end
        if width == 4 and n == 2 and siblings == '' then
          -- Making one string and not four is a twentieth of the whole decision. The formats of one or two quotas are
          -- spelt out for the same reason.
          h[14], h[15] = entries, stamp
          text = pack('<I6BI7I4I4I6I6I7I4I4I6I4I6c0I4', spread(h))
        elseif width == 4 and n == 1 and siblings == '' then
          h[12], h[13] = entries, stamp
          text = pack('<I6BI7I4I4I6I6I7I4I4I6c0I4', spread(h))
        else
          text = pack(format, spread(h)) .. siblings .. entries .. pack(width == 4 and '<I4' or '<I6', stamp)
        end
        if not ring then
          if renew then call('PEXPIRE', key, life) end
          call('SETRANGE', key, 0, text)
        elseif renew then
          call('SET', key, text .. ring, 'PX', life)
        else
          call('SET', key, text .. ring, 'KEEPTTL')
        end
      else
        text = pack(format, spread(h))
        if mode ~= 'd' then
          copies = nil
        elseif s ~= '' and (moved or copies) then
          call('SETRANGE', key, 0, text)
        end
      end
      if copies and h[4] > 0 then
        for j, block in pairs(copies) do call('SETRANGE', key, header + j * size, block) end
      end
      if is_charged and siblings ~= own then
        if not feed_cells then
          settle_cells, room_of_cells, record_cells, keep_cells, told_of_cells, feed_cells = cells()
        end
        feed_cells(key, siblings, own, units, recorded, asked)
      end
      if over then
        -- Of more units than the quota allows the newest are told of, as many as that: when the oldest of them leaves there
        -- is room.
        local told = { spread(h, 1, 9 + 2 * n) }
        for j, limit in pairs(over) do
          if h[8 + 2 * j] > limit then
            local number, from = h[5] - limit, header
            if limit > (h[5] - 1) % 16 + 1 then from = from + size * (n + 1) + (number - number % 16) / 16 % h[4] * size end
            from = from + number % 16 * width
            local low = mode == 'p' and whole and sub(whole, from + 1, from + width) or call('GETRANGE', key, from, from + width - 1)
            told[8 + 2 * j], told[9 + 2 * j] = limit, h[6] - (h[6] - read(width == 4 and '<I4' or '<I6', low)) % 256 ^ width
          end
        end
        text = pack(format, spread(told))
      end
    end
    if reply then reply[i - first + 1] = text else reply = text end
  end
  if parts then known = nil end
  if has_room and units < wanted then
    taken = taken + units
  else
    if not replies then return reply end
    replies[group] = reply
    group, taken, before = group + 1, 0, last
  end
end
return replies
