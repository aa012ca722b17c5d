-- The inbox from after a number: number, description, payload and taker of each signal in turn.
-- id, after.

local id, after = ARGV[2], math.max(tonumber(ARGV[3]), 0)
local last_signal = tonumber(redis.call('HGET', head_of(id), 'last_signal') or 0)
local found = {}
for number = after + 1, last_signal do
    local name = text(number)
    local fields = redis.call(
        'HMGET', inbox_of(id), name, name .. ':payload', name .. ':taken_by'
    )
    table.insert(found, {number, fields[1], fields[2], fields[3]})
end
return found
