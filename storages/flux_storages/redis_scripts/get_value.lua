-- A shared value; nothing if there is none.
-- key.

return redis.call('GET', value_of(ARGV[2]))
