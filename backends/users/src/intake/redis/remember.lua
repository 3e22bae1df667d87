-- Keeps what the database said of a user, if the lease still holds.
-- KEYS user, lease
-- ARGV token, seconds, name, email, email_key, password_hash, version
local user, lease = unpack(KEYS)
local token, seconds, name, email, email_key, password_hash, version = unpack(ARGV)

if redis.call('GET', lease) ~= token then return 0 end
redis.call('DEL', user, lease)
redis.call('HSET', user, 'name', name, 'email', email, 'email_key', email_key,
  'password_hash', password_hash, 'version', version)
redis.call('EXPIRE', user, seconds)
return 1
