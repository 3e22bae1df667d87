-- Moves a job to the dead letters. What it said of its user no longer holds, unless a later job said more.
-- KEYS queue, dead, letters, emails, user
-- ARGV job, reason, id or nothing, email_key of the user in the database or nothing
local queue, dead, letters, emails, user = unpack(KEYS)
local job, reason, id, stored_key = unpack(ARGV)

local entries = redis.call('XRANGE', queue, job, job)
if #entries == 0 then return 0 end
redis.call('XDEL', queue, job)
local last_job = redis.call('HGET', user, 'job')
if last_job and last_job ~= job then return 0 end

local fields = entries[1][2]
fields[#fields + 1] = 'reason'
fields[#fields + 1] = reason
local letter = redis.call('XADD', dead, '*', 'sequence', job, unpack(fields))
if id ~= '' then redis.call('HSET', letters, id, letter) end
if last_job then
  local key = redis.call('HGET', user, 'email_key')
  if key and redis.call('HGET', emails, key) == id then redis.call('HDEL', emails, key) end
  if stored_key ~= '' then redis.call('HSETNX', emails, stored_key, id) end
  redis.call('DEL', user)
end
return 1
