-- Begins to fill the index of emails, for one instance at a time.
-- KEYS ready, queue, emails, indexing
-- ARGV token, seconds
local ready, queue, emails, indexing = unpack(KEYS)
local token, seconds = unpack(ARGV)

if redis.call('EXISTS', ready) == 1 then return 'complete' end
if redis.call('XLEN', queue) > 0 then return 'queue not empty' end
if not redis.call('SET', indexing, token, 'NX', 'EX', seconds) then return 'somebody else' end
redis.call('DEL', emails)
return 'empty'
