-- Drops jobs that are in the database; a user whose last job it was may be forgotten.
-- KEYS queue, then the user of each job
-- ARGV seconds, then each job
local queue = KEYS[1]
local seconds = ARGV[1]

for index = 2, #KEYS do
  local user, job = KEYS[index], ARGV[index]
  redis.call('XDEL', queue, job)
  if redis.call('HGET', user, 'job') == job then
    if redis.call('HEXISTS', user, 'gone') == 1 then
      redis.call('DEL', user)
    else
      redis.call('HDEL', user, 'job')
      redis.call('EXPIRE', user, seconds)
    end
  end
end
return 1
