-- Takes a write: all of it or nothing.
-- KEYS ready, queue, dead, letters, emails, user, lease
-- ARGV jobs_max, from, kind, id, name, email, email_key, password_hash, correlation_id, dead letter or nothing
local ready, queue, dead, letters, emails, user, lease = unpack(KEYS)
local jobs_max, from, kind, id, name, email, email_key, password_hash, correlation_id, letter = unpack(ARGV)

if redis.call('EXISTS', ready) == 0 then return 'not ready' end
local last_letter = redis.call('HGET', letters, id)
if letter == '' then
  if redis.call('XLEN', queue) + redis.call('XLEN', dead) >= tonumber(jobs_max) then return 'full' end
elseif last_letter ~= letter then
  return 'outdated'
end
-- Without an entry, or with one that says the user is gone, there is no version and only a new user fits.
local version = redis.call('HGET', user, 'version') or ''
if version ~= from then return 'outdated' end
if kind == 'keep' then
  local owner = redis.call('HGET', emails, email_key)
  if owner and owner ~= id then return 'email taken' end
end

-- Tried again or replaced by this write: in both cases it has nothing more to say.
if last_letter then
  redis.call('XDEL', dead, last_letter)
  redis.call('HDEL', letters, id)
end
local old_key = redis.call('HGET', user, 'email_key')
if old_key and redis.call('HGET', emails, old_key) == id then redis.call('HDEL', emails, old_key) end
local sequence = redis.call('XADD', queue, '*', 'kind', kind, 'user_id', id, 'name', name,
  'email', email, 'password_hash', password_hash, 'correlation_id', correlation_id)
redis.call('DEL', user, lease)
if kind == 'keep' then
  redis.call('HSET', emails, email_key, id)
  redis.call('HSET', user, 'name', name, 'email', email, 'email_key', email_key,
    'password_hash', password_hash, 'version', sequence, 'job', sequence)
else
  redis.call('HSET', user, 'gone', '1', 'job', sequence)
end
return 'queued'
