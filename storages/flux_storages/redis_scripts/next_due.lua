-- How many microseconds it takes until the first instance is due of those that are not due yet;
-- nothing if there is none.
-- `all` or `named`, names of workflows.

local moment = now()
local names = ARGV[2] == 'all' and redis.call('SMEMBERS', tag .. ':workflows') or {unpack(ARGV, 3)}
local first
for _, workflow in ipairs(names) do
    local next = redis.call(
        'ZRANGEBYSCORE', due_of(workflow), '(' .. text(moment), '+inf', 'WITHSCORES', 'LIMIT', 0, 1
    )
    local due_at = tonumber(next[2])
    if due_at and (not first or due_at < first) then
        first = due_at
    end
end
return first and first - moment or false
