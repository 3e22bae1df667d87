-- How much is waiting: jobs, dead letters, and the first and last job if there are any.
-- KEYS queue, dead
local queue, dead = unpack(KEYS)

local first = redis.call('XRANGE', queue, '-', '+', 'COUNT', 1)[1]
local last = redis.call('XREVRANGE', queue, '+', '-', 'COUNT', 1)[1]
return {
  tostring(redis.call('XLEN', queue)), tostring(redis.call('XLEN', dead)),
  first and first[1] or '', last and last[1] or '',
}
