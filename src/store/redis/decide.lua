-- Decides all charges of one request in one atomic step: all are admitted, or none is charged. Several requests may be
-- asked about in one call; they are decided one after the other.
--
-- A history is kept in one or several *logs*, each of them one string. The *exact log* has one entry per unit and is
-- shared by all quotas that count to the millisecond. A *cell log* belongs to the large quotas of one window: units
-- recorded in one grain of time share a cell. Every unit is recorded in every log of its history.
--
-- KEYS  the logs; those of one history are next to each other, the exact log first, then the cell logs by window.
-- ARGV  for each log: tag I6, bytes per entry B (4, 6; 8 for cells), counts denied B, quotas n B, time to live I6,
--       n times (window I6, limit I4), the longest window first; of a cell log also: grain I6, most cells I4, last B.
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
--    0  I6  tag: a magic byte, shape and number of quotas, and a hash of the quotas its cursors are for
--    6  B   units that the last decision admitted
--    7  I7  when that was, in microseconds
--   14  I4  room in the ring: blocks of 16 entries, or cells
--   18  I4  number of the entry that comes next; it may be reduced by a multiple of the ring's size
--   22  I6  when the newest unit was recorded, in milliseconds
--   28  I6  until when the key lives at least
--   34  n times  I4 units that the quota counts, I6 when the one was recorded whose leaving changes that
--
-- An exact log goes on with its newest block, which has up to 16 entries: the low bytes of their milliseconds. If that
-- is all then the ring has no room and the string ends there. Else the block is followed by one copy per quota of the
-- block that its oldest unit stands in, and by the ring of older blocks. So an admission is one GETRANGE of the header
-- with these blocks and one SETRANGE of the header with the newest block, however long the log is.
--
-- A cell log goes on with: I4 cells alive, I6 end and I4 running total of the oldest, I4 running total of the newest,
-- I6 grain; then the ring of the older cells: I4 low bytes of the number, I4 running total. The newest is in the header.
--
-- Recording rounds up to a millisecond and asking rounds down, so nothing is free early. Every number is below 2^53.

-- Functions are made anew in every run of a script, so there are few of them here and those share nothing: with what
-- they share each of them would cost a tenth of a microsecond.
local function stopped(why, replies, group)
  if not replies then return redis.error_reply(why) end
  replies[group] = { ok = why }
  return replies
end

-- What is rarely needed: makes the functions that rebuild a log and that take a unit back.
local function rare()
  local MAGIC, SMALL_LEAD = 81, 10
  local call, pack, read = redis.call, struct.pack, struct.unpack
  local min, floor, rep, concat = math.min, math.floor, string.rep, table.concat

  -- All that a log remembers, oldest first: until when each entry may have been recorded, and how many units it has.
  -- Going back from the newest, low bytes say how much older the next one is.
  local function unroll(text)
    if #text < 44 then return end
    local magic, shape, _, _, _, room, next, newest, lives = read('<BBI4BI7I4I4I6I6', text)
    local n, kind, header = shape % 16 + 1, floor(shape / 16), 44 + shape % 16 * 10
    if magic ~= MAGIC or kind > 2 or #text < header then return end
    local log = { newest = newest, lives = lives, grain = 1, times = {}, units = {} }
    local times, units = log.times, log.units
    if kind < 2 then
      local width, held, live = kind == 0 and 4 or 6, (next - 1) % 16 + 1, read('<I4', text, 35)
      local low, modulus, ring = '<I' .. width, 256 ^ width, header + (n + 1) * 16 * width
      if #text ~= (room == 0 and header + held * width or ring + room * 16 * width) then return end
      if live > held + room * 16 then return end
      local last = newest
      for age = 0, live - 1 do
        local number = next - 1 - age
        local block = age < held and header or ring + (number - number % 16) / 16 % room * 16 * width
        last = last - (last - read(low, text, block + number % 16 * width + 1)) % modulus
        times[live - age], units[live - age] = last, 1
      end
    else
      if #text < header + 22 then return end
      local live, _, _, total, grain = read('<I4I6I4I4I6', text, header + 1)
      header = header + 24
      if #text ~= header + room * 8 or live > room + 1 or grain < 1 then return end
      local index, after, before = (newest - newest % grain) / grain, total, total - read('<I4', text, 35)
      log.grain = grain
      for age = 0, live - 1 do
        if age > 0 then
          local low, at = read('<I4I4', text, header + (next - 1 - age) % room * 8 + 1)
          index, units[live - age + 1] = index - (index - low) % 2 ^ 32, (after - at) % 2 ^ 32
          after = at
        end
        times[live - age] = (index + 1) * grain - 1
      end
      units[1] = live > 0 and (after - before) % 2 ^ 32 or nil
    end
    return log
  end

  local function roll_exact(log, tag, n, width)
    local entries, stamps, blocks = {}, {}, {}
    for k = #log.times, 1, -1 do
      for _ = 1, min(log.units[k], 65536 - #stamps) do stamps[#stamps + 1] = log.times[k] end
    end
    local live = #stamps
    local held = (live - 1) % 16 + 1
    for k = live, 1, -1 do
      entries[#entries + 1] = pack('<I' .. width, stamps[k])
      if #entries == 16 and k > 1 then blocks[#blocks + 1], entries = concat(entries), {} end
    end
    local header = pack('<I6BI7I4I4I6I6', tag, 0, 0, #blocks, live, log.newest, log.lives)
    local text = header .. rep(pack('<I4I6', log.is_empty and 0 or live, stamps[live]), n) .. concat(entries)
    if #blocks == 0 then return text end
    return text .. rep('\0', (16 - held) * width) .. rep(blocks[1], n) .. concat(blocks)
  end

  local function roll_cells(log, tag, n, grain)
    local indices, totals, ring, total = {}, {}, {}, 0
    for k = 1, #log.times do
      local index = floor(log.times[k] / grain)
      total = (total + log.units[k]) % 2 ^ 32
      if index ~= indices[#indices] then indices[#indices + 1] = index end
      totals[#indices] = total
    end
    local live = #indices
    for k = 1, live - 1 do ring[k] = pack('<I4I4', indices[k], totals[k]) end
    local oldest, counted = (indices[1] + 1) * grain - 1, log.is_empty and 0 or 1
    return pack('<I6BI7I4I4I6I6', tag, 0, 0, live - 1, live, log.newest, log.lives)
      .. rep(pack('<I4I6', total * counted, oldest), n)
      .. pack('<I4I6I4I4I6', live * counted, oldest, totals[1], total, grain) .. concat(ring)
  end

  -- The string of a log whose cursors are all at its oldest entry. If nothing is alive any more, when the newest unit was
  -- recorded still matters while the clock is a little behind that: it stays as an entry that is not counted.
  local function roll(log, tag, n, width, grain)
    log.is_empty = #log.times == 0
    if log.is_empty then log.times[1], log.units[1] = log.newest, 1 end
    for k = 1, #log.times do log.times[k] = min(log.times[k], log.newest) end
    if width < 8 then return roll_exact(log, tag, n, width) end
    return roll_cells(log, tag, n, grain)
  end

  -- The same log for other quotas, or for a clock that has stepped back. Units from the future are brought down to now,
  -- so that they count for one whole window from now and not for longer.
  local function rebuild(key, latest, lives, tag, n, width, grain)
    local log = unroll(call('GET', key))
    if not log then return end
    if log.newest > latest + SMALL_LEAD then log.newest = latest end
    log.lives = lives
    return roll(log, tag, n, width, grain)
  end

  -- Takes back units that were recorded at `stamp`, or a little later if the log was ahead of the clock.
  local function refund(key, stamp, most, tag, n, width, grain)
    local text = redis.pcall('GET', key)
    if not text then return 0 end
    local log = not text.err and unroll(text)
    if not log then return end
    local times, units, found, left = log.times, log.units, 1, most
    while times[found] and times[found] < stamp do found = found + 1 end
    while left > 0 and times[found] and times[found] - log.grain + 1 <= stamp + SMALL_LEAD do
      local taken = min(left, units[found])
      left, units[found] = left - taken, units[found] - taken
      if units[found] == 0 then
        table.remove(times, found)
        table.remove(units, found)
      end
    end
    if left == most then return 0 end
    if #times == 0 then
      call('DEL', key)
    else
      log.newest = min(log.newest, times[#times])
      call('SET', key, roll(log, tag, n, width, grain), 'KEEPTTL')
    end
    return most - left
  end

  return rebuild, refund
end

-- How a cell log is read and changed.
local function cells()
  local call, pack, read, sub, spread = redis.call, struct.pack, struct.unpack, string.sub, unpack
  local floor, min, max = math.floor, math.min, math.max

  -- The last millisecond of a cell and the running total at its end.
  local function cell(log, number)
    local h, b = log.h, log.b
    local newest = (h[6] - h[6] % log.grain) / log.grain
    if number == h[5] - 1 then return (newest + 1) * log.grain - 1, h[b + 3] end
    local from = log.header + number % h[4] * 8
    local entry = log.whole and sub(log.whole, from + 1, from + 8) or call('GETRANGE', log.key, from, from + 7)
    local low, total = 0, 0
    if #entry == 8 then low, total = read('<I4I4', entry) end
    return (newest - (newest - low) % 2 ^ 32 + 1) * log.grain - 1, total
  end

  local function set_used(log, used)
    for j = 1, log.n do log.h[6 + 2 * j] = used end
  end

  -- Lets go of the cells that have left the window. Usually that is the oldest alone; else the first one that is alive
  -- is searched in steps that grow and then shrink.
  local function settle(log, asked)
    local h, b, expired = log.h, log.b, asked - log.window
    if h[b] == 0 or h[b + 1] > expired then return end
    log.moved = true
    local dead, alive, before = h[5] - h[b], h[5] - 1, h[b + 2]
    local ends, total = cell(log, alive)
    if ends <= expired then
      h[b] = 0
      return set_used(log, 0)
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
    h[b], h[b + 1], h[b + 2] = h[5] - alive, ends, total
    set_used(log, (h[b + 3] - before) % 2 ^ 32)
  end

  -- How many units all quotas have room for.
  local function room_of(log)
    local room = log.limits[1] - log.h[8]
    for j = 2, log.n do room = min(room, log.limits[j] - log.h[6 + 2 * j]) end
    return max(room, 0)
  end

  -- Forgets the oldest unit.
  local function drop_unit(log)
    local h, b = log.h, log.b
    local used = h[8] - 1
    set_used(log, used)
    if (h[b + 3] - h[b + 2]) % 2 ^ 32 == used then
      h[b] = h[b] - 1
      if h[b] > 0 then h[b + 1], h[b + 2] = cell(log, h[5] - h[b]) end
    end
  end

  -- Twice the room, and not more than the window needs. The older cells are put in order, from the first place on.
  local function grow(log, closed, ttl)
    local h, room = log.h, log.h[4]
    local ring = room > 0 and call('GETRANGE', log.key, log.header, -1) or ''
    local first = room > 0 and (h[5] - h[log.b]) % room * 8 or 0
    h[4], h[5] = max(room + 1, min(max(2 * room, 2), log.most - 1)), room + 2
    return sub(ring, first + 1) .. sub(ring, 1, first) .. closed .. string.rep('\0', (h[4] - room - 1) * 8)
  end

  -- Records units and returns the header.
  local function record(log, units, recorded, asked)
    local h, b, key = log.h, log.b, log.key
    local stamp = max(h[6], recorded)
    local renew = h[7] < stamp + log.window + log.grain
    if renew then h[7] = asked + log.ttl end
    local live, old, index = h[b], floor(h[6] / log.grain), floor(stamp / log.grain)
    local closed = pack('<I4I4', old, h[b + 3])
    local total, used, ends, ring = (h[b + 3] + units) % 2 ^ 32, h[8] + units, (index + 1) * log.grain - 1
    if live == 0 then
      h[4], h[5], total, ring = 0, 1, units, ''
    elseif index > old and live > h[4] then
      ring = grow(log, closed)
    elseif index > old then
      call('SETRANGE', key, log.header + (h[5] - 1) % h[4] * 8, closed)
      h[5] = h[5] % h[4] + 1
    end
    if live == 0 or index > old then live = live + 1 end
    if live == 1 then h[b + 1], h[b + 2] = ends, total end
    h[b], h[b + 3], h[b + 4], h[6] = live, total, log.grain, stamp
    set_used(log, used)
    for j = 1, log.n do h[7 + 2 * j] = h[b + 1] end
    local text = pack(log.format, spread(h))
    if ring and renew then
      call('SET', key, text .. ring, 'PX', log.ttl)
    elseif ring then
      call('SET', key, text .. ring, 'KEEPTTL')
    else
      if renew then call('PEXPIRE', key, log.ttl) end
      call('SETRANGE', key, 0, text)
    end
    return text
  end

  -- When unit `nth` of those counted was recorded at the latest, counted from 1 at the oldest.
  local function recorded_at(log, nth)
    local h, b = log.h, log.b
    local before, early, late = h[b + 3] - h[8], h[5] - h[b] - 1, h[5] - 1
    if nth <= 1 then return h[b + 1] end
    while late - early > 1 do
      local at = floor((early + late) / 2)
      local _, total = cell(log, at)
      if (total - before) % 2 ^ 32 >= nth then late = at else early = at end
    end
    return (cell(log, late))
  end

  -- The reply: where denials count there may be more units than a quota allows, and all that are too many are in the way.
  local function explain(log)
    local h = log.h
    for j = 1, log.n do h[7 + 2 * j] = recorded_at(log, h[6 + 2 * j] + 1 - log.limits[j]) end
    return pack(log.format, spread(h))
  end

  return settle, room_of, drop_unit, record, explain
end

local EPOCH, SMALL_LEAD = 2 ^ 43, 10
local call, pack, read, sub, spread = redis.call, struct.pack, struct.unpack, string.sub, unpack

local logs = #KEYS
local mode, now, given, options, groups = 'd', 0, 0, ARGV[logs + 1], 1
if options then
  mode, now, given = read('<c1I7I6', options)
  groups = (#options - 14) / 3
end
if mode == 'r' then
  local _, refund = rare()
  local refunded = 0
  for i = 1, logs do
    local tag, width, _, n = read('<I6BBB', ARGV[i])
    local grain = width == 8 and read('<I6', ARGV[i], 16 + 10 * n) or 1
    local units = refund(KEYS[i], given, string.byte(options, 15), tag, n, width, grain)
    if not units then return stopped('TOWERQUOTA corrupt: not a log') end
    refunded = refunded + units
  end
  return refunded
end

if now == 0 then
  local time = call('TIME')
  now = time[1] * 1000000 + time[2]
end
local asked = EPOCH + (now - now % 1000) / 1000
local recorded = now % 1000 > 0 and asked + 1 or asked

local replies = groups > 1 and {}
-- What the argument of a log says, which the next log may share; and how logs of cells are handled, if there are any.
local known, tag, width, counts_denied, n, ttl, format, header, full, grain, most_cells, is_last
local settle_cells, room_of_cells, drop_unit, record_cells, explain_cells
-- The log in hand.
local key, s, h, whole, keep, held, moved, copies, over

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
      known, grain = spec, 0
      tag, width, counts_denied, n, ttl = read('<I6BBBI6', spec)
      if n == 1 then
        format = '<I6BI7I4I4I6I6I4I6'
      elseif n == 2 then
        format = '<I6BI7I4I4I6I6I4I6I4I6'
      else
        format = '<I6BI7I4I4I6I6' .. string.rep('I4I6', n)
      end
      header = 34 + 10 * n
      full = header + 16 * width * (n + 1)
      if width == 8 then
        grain, most_cells, is_last = read('<I6I4B', spec, 16 + 10 * n)
        format, header = format .. 'I4I6I4I4I6', header + 24
        full = header
      end
    end

    s, whole, moved, copies, over = redis.pcall('GETRANGE', key, 0, full - 1), nil, false
    if s.err then
      return stopped(string.find(s.err, 'WRONGTYPE', 1, true) and 'TOWERQUOTA corrupt: not a string' or s.err, replies, group)
    end
    local sound = #s >= header
    if sound then
      h = { read(format, s) }
      held = (h[5] - 1) % 16 + 1
      -- A header of other quotas has cursors of no use here; one from the future has them too far on.
      sound = h[1] == tag and now >= h[3] and h[6] <= recorded + SMALL_LEAD
        and #s == (h[4] == 0 and width < 8 and header + held * width or full)
    end
    if not sound and s ~= '' then
      whole = rare()(key, recorded, asked + ttl, tag, n, width, grain)
      if not whole then return stopped('TOWERQUOTA corrupt: not a log', replies, group) end
      if mode == 'd' then call('SET', key, whole, 'PX', ttl) end
      s = sub(whole, 1, full)
      h = { read(format, s) }
      held = (h[5] - 1) % 16 + 1
    end
    if s == '' then
      h, held = { read(format, string.rep('\0', header)) }, 0
      h[1] = tag
    end

    if width == 8 then
      if not settle_cells then
        settle_cells, room_of_cells, drop_unit, record_cells, explain_cells = cells()
      end
      parts = parts or {}
      local log = { key = key, h = h, n = n, b = 8 + 2 * n, header = header, format = format, whole = whole, grain = grain,
        most = most_cells, is_last = is_last == 1, counts_denied = counts_denied == 1, ttl = ttl, limits = {},
        is_cells = true }
      for j = 1, n do log.window, log.limits[j] = read('<I6I4', spec, 6 + 10 * j) end
      settle_cells(log, asked)
      local room = room_of_cells(log)
      if room < room_left then room_left = room end
      parts[i] = log
    else
      -- Each cursor is moved past the units that have left its window; nearly always by one of them or by none. A unit
      -- that a denied request is about to add needs a place too.
      local next, newest, room, entry = h[5], h[6], h[4], width == 4 and '<I4' or '<I6'
      local modulus, block_size, extra = width == 4 and 4294967296 or 281474976710656, 16 * width, 0
      local most_kept = 16 * room + held
      if counts_denied == 1 and mode == 'd' then extra = 1 end
      for j = 1, n do
        local window, limit = read('<I6I4', spec, 6 + 10 * j)
        local at = 6 + 2 * j
        local count, oldest, expired, most = h[at], h[at + 1], asked - window, limit - extra
        if most > most_kept then most = most_kept end
        if count > 0 and (oldest <= expired or count > most) then
          if count > room * 16 + held then return stopped('TOWERQUOTA corrupt: more units than entries', replies, group) end
          if newest <= expired then
            count = 0
          else
            local number, block, offset = next - count, s, header + 1
            if count > held then offset = offset + block_size * j end
            repeat
              if oldest > expired then
                room_left = 0
                if j == 1 then
                  -- More than its limit there are after that has been lowered. They are kept in case it is raised again.
                  most, over = count - extra, count > limit and limit
                  if extra == 0 then break end
                end
              end
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
          if j == 1 then moved = count ~= h[8] end
          h[at], h[at + 1] = count, oldest
        end
        if limit - count < room_left then room_left = limit - count end
        if j == 1 then most_kept, keep = count, window end
      end
      if room_left > 1 then
        -- In one go no more than the newest block has a place for, or the one after it.
        local live = h[8]
        local places = (live == 0 or live < 16 and (room == 0 or held == 16)) and live or held % 16
        if 16 - places < room_left then room_left = 16 - places end
      end
      if parts then
        parts[i] = { h = h, s = s, n = n, key = key, width = width, format = format, header = header, held = held,
          copies = copies, moved = moved, over = over, whole = whole, ttl = ttl, keep = keep, counts_denied = counts_denied }
      end
    end
  end
  local has_room = room_left > 0

  -- Where denials count, of more units than the longest window allows the oldest one is forgotten: in its log, and in those
  -- of shorter windows that still have it.
  if not has_room and mode == 'd' and parts then
    local dropped
    for i = last, first, -1 do
      local log = parts[i]
      if log.is_cells and log.counts_denied then
        local used, is_full = log.h[8], false
        for j = 1, log.n do is_full = is_full or used >= log.limits[j] end
        if log.is_last and is_full or not log.is_last and dropped == used then
          dropped = used
          drop_unit(log)
        else
          dropped = nil
        end
      end
    end
  end

  -- Then charge all of them or none.
  local reply = last > first and {}
  local units = has_room and room_left or 1
  local admitted = taken + (has_room and units or 0)
  for i = first, last do
    local log, text = parts and parts[i]
    if log and log.is_cells then
      log.h[2], log.h[3] = admitted, now
      if mode == 'd' and (has_room or log.counts_denied) then
        text = record_cells(log, units, recorded, asked)
        if not has_room then text = explain_cells(log) end
      else
        text = explain_cells(log)
        if mode == 'd' and log.moved then call('SETRANGE', log.key, 0, text) end
      end
    else
      if log then
        h, s, n, key, width, format, header = log.h, log.s, log.n, log.key, log.width, log.format, log.header
        held, copies, moved, over, whole = log.held, log.copies, log.moved, log.over, log.whole
        ttl, keep, counts_denied = log.ttl, log.keep, log.counts_denied
      end
      h[2], h[3] = admitted, now
      local size, next, live = 16 * width, h[5], h[8]
      if mode == 'd' and (has_room or counts_denied == 1) then
        local stamp, room, renew = h[6] > recorded and h[6] or recorded, h[4], false
        for j = 1, n do
          local at = 6 + 2 * j
          if h[at] == 0 then h[at + 1] = stamp end
          h[at] = h[at] + units
        end
        h[6] = stamp
        if h[7] < stamp + keep then
          renew, h[7] = true, asked + ttl
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
            if h[6 + 2 * j] <= 16 + units then copies[j] = block end
          end
          local full, oldest = header + size * (n + 1), next - live
          if next - 16 - (oldest - oldest % 16) < 16 * room then
            call('SETRANGE', key, full + (next / 16 - 1) % room * size, block)
            h[5] = next % (16 * room) + units
          else
            -- Every block of the ring is alive: twice the room, and not more than the longest quota needs. The blocks are
            -- put in order, from the first place on.
            local old = room > 0 and call('GETRANGE', key, full, -1) or ''
            local from = room > 0 and (oldest - oldest % 16) / 16 % room * size or 0
            local limit = read('<I4', ARGV[i], 22)
            h[4] = math.max(room + 1, math.min(math.max(2 * room, 2), math.ceil(limit / 16)))
            h[5] = 16 * room + 16 + units
            ring = string.rep('\0', size - units * width)
            for j = 1, n do ring = ring .. (copies[j] or sub(s, header + 1 + j * size, header + (j + 1) * size)) end
            ring = ring .. sub(old, from + 1) .. sub(old, 1, from) .. block .. string.rep('\0', (h[4] - room - 1) * size)
            copies = nil
          end
        end
        if units > 1 then entries = entries .. string.rep(pack(width == 4 and '<I4' or '<I6', stamp), units - 1) end
        if width == 4 and n == 2 then
          -- Making one string and not four is a twentieth of the whole decision. The formats of one or two quotas are
          -- spelt out for the same reason.
          h[12], h[13] = entries, stamp
          text = pack('<I6BI7I4I4I6I6I4I6I4I6c0I4', spread(h))
        elseif width == 4 and n == 1 then
          h[10], h[11] = entries, stamp
          text = pack('<I6BI7I4I4I6I6I4I6c0I4', spread(h))
        else
          text = pack(format, spread(h)) .. entries .. pack(width == 4 and '<I4' or '<I6', stamp)
        end
        if not ring then
          if renew then call('PEXPIRE', key, ttl) end
          call('SETRANGE', key, 0, text)
        elseif renew then
          call('SET', key, text .. ring, 'PX', ttl)
        else
          call('SET', key, text .. ring, 'KEEPTTL')
        end
      else
        text = pack(format, spread(h))
        if mode ~= 'd' then
          copies = nil
        elseif moved or copies then
          call('SETRANGE', key, 0, text)
        end
      end
      if copies and h[4] > 0 then
        for j, block in pairs(copies) do call('SETRANGE', key, header + j * size, block) end
      end
      if over then
        -- Of the longest quota the newest `over` units are told.
        local number, from = h[5] - over, header
        if over > (h[5] - 1) % 16 + 1 then from = from + size * (n + 1) + (number - number % 16) / 16 % h[4] * size end
        from = from + number % 16 * width
        local low = mode == 'p' and whole and sub(whole, from + 1, from + width) or call('GETRANGE', key, from, from + width - 1)
        h[8], h[9] = over, h[6] - (h[6] - read(width == 4 and '<I4' or '<I6', low)) % 256 ^ width
        text = pack(format, spread(h))
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
