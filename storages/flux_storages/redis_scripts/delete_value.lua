-- Remove a shared value; 1 if there was one, 0 if not.
-- key.

return redis.call('DEL', value_of(ARGV[2]))
