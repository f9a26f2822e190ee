-- Forgets a history: the logs of the writer, and those of others that its exact log lists. A cell log that stays all the same
-- is void, since no exact log lists it.

local key, names = KEYS[1], {}
local log = memory.ring.exact_log(key)
for i = 2, #KEYS do names[#names + 1] = KEYS[i] end
for _, sibling in ipairs(log and memory.beside(log.siblings) or {}) do names[#names + 1] = key .. sibling.suffix end
if #names > 0 then redis.call('DEL', unpack(names)) end
return redis.call('DEL', key)
