-- What the cache knows of a user; if nothing, a lease to find out.
-- KEYS user, lease
-- ARGV token, seconds
local user, lease = unpack(KEYS)
local token, seconds = unpack(ARGV)

local entry = redis.call('HMGET', user, 'gone', 'name', 'email', 'password_hash', 'version')
if entry[1] then return {'gone'} end
if entry[5] then return {'known', entry[2], entry[3], entry[4], entry[5]} end
redis.call('SET', lease, token, 'EX', seconds)
return {'unknown'}
