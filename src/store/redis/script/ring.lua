-- Exact logs, read and written as a whole: that is rarely needed.

local MAGIC = 84
local pcall, pack, read, sub = redis.pcall, struct.pack, struct.unpack, string.sub
local min, ceil, floor, rep, concat = math.min, math.ceil, math.floor, string.rep, table.concat

-- Bytes of an entry where so long a window is kept.
local function width_for(window, tick)
  return window > 2 ^ 30 * tick and 6 or 4
end

-- How the exact log is laid out that begins with this.
local function opened(text)
  if #text < 50 then return end
  local magic, n, _, _, _, room, next, newest, lives, window, kept, live = read('<BBI4BI7I4I4I7I7I7I3I4', text)
  local tick = floor(kept / 4096)
  if magic ~= MAGIC or n > 31 or tick == 0 then return end
  local width = width_for(window, tick)
  local header = 50 + 11 * n + 14 * (floor(kept / 128) % 32)
  local log = { n = n, room = room, next = next, newest = newest, lives = lives, live = live, window = window, kept = kept,
    asked = kept % 4, most = floor(kept / 4) % 32, tick = tick, text = text, width = width, size = 16 * width,
    low = '<I' .. width, modulus = 256 ^ width * tick, header = header, ring = header + (n + 1) * 16 * width }
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
  log.siblings = sub(text, 51 + 11 * log.n, log.header)
  return log
end

-- Where the block is of an entry that is so many older than the newest, and the number of the entry.
local function block_of(log, age)
  local number = log.next - 1 - age
  if age < log.held then return log.header, number end
  return log.ring + (number - number % 16) / 16 % log.room * log.size, number
end

-- When the entry of these low bytes was recorded.
local function widened(log, low)
  return log.newest - (log.newest - low * log.tick) % log.modulus
end

local function stamp_of(log, age)
  local block, number = block_of(log, age)
  return widened(log, read(log.low, log.text, block + number % 16 * log.width + 1))
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

-- The units of a log, oldest first: when they were recorded, and how many at each of those times.
local function listed(log)
  local list = { times = {}, units = {}, newest = log.newest }
  for age = log.live - 1, 0, -1 do
    list.times[log.live - age], list.units[log.live - age] = stamp_of(log, age), 1
  end
  return list
end

-- A log of these units, without a header: the newest of them, as many as are kept, by the tick.
local function rolled(list, tick, width, most)
  local ticks, newest, entries, blocks = {}, ceil(list.newest / tick), {}, {}
  for k = #list.times, 1, -1 do
    for _ = 1, min(list.units[k], most - #ticks) do ticks[#ticks + 1] = min(ceil(list.times[k] / tick), newest) end
  end
  local live = #ticks
  for k = live, 1, -1 do
    entries[#entries + 1] = pack('<I' .. width, ticks[k])
    if #entries == 16 and k > 1 then blocks[#blocks + 1], entries = concat(entries), {} end
  end
  local size, held = 16 * width, live == 0 and 0 or (live - 1) % 16 + 1
  local pad = #blocks > 0 and rep('\0', (16 - held) * width) or ''
  return { room = #blocks, next = live, live = live, held = held, newest = newest * tick, tick = tick, width = width,
    size = size, low = '<I' .. width, modulus = 256 ^ width * tick, header = 0, ring = size,
    text = concat(entries) .. pad .. concat(blocks) }
end

-- The string of a log, with cursors for the windows of `spec`. They are as far on as the time says, so that is when it was
-- decided last: a clock that steps back from here has them found anew.
local function laid_out(log, spec, now, window, kept, lives, siblings)
  local tag, _, _, n = read('<I6BBB', spec)
  local parts = { pack('<I6BI7I4I4I7I7I7I3I4', tag, 0, now, log.room, log.next, log.newest, lives, window, kept, log.live) }
  local copies = {}
  for j = 1, n do
    local count = count_after(log, now - read('<I7', spec, 21 + 13 * j))
    local block = count > log.held and block_of(log, count - 1) or log.header
    parts[j + 1] = pack('<I4I7', count, count > 0 and stamp_of(log, count - 1) or log.newest)
    copies[j] = log.room > 0 and sub(log.text, block + 1, block + log.size) or ''
  end
  local newest = log.room > 0 and log.size or log.held * log.width
  return concat(parts) .. siblings .. sub(log.text, log.header + 1, log.header + newest) .. concat(copies)
    .. (log.room > 0 and sub(log.text, log.ring + 1) or '')
end

return { width_for = width_for, opened = opened, exact_log = exact_log, widened = widened, stamp_of = stamp_of,
  count_after = count_after, listed = listed, rolled = rolled, laid_out = laid_out }
