-- Drops a dead letter: 1 if there was one.
-- KEYS dead, letters
-- ARGV letter
local dead, letters = unpack(KEYS)
local letter = ARGV[1]

local entries = redis.call('XRANGE', dead, letter, letter)
if #entries == 0 then return 0 end
redis.call('XDEL', dead, letter)
local fields = entries[1][2]
for index = 1, #fields, 2 do
  local id = fields[index + 1]
  if fields[index] == 'user_id' and redis.call('HGET', letters, id) == letter then
    redis.call('HDEL', letters, id)
  end
end
return 1
