-- The decision itself. What nearly every call does stands here in one piece and in locals: functions are made anew in every
-- run, and all that they share would cost each of them a tenth of a microsecond. So does each number that is given to the
-- server, which writes it out: what is the same in nearly every call is given as a text.

local TAG, ADMITTED, DECIDED, ROOM, NEXT, NEWEST, LIVES, WINDOW, KEPT, LIVE = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
local SMALL_LEAD, EMPTY = 10000, ''
local spread, floor = unpack, math.floor
local CELLS = '<I6BI7I4I4I7I7I7I3I4I6I7I7I6I6I7'

local logs = #KEYS
local mode, given, options, amounts, groups = 'd', 0, ARGV[logs + 1], ARGV[logs + 2], 1
if options then
  mode, now, given = read('<c1I7I7', options)
  groups = (#options - 15) / 3
  if mode == 'f' then return part('forget', nil, part('memory')) end
end
if now == 0 then
  local time = call('TIME')
  now = time[1] * 1000000 + time[2]
end
if mode == 'r' then
  local memory = part('memory')
  return part('refund', memory.ring, memory)(given, string.byte(options, 16), now) or part('stopped')('TOWERQUOTA corrupt: not a log')
end

local settles = mode == 's'
local replies = (groups > 1 or settles) and {}
if settles then mode = 'd' end
-- What the argument of a log says, which the next log may share; and how logs of cells are handled, if there are any.
local known, tag, width, counts_denied, n, own_tick, ttl, window_asked, kept_asked, most_told, own, format, header, full
local last_byte, longest, its_limit, shorter, other_limit, quotas
local room_of_cells, record_cells, keep_cells, told_of_cells, rare_of_cells, settle_cells, named_cells, give_back, _
local shared, remaining, grown, told_of_fewer
-- Logs of rules that deny nothing, if there are any: 1 is soft and charged without room as well, 2 is a shadow and charged if it
-- has room. By number, which of both a log is of; by the number of the first log of its charge, how much room that has.
local lenient, kinds, rooms, leader, room_of_others
-- The log in hand; and the exact log of the history in hand, with the cell logs that it listed before.
local key, s, h, whole, held, moved, copies, over, siblings, need, life, tick, is_shared
local exact, listed

-- Which request it is, how many of its units have been admitted so far, and the last log before its own.
local group, taken, before = 1, 0, 0
-- Units that the charge in hand costs each request, which charge that is, the last one before this request; and by charge when
-- its units are recorded, and the coarsest tick of its logs.
local cost, charge, charged, moments, coarsest = 1, 0, 0, amounts and {}, amounts and {}
while group <= groups do
  local owed
  while settles and group <= groups do
    local history, stamp
    owed, history, stamp = read('<I6I7I7', amounts, 20 * group - 19)
    if stamp == 0 then break end
    give_back = give_back or part('settlement', nil, nil, { part('cells') })
    local low, high = string.byte(options, 14 + 3 * group, 15 + 3 * group)
    local last = before + low + 256 * high
    local moved = give_back(before + 1, owed, history, stamp, now, part)
    if not moved then return part('stopped')('TOWERQUOTA corrupt: not a log', replies, group) end
    replies[group] = moved
    group, before, charged = group + 1, last, group
  end
  if group > groups then break end
  charge = charged
  local first, last, wanted = before + 1, logs, 1
  if options then
    local units, low, high = string.byte(options, 13 + 3 * group, 15 + 3 * group)
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
      tag, width, counts_denied, n, own_tick, ttl, window_asked, kept_asked, most_told = read('<I6BBBI2I6I7I3I6', spec)
      lenient = nil
      if counts_denied > 3 then
        lenient, counts_denied = (counts_denied - counts_denied % 4) / 4, counts_denied % 4
        if lenient == 1 and counts_denied == 0 then counts_denied = 2 end
      end
      if width < 9 then
        own = kept_asked % 4096 < 128 and EMPTY or sub(spec, 34 + 13 * n)
        header = 50 + 11 * n + #own
        full = header + 16 * width * (n + 1)
        if n == 1 then
          format = '<I6BI7I4I4I7I7I7I3I4I4I7'
          longest, its_limit = read('<I7I6', spec, 34)
        elseif n == 2 then
          format = '<I6BI7I4I4I7I7I7I3I4I4I7I4I7'
          longest, its_limit, shorter, other_limit = read('<I7I6I7I6', spec, 34)
        else
          format = '<I6BI7I4I4I7I7I7I3I4' .. string.rep('I4I7', n)
          quotas = { read('<' .. string.rep('I7I6', n), spec, 34) }
        end
        last_byte = full == 264 and '263' or full == 189 and '188' or full - 1
      else
        full, last_byte = 89, '88'
      end
    end

    if amounts and width < 9 then
      charge = charge + 1
      cost = owed or read('<I6', amounts, 6 * charge - 5)
    end
    s, whole, moved, copies, over, seen = seen or pcall('GETRANGE', key, '0', last_byte), nil, false
    if s.err then
      return part('stopped')(string.find(s.err, 'WRONGTYPE', 1, true) and 'TOWERQUOTA corrupt: not a string' or s.err, replies, group)
    end

    if lenient then
      kinds, rooms = kinds or {}, rooms or {}
      if width < 9 then leader, rooms[i] = i, 1 end
      kinds[i], room_of_others, room_left = lenient, room_left, rooms[leader]
    end
    local is_root = false
    if amounts and n == 0 and #s == header and width < 9 then
      -- With costs an exact log that nobody counts by only says which others there are. Nearly always they are the same, and
      -- there is nothing to write.
      local its_tag, _, decided, _, _, newest, lives, window, its_kept = read('<I6BI7I4I4I7I7I7I3', s)
      is_root = its_tag == tag and window == 0 and its_kept == kept_asked and now >= decided and newest <= now + SMALL_LEAD
        and lives >= now + (ttl - 1000) * 500 + 2 * SMALL_LEAD and sub(s, 51) == own
    end
    if width == 9 then
      local limit, grain
      if n == 1 then
        limit, grain = read('<I6I7', spec, 41)
      else
        grain = read('<I7', spec, 34 + 13 * n)
      end
      if listed ~= true then
        local one, is_listed = pack('<I7I7', window_asked, grain), false
        for from = 1, #listed, 14 do is_listed = is_listed or sub(listed, from, from + 13) == one end
        if not is_listed then s = EMPTY end
      end
      local room, its_newest, its_tick
      if n == 1 and #s == 89 then
        -- A log with one quota from which at most the oldest cell leaves; cells.lua does the same for all others.
        local tagged, _, decided, ring, next, newest, lives, window, kept, live, used, born, oldest, before, total, cells =
          read(CELLS, s)
        local tick, expired = (kept - kept % 4096) / 4096, now - window_asked
        local past, cut, is_narrow = now % tick, 2 ^ 43 % (grain / tick) * tick, window_asked < 2 ^ 23 * grain
        local is_sound = tagged == tag and now >= decided
          and newest <= now - past + (past > 0 and tick or 0) + SMALL_LEAD
        if is_sound and live > 0 and oldest <= expired then
          moved = true
          if live == 1 then
            live, used = 0, 0
          elseif live > 2 then
            local size = is_narrow and 9 or 12
            local from = 89 + (next - live + 1) % ring * size
            local entry = call('GETRANGE', key, from, from + size - 1)
            if #entry == size then
              local low, ends = read(is_narrow and '<I3I6' or '<I6I6', entry)
              local number = floor((newest + cut) / grain)
              low, ends = (number - (number - low) % (is_narrow and 2 ^ 24 or 2 ^ 48) + 1) * grain - cut - tick, ends
              is_sound = low > expired and ends ~= before
              live, used, oldest, before = live - 1, (total - before) % 2 ^ 48, low, ends
            else
              is_sound = false
            end
          else
            is_sound = false
          end
        end
        if is_sound then
          room, its_newest, its_tick = limit - used, newest, tick
          if cost > 1 then room = (room - room % cost) / cost elseif cost == 0 and room >= 0 then room = 255 end
          parts[i] = { tagged, 0, decided, ring, next, newest, lives, window, kept, live, used, born, oldest, before, total,
            cells, tick, cut, key, cost, limit, ttl, counts_denied == 1, most_told, moved, is_narrow, true }
        end
      end
      if not room then
        room_of_cells, record_cells, keep_cells, told_of_cells, rare_of_cells, _, settle_cells, _, named_cells = part('cells')
        local log = { key = key, n = n, grain = grain, counts_denied = counts_denied == 1, cap = most_told, ttl = ttl,
          own_tick = own_tick, cost = cost, window = window_asked, is_cells = true, limits = {} }
        for j = 1, n do log.limits[j] = read('<I6', spec, 28 + 13 * j) end
        room = room_of_cells(log, s, tag, exact, listed, mode, now)
        if not room then return part('stopped')('TOWERQUOTA corrupt: not a log', replies, group) end
        parts[i], its_newest, its_tick = log, log.h[6], log.tick
      end
      if room < room_left then room_left = room end
      if amounts then
        if its_newest > moments[charge] then moments[charge] = its_newest end
        if its_tick > coarsest[charge] then coarsest[charge] = its_tick end
        -- Where ticks differ all logs record by whole milliseconds, so that a receipt is one moment.
        if its_tick ~= own_tick then coarsest[charge] = 1000 end
      end
    elseif is_root then
      exact, listed = key, true
      parts[i], moments[charge], coarsest[charge] = true, now, own_tick
    else
      -- A header of other windows has cursors of no use here; one from the future has them too far on.
      local is_read
      exact, listed = key, true
      repeat
        local sound = false
        is_read, is_shared, siblings, tick, need, life = false, false, own, own_tick, (ttl - 1000) * 500, ttl
        if s == EMPTY then
          h, held, exact, listed = { read(format, string.rep('\0', header)) }, 0, nil, EMPTY
          h[TAG], h[WINDOW], h[KEPT] = tag, window_asked, kept_asked
          is_read = true
        elseif #s >= 50 + 11 * n then
          h = { read(format, s) }
          if h[TAG] ~= tag or now < h[DECIDED] then
            sound = false
          elseif h[WINDOW] == window_asked and h[KEPT] == kept_asked
            and (own == EMPTY or sub(s, 51 + 11 * n, header) == own) then
            sound = h[NEWEST] <= now or h[NEWEST] <= now - now % tick + (now % tick > 0 and tick or 0) + SMALL_LEAD
          else
            known, is_shared = nil, true
            if not shared then shared, remaining, grown, told_of_fewer = part('uncommon') end
            local its_width, its_header, its_text, its_siblings, its_need, its_tick, is_asked =
              shared(h, s, key, spec, whole, mode, now)
            if its_width then
              sound, width, header, s, siblings, need, tick, moved = true, its_width, its_header, its_text, its_siblings,
                its_need, its_tick, is_asked
              full = header + 16 * width * (n + 1)
              life = math.ceil(need / 500) + 1000
              if siblings ~= own and listed == true then listed = siblings end
            end
          end
          if sound then
            held = h[NEXT] == 0 and 0 or (h[NEXT] - 1) % 16 + 1
            is_read = #s == (h[ROOM] == 0 and header + held * width or full)
          end
        end
        if not is_read then
          if whole then return part('stopped')('TOWERQUOTA corrupt: not a log', replies, group) end
          known, moved = nil, false
          width = string.byte(spec, 7)
          header = 50 + 11 * n + #own
          full = header + 16 * width * (n + 1)
          local magic = string.byte(s)
          if magic >= 81 and magic <= 83 then
            -- A history of an earlier layout begins afresh.
            s = EMPTY
          else
            whole, listed = part('memory').adopted(key, spec, now, mode)
            if not whole then return part('stopped')('TOWERQUOTA corrupt: not a log', replies, group) end
            s = sub(whole, 1, full)
          end
        end
      until is_read

      -- A unit that a denied request is about to add needs a place too. Where no limit holds units back, the oldest make place for
      -- new ones.
      local next, newest, room, entry, live = h[NEXT], h[NEWEST], h[ROOM], width == 4 and '<I4' or '<I6', h[LIVE]
      local modulus, size, fault = (width == 4 and 4294967296 or 281474976710656) * tick, 16 * width, nil
      local extra, most = 0, live
      if live > room * 16 + held then return part('stopped')('TOWERQUOTA corrupt: more units than entries', replies, group) end
      if counts_denied > 0 and mode == 'd' then
        local kept = h[KEPT]
        kept = 2 ^ ((kept - kept % 4) / 4 % 32)
        if counts_denied == 1 or lenient == 1 then extra = 1 end
        if most > kept then most = kept end
      end
      for j = 1, n do
        local at, window, limit = 9 + 2 * j, longest, its_limit
        if n > 2 then
          window, limit = quotas[2 * j - 1], quotas[2 * j]
        elseif j == 2 then
          window, limit = shorter, other_limit
        end
        local count, oldest, expired = h[at], h[at + 1], now - window
        local had = count
        -- Here stands cursor.lua.
        if count ~= had then
          if j == 1 then moved = true end
          h[at], h[at + 1] = count, oldest
        end
        if count + extra > limit or counts_denied == 1 and count + extra > most_told then
          -- Where denials count no more are told of than any answer is about.
          over = over or {}
          over[j] = counts_denied == 1 and most_told < limit and most_told or limit
        end
        if limit - count < room_left then room_left = limit - count end
        if j == 1 and (not is_shared or h[WINDOW] == window) then live = count end
      end
      if fault then return part('stopped')('TOWERQUOTA corrupt: ' .. fault, replies, group) end
      if is_shared and newest <= now - h[WINDOW] then live = 0 end
      h[LIVE] = live
      if room_left > 1 then
        -- In one go no more than the newest block has a place for, or the one after it.
        local places = (live == 0 or live < 16 and (room == 0 or held == 16)) and live or held % 16
        if 16 - places < room_left then room_left = 16 - places end
      end
      if amounts then moments[charge], coarsest[charge] = newest > now and newest or now, tick end
      if parts then
        -- By place, for names would cost more than all the rest of this.
        parts[i] = { h, s, n, key, width, format, header, held, moved, counts_denied, siblings, own, need, life, tick, is_shared,
          most_told, copies, over, whole }
      end
    end
    if lenient then rooms[leader], room_left = room_left, room_of_others end
  end
  if room_left < 0 then room_left = 0 end
  local has_room = room_left > 0

  -- Then charge all of them or none.
  local reply = last > first and {}
  local units = has_room and room_left or 1
  local admitted = taken + (has_room and units or 0)
  local at, added = now, units
  charge = charged
  for i = first, last do
    local log, text = parts and parts[i]
    -- Who is admitted is told when the oldest unit leaves, all others when there is room for their cost.
    local is_due, said, fits = has_room, admitted, has_room and mode == 'd'
    if kinds and kinds[i] then
      if not log or log == true or not (log.is_cells or log[27]) then leader = i end
      local is_full = rooms[leader] <= 0
      is_due, said = has_room and not (is_full and kinds[i] == 2), is_full and admitted + 2 or admitted
      fits = fits and not is_full
    end
    if log == true then
      charge, text = charge + 1, EMPTY
      at = moments[charge]
      if at % coarsest[charge] > 0 then at = at - at % coarsest[charge] + coarsest[charge] end
    elseif log and log[27] then
      local tagged, _, _, ring, next, newest, lives, window, kept, live, used, born, oldest, before, total, grain, tick, cut,
        its_key, its_cost, limit, its_ttl, its_denials, cap, has_moved, is_narrow = spread(log, 1, 26)
      added = units * its_cost
      local closed, index
      if mode == 'd' and added > 0 and (is_due or its_denials) then
        local past, old = at % tick, floor((newest + cut) / grain)
        local stamp = past > 0 and at - past + tick or at
        if stamp < newest then stamp = newest end
        index = floor((stamp + cut) / grain)
        if live == 0 or index > old and live > ring or added > 2 ^ 48 - 1 - used then
          -- The ring grows, or begins anew.
          room_of_cells, record_cells, keep_cells, told_of_cells, rare_of_cells, _, settle_cells, _, named_cells = part('cells')
          log = named_cells(log)
          log.h[ADMITTED], log.h[DECIDED] = said, now
          text, used = record_cells(log, added, at, now), log.h[11]
        else
          local renew = lives < stamp + window + grain
          if renew then
            lives = now + its_ttl * 1000
            call('PEXPIRE', its_key, its_ttl)
          end
          used, newest = used + added, stamp
          if index > old then
            local place = 89 + (next - 1) % ring * (is_narrow and 9 or 12)
            call('SETRANGE', its_key, place, pack(is_narrow and '<I3I6' or '<I6I6', old, total))
            next, live, total = next % ring + 1, live + 1, (total + added) % 2 ^ 48
          else
            total = (total + added) % 2 ^ 48
            if live == 1 then before = total end
          end
          text = pack(CELLS, tagged, said, now, ring, next, newest, lives, window, kept, live, used, born, oldest, before, total,
            grain)
          call('SETRANGE', its_key, '0', text)
        end
      else
        -- Who is denied asks for a long life as well.
        local renew = mode == 'd' and live > 0 and lives < now + window + grain
        if renew then
          lives = now + its_ttl * 1000
          call('PEXPIRE', its_key, its_ttl)
        end
        text = pack(CELLS, tagged, said, now, ring, next, newest, lives, window, kept, live, used, born, oldest, before, total, grain)
        if mode == 'd' and (renew or has_moved) then call('SETRANGE', its_key, '0', text) end
      end
      if owed then
        text = owed
      elseif not fits and used + its_cost > limit + 1 or its_denials and used > cap then
        if not log.is_cells then
          room_of_cells, record_cells, keep_cells, told_of_cells, rare_of_cells, _, settle_cells, _, named_cells = part('cells')
          log = named_cells(log, text)
        end
        text = told_of_cells(log, text)
      end
    elseif log and log.is_cells then
      log.h[ADMITTED], log.h[DECIDED] = said, now
      added = units * log.cost
      if mode == 'd' and added > 0 and (is_due or log.counts_denied) then
        text = record_cells(log, added, at, now)
      else
        text = keep_cells(log, mode, now)
      end
      text = owed or fits and not log.counts_denied and text or told_of_cells(log, text)
    else
      if log then
        h, s, n, key, width, format, header, held, moved, counts_denied, siblings, own, need, life, tick, is_shared, most_told,
          copies, over, whole = spread(log, 1, 20)
      end
      if amounts then
        charge = charge + 1
        at, added = moments[charge], units * (owed or read('<I6', amounts, 6 * charge - 5))
        if at % coarsest[charge] > 0 then at = at - at % coarsest[charge] + coarsest[charge] end
      end
      h[ADMITTED], h[DECIDED] = said, now
      local size, next, live = 16 * width, h[NEXT], h[LIVE]
      local is_charged = mode == 'd' and (is_due or counts_denied == 1) and added > 0
      local stamp, renew = h[NEWEST], false
      if is_charged then
        local past = at % tick
        local recorded = past > 0 and at - past + tick or at
        if recorded > stamp then stamp = recorded end
        if h[LIVES] < stamp + need then renew, h[LIVES] = true, now + life * 1000 end
      end
      if is_charged and n == 0 and (not is_shared or h[WINDOW] == 0) then
        -- Nobody counts exactly: this log says which others there are.
        if renew then
          h[NEWEST] = stamp
          call('SET', key, pack(format, spread(h)) .. siblings, 'PX', life)
        end
        text = pack(format, spread(h))
      elseif is_charged and added ~= units then
        -- Others count exactly.
        part('entries', part('memory').ring)(key, ARGV[i], added, stamp, now, renew and life)
        text = EMPTY
      elseif is_charged then
        for j = 1, n do
          local at = 9 + 2 * j
          if h[at] == 0 then h[at + 1] = stamp end
          h[at] = h[at] + units
        end
        h[NEWEST], h[LIVE] = stamp, live + units
        local room, entries, ring = h[ROOM], EMPTY, nil
        if live == 0 or live < 16 and (room == 0 or held == 16) then
          -- What counts fits into one block: the string is just that. It is set as a whole, which takes just the memory
          -- it needs, while one that grows by SETRANGE is given twice as much.
          h[ROOM], h[NEXT], ring = 0, live + units, EMPTY
          if live > 0 then entries = sub(s, header + 1 + (held - live) * width, header + held * width) end
        elseif held < 16 then
          h[NEXT] = next + units
          entries = sub(s, header + 1, header + held * width)
        else
          -- The newest block is full and goes into the ring.
          local block = sub(s, header + 1, header + size)
          copies = copies or {}
          for j = 1, n do
            if h[9 + 2 * j] <= 16 + units then copies[j] = block end
          end
          local full, most = header + size * (n + 1), most_told
          if is_shared then
            live, most = remaining(h, key, whole, full, width, live, units, now), 2 ^ (math.floor(h[KEPT] / 4) % 32)
            h[LIVE] = live + units
          end
          local oldest = next - live
          if next - 16 - (oldest - oldest % 16) < 16 * room then
            call('SETRANGE', key, full + (next / 16 - 1) % room * size, block)
            h[NEXT] = next % (16 * room) + units
          else
            if not shared then shared, remaining, grown, told_of_fewer = part('uncommon') end
            ring, copies = grown(h, key, s, n, copies, header, width, live, units, most), nil
          end
        end
        stamp = stamp / tick
        if units > 1 then entries = entries .. string.rep(pack(width == 4 and '<I4' or '<I6', stamp), units - 1) end
        if width == 4 and n == 2 and siblings == EMPTY then
          -- Making one string and not four is a twentieth of the whole decision. The formats of one or two quotas are
          -- spelt out for the same reason, and what goes into them, for a table with more in it would have to grow.
          text = pack('<I6BI7I4I4I7I7I7I3I4I4I7I4I7c0I4', h[1], h[2], h[3], h[4], h[5], h[6], h[7], h[8], h[9], h[10], h[11],
            h[12], h[13], h[14], entries, stamp)
        elseif width == 4 and n == 1 and siblings == EMPTY then
          text = pack('<I6BI7I4I4I7I7I7I3I4I4I7c0I4', h[1], h[2], h[3], h[4], h[5], h[6], h[7], h[8], h[9], h[10], h[11],
            h[12], entries, stamp)
        else
          text = pack(format, spread(h)) .. siblings .. entries .. pack(width == 4 and '<I4' or '<I6', stamp)
        end
        if not ring then
          if renew then call('PEXPIRE', key, life) end
          call('SETRANGE', key, '0', text)
        elseif renew then
          call('SET', key, text .. ring, 'PX', life)
        else
          call('SET', key, text .. ring, 'KEEPTTL')
        end
      else
        text = pack(format, spread(h))
        if mode ~= 'd' then
          copies = nil
        elseif s ~= EMPTY and (moved or copies) then
          call('SETRANGE', key, '0', text)
        end
      end
      if copies and h[ROOM] > 0 then
        for j, block in pairs(copies) do call('SETRANGE', key, header + j * size, block) end
      end
      if is_charged and siblings ~= own then
        room_of_cells, record_cells, keep_cells, told_of_cells, rare_of_cells, _, settle_cells, _, named_cells = part('cells')
        rare_of_cells().feed(key, siblings, own, added, at, now, settle_cells, record_cells)
      end
      if over then
        if not shared then shared, remaining, grown, told_of_fewer = part('uncommon') end
        text = told_of_fewer(h, key, n, over, mode == 'p' and whole, header, width)
      end
    end
    if reply then reply[i - first + 1] = text else reply = text end
  end
  if owed then reply = owed end
  if parts then known = nil end
  if has_room and units < wanted then
    taken = taken + units
  else
    if not replies then return reply end
    replies[group] = reply
    group, taken, before, charged = group + 1, 0, last, charge
  end
end
return replies
