-- Set a shared value if it is the text expected; 1 if so, 0 if not.
-- key, expected=, value, microseconds to live.

local found = redis.call('GET', value_of(ARGV[2]))
if (found or nil) ~= optional(ARGV[3]) then
    return 0
end
keep_value(ARGV[2], ARGV[4], ARGV[5])
return 1
