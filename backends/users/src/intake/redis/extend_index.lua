-- Adds emails to the index, if it is still ours to fill.
-- KEYS emails, indexing
-- ARGV token, seconds, then email_key and id of each
local emails, indexing = unpack(KEYS)
local token, seconds = unpack(ARGV)

if redis.call('GET', indexing) ~= token then return 0 end
redis.call('EXPIRE', indexing, seconds)
for index = 3, #ARGV, 2 do
  redis.call('HSET', emails, ARGV[index], ARGV[index + 1])
end
return 1
