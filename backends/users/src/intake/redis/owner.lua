-- Whose an email is, once the index is complete; nothing if it is nobody's.
-- KEYS ready, emails
-- ARGV email_key
local ready, emails = unpack(KEYS)

if redis.call('EXISTS', ready) == 0 then return {'not ready'} end
return {'owner', redis.call('HGET', emails, ARGV[1]) or ''}
