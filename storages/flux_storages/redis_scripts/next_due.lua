-- How many microseconds it takes until the first instance is due of those that are not due yet;
-- nothing if there is none. With so many due that not all are looked at it is 1: there is enough to
-- claim, and what comes next is known when that is done.
-- `all` or `named`, names of workflows.

local looks = 1000
local moment = now()
local names = ARGV[2] == 'all' and redis.call('SMEMBERS', tag .. ':workflows') or {unpack(ARGV, 3)}
local first
for _, workflow in ipairs(names) do
    -- Among what seems to be due there may be what is leased for longer.
    local due = first_due(workflow, '-inf', moment, looks)
    if #due == 2 * looks then
        return 1
    end
    local due_at = first_due(workflow, '(' .. text(moment), '+inf', 1)[2]
    if due_at and (not first or due_at < first) then
        first = due_at
    end
end
return first and first - moment or false
