-- Moves a job to the dead letters. What it said of its user no longer holds, unless a later job said more.
-- KEYS queue, dead, emails, user
-- ARGV job, reason, id, email_key of the user in the database or nothing
local queue, dead, emails, user = unpack(KEYS)
local job, reason, id, stored_key = unpack(ARGV)

local entries = redis.call('XRANGE', queue, job, job)
if #entries == 0 then return 0 end
local fields = entries[1][2]
fields[#fields + 1] = 'reason'
fields[#fields + 1] = reason
redis.call('XADD', dead, '*', 'sequence', job, unpack(fields))
redis.call('XDEL', queue, job)

if redis.call('HGET', user, 'job') == job then
  local key = redis.call('HGET', user, 'email_key')
  if key and redis.call('HGET', emails, key) == id then redis.call('HDEL', emails, key) end
  if stored_key ~= '' then redis.call('HSETNX', emails, stored_key, id) end
  redis.call('DEL', user)
end
return 1
