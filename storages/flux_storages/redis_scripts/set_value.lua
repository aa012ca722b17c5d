-- Set a shared value, whatever it was.
-- key, value, microseconds to live.

value_of(ARGV[2])
keep_value(ARGV[2], ARGV[3], ARGV[4])
return 1
