-- A quota's cursor is moved past the units that have left its window; nearly always by one of them or by none.
if count > 0 and (oldest <= expired or count > most) then
  if count > room * 16 + held then
    fault = 'more units than entries'
  elseif newest <= expired then
    count = 0
  else
    local number, block, offset = next - count, s, header + 1
    if count > held then offset = offset + size * j end
    repeat
      count, number = count - 1, number + 1
      if count == 0 then break end
      if count == held then
        block, offset = s, header + 1
      elseif number % 16 == 0 then
        local from = full + number / 16 % room * size
        block, offset = whole and sub(whole, from + 1, from + size) or call('GETRANGE', key, from, from + size - 1), 1
        if #block < size then
          fault = 'a ring that is too short'
          break
        end
        copies = copies or {}
        copies[j] = block
      end
      oldest = newest - (newest - read(entry, block, offset + number % 16 * width) * tick) % modulus
    until oldest > expired and count <= most
  end
end
