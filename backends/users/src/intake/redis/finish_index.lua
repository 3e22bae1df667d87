-- Declares the index of emails complete. Jobs get greater ids than the floor from now on.
-- KEYS ready, queue, indexing
-- ARGV token, floor
local ready, queue, indexing = unpack(KEYS)
local token, floor = unpack(ARGV)

if redis.call('GET', indexing) ~= token then return 0 end
-- Refused if the stream is further already, which is what we want.
redis.pcall('XADD', queue, floor, 'kind', 'floor')
redis.call('XDEL', queue, floor)
redis.call('SET', ready, '1')
redis.call('DEL', indexing)
return 1
