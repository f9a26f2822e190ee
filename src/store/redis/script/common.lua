-- The common decision, in one piece: one request for one unit, whose one exact log has one or two quotas and is as a writer like
-- this one left it. Whatever is unusual is left to the rest of the script, for which nothing but the time and the text that was
-- read is kept. It decides these as well, and writes the same: without a loop over logs, and with the header in locals and not
-- in a table, this is a fifth cheaper.

local call, pcall, pack, read, sub = redis.call, redis.pcall, struct.pack, struct.unpack, string.sub
local now, seen = 0, nil
repeat
  local spec, options, arguments = ARGV[1], ARGV[2], #ARGV
  local n = #spec == 59 and 2 or #spec == 46 and 1
  if not n or arguments > 1 and (arguments > 2 or #options ~= 18 or #KEYS > 1) then break end
  if options then
    local mode, time, _, units = read('<c1I7I7B', options)
    if mode ~= 'd' or units ~= 1 then break end
    now = time
  end

  -- What is not reckoned with stays a text: the tag, and the longest window with what is kept. Of one quota that is all.
  local tag, kind, tick, ttl, kept, longest, limit, shorter, other_limit =
    read(n == 2 and '<c6c3I2I6c10xxxxxxI7I6I7I6' or '<c6c3I2I6c10xxxxxxI7I6', spec)
  if kind ~= (n == 2 and '\4\0\2' or '\4\0\1') then break end
  if now == 0 then
    local time = call('TIME')
    now = time[1] * 1000000 + time[2]
  end
  local key = KEYS[1]
  local header = 50 + 11 * n
  local full = header + 64 * (n + 1)
  seen = pcall('GETRANGE', key, '0', n == 2 and '263' or '188')
  if #seen <= header then break end
  local its_tag, _, decided, room, next, newest, lives, its_kept, live, count, oldest, other_count, other_oldest =
    read(n == 2 and '<c6BI7I4I4I7I7c10I4I4I7I4I7' or '<c6BI7I4I4I7I7c10I4I4I7', seen)
  local s, held, past = seen, (next - 1) % 16 + 1, now % tick
  local stamp = past > 0 and now - past + tick or now
  if its_tag ~= tag or its_kept ~= kept or now < decided
    or newest > stamp + 10000 or next == 0 or live > room * 16 + held
    or #s ~= (room == 0 and header + 4 * held or full) then break end

  local j, expired, most, whole, copies, fault, longest_count, longest_oldest = 1, now - longest, live
  local entry, width, size, modulus, had = '<I4', 4, 64, 4294967296 * tick, count
  repeat
    -- Here stands cursor.lua.
    if j == 1 then live, longest_count, longest_oldest = count, count, oldest end
    if j == n then break end
    j, count, oldest, expired = 2, other_count, other_oldest, now - shorter
  until false
  if fault or longest_count > limit or n == 2 and count > other_limit then break end

  local text
  if longest_count == limit or n == 2 and count == other_limit then
    if n == 2 then
      text = pack('<c6BI7I4I4I7I7c10I4I4I7I4I7', tag, 0, now, room, next, newest, lives, kept, live, longest_count,
        longest_oldest, count, oldest)
    else
      text = pack('<c6BI7I4I4I7I7c10I4I4I7', tag, 0, now, room, next, newest, lives, kept, live, count, oldest)
    end
    if longest_count ~= had or copies then call('SETRANGE', key, '0', text) end
  else
    local entries
    if live > 0 and live < 16 and (room == 0 or held == 16) then
      room, next, entries = 0, live + 1, sub(s, header + 1 + (held - live) * 4, header + held * 4)
    elseif live > 0 and held < 16 then
      next, entries = next + 1, sub(s, header + 1, header + held * 4)
    else
      local first = next - live
      if live == 0 or next - 16 - (first - first % 16) >= 16 * room then break end
      local block = sub(s, header + 1, header + 64)
      copies = copies or {}
      if longest_count <= 16 then copies[1] = block end
      if n == 2 and count <= 16 then copies[2] = block end
      call('SETRANGE', key, full + (next / 16 - 1) % room * 64, block)
      next, entries = next % (16 * room) + 1, ''
    end
    if newest > stamp then stamp = newest end
    local renew = lives < stamp + (ttl - 1000) * 500
    if renew then lives = now + ttl * 1000 end
    if n == 2 then
      if count == 0 then oldest = stamp end
      text = pack('<c6BI7I4I4I7I7c10I4I4I7I4I7c0I4', tag, 1, now, room, next, stamp, lives, kept, live + 1, longest_count + 1,
        longest_oldest, count + 1, oldest, entries, stamp / tick)
    else
      text = pack('<c6BI7I4I4I7I7c10I4I4I7c0I4', tag, 1, now, room, next, stamp, lives, kept, live + 1, count + 1, oldest,
        entries, stamp / tick)
    end
    if room > 0 then
      if renew then call('PEXPIRE', key, ttl) end
      call('SETRANGE', key, '0', text)
    elseif renew then
      call('SET', key, text, 'PX', ttl)
    else
      call('SET', key, text, 'KEEPTTL')
    end
  end
  if copies and room > 0 then
    for j, block in pairs(copies) do call('SETRANGE', key, header + j * 64, block) end
  end
  return text
until true
