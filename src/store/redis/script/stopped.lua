-- How a decision ends that something is wrong with.

local function stopped(why, replies, group)
  if not replies then return redis.error_reply(why) end
  replies[group] = { ok = why }
  return replies
end

return stopped
