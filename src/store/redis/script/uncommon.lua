-- What most decisions do without.

local ROOM, NEXT, NEWEST, LIVES, WINDOW, KEPT, LIVE, SMALL_LEAD = 4, 5, 6, 7, 8, 9, 10, 10000
local call, pack, read, sub, spread = redis.call, struct.pack, struct.unpack, string.sub, unpack
local floor, min, max, ceil, rep = math.floor, math.min, math.max, math.ceil, string.rep

-- How long the newest unit matters where these cell logs are beside it. Returns nothing if they are not as they should be:
-- one that is void, or without those of the writer.
local function need_of(key, siblings, own, need, mode)
  local found = 0
  for from = 1, #siblings, 14 do
    local one, is_own = sub(siblings, from, from + 13), false
    for at = 1, #own, 14 do is_own = is_own or sub(own, at, at + 13) == one end
    local window, grain = read('<I7I7', one)
    if is_own then
      found = found + 1
    elseif mode == 'd' and call('EXISTS', key .. string.format(':%.0f.%.0f', window, grain)) == 0 then
      return
    end
    need = max(need, window + grain)
  end
  return found == #own / 14 and need or nil
end

-- Goes on with a log that keeps more than this writer asks for, or less: how wide its entries are, where they begin, its
-- text as far as its ring, the cell logs beside it, how long the newest unit matters, its tick, and whether this writer has
-- asked it to go on like that. Returns nothing if it has to be laid out anew, also as often as its key's life is renewed.
local function shared(h, s, key, spec, whole, mode, now)
  local _, own_width, _, n, _, ttl, own_window, own_kept = read('<I6BBBI2I6I7I3', spec)
  local own, window, kept = sub(spec, 34 + 13 * n), h[WINDOW], h[KEPT]
  local tick, own_most, most = floor(kept / 4096), floor(own_kept / 4) % 32, floor(kept / 4) % 32
  local recorded = ceil(now / tick) * tick
  if own_window > window or own_most > most or h[NEWEST] > recorded + SMALL_LEAD then return end
  local width = window > 2 ^ 30 * tick and 6 or 4
  local header = 50 + 11 * n + 14 * (floor(kept / 128) % 32)
  local full = header + 16 * width * (n + 1)
  if full ~= 50 + 11 * n + #own + 16 * own_width * (n + 1) then
    -- More than this writer would have read, or less.
    s = whole and sub(whole, 1, full) or call('GETRANGE', key, 0, full - 1)
  end
  local siblings = sub(s, 51 + 11 * n, header)
  local need = need_of(key, siblings, own, max((ttl - 1000) * 500, window), mode)
  if not need or h[LIVES] < recorded + need then return end
  if 2 * own_window > window and kept % 2 == 0 then h[KEPT] = h[KEPT] + 1 end
  if own_most == most and kept % 4 < 2 then h[KEPT] = h[KEPT] + 2 end
  return width, header, s, siblings, need, tick, h[KEPT] ~= kept
end

-- How many units are kept in a log that keeps more than its writer asks for, before these are added: not more than are asked
-- for by anybody, and if there is no room only those that are to be kept.
local function remaining(h, key, whole, full, width, live, units, now)
  local next, room, most, size = h[NEXT], h[ROOM], 2 ^ (floor(h[KEPT] / 4) % 32), 16 * width
  local tick = floor(h[KEPT] / 4096)
  live = min(live, most + 1 - units)
  while next - 16 - (next - live - (next - live) % 16) >= 16 * room and room > 0 and live > 32 do
    local oldest = next - live
    local from = full + floor(oldest / 16) % room * size + size - width
    local low = whole and sub(whole, from + 1, from + width) or call('GETRANGE', key, from, from + width - 1)
    low = read('<I' .. width, low) * tick
    if h[NEWEST] - (h[NEWEST] - low) % (256 ^ width * tick) > now - h[WINDOW] then break end
    live = live - (16 - oldest % 16)
  end
  return live
end

-- What follows the newest block when every block of the ring is alive: twice the room, and not more than the longest quota
-- needs. The blocks are put in order, from the first place on.
local function grown(h, key, s, n, copies, header, width, live, units, most)
  local size, room, oldest = 16 * width, h[ROOM], h[NEXT] - live
  local full, block = header + size * (n + 1), sub(s, header + 1, header + size)
  local old = room > 0 and call('GETRANGE', key, full, -1) or ''
  local from = room > 0 and floor(oldest / 16) % room * size or 0
  h[ROOM] = max(room + 1, min(max(2 * room, 2), ceil(most / 16)))
  h[NEXT] = 16 * room + 16 + units
  local ring = rep('\0', size - units * width)
  for j = 1, n do ring = ring .. (copies[j] or sub(s, header + 1 + j * size, header + (j + 1) * size)) end
  return ring .. sub(old, from + 1) .. sub(old, 1, from) .. block .. rep('\0', (h[ROOM] - room - 1) * size)
end

-- The reply where there are more units than a quota allows: the newest are told of, as many as that. When the oldest of
-- them leaves there is room.
local function told_of_fewer(h, key, n, over, whole, header, width)
  local told, size, tick = { spread(h, 1, LIVE + 2 * n) }, 16 * width, floor(h[KEPT] / 4096)
  for j, limit in pairs(over) do
    if h[9 + 2 * j] > limit then
      local number, from = h[NEXT] - limit, header
      if limit > (h[NEXT] - 1) % 16 + 1 then from = from + size * (n + 1) + floor(number / 16) % h[ROOM] * size end
      from = from + number % 16 * width
      local low = whole and sub(whole, from + 1, from + width) or call('GETRANGE', key, from, from + width - 1)
      low = read('<I' .. width, low) * tick
      told[9 + 2 * j], told[10 + 2 * j] = limit, h[NEWEST] - (h[NEWEST] - low) % (256 ^ width * tick)
    end
  end
  return pack('<I6BI7I4I4I7I7I7I3I4' .. rep('I4I7', n), spread(told))
end

return shared, remaining, grown, told_of_fewer
