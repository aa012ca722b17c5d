-- Give what is due to an owner, the longest due first; ids and new heads in turn.
-- owner, lease, limit, `all` or `named`, names of workflows.

local owner, lease, limit, which = ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
local moment = now()
local names = which == 'all' and redis.call('SMEMBERS', tag .. ':workflows') or {unpack(ARGV, 6)}

local found = {}
for _, workflow in ipairs(names) do
    local due = first_due(workflow, '-inf', moment, limit)
    for i = 1, #due, 2 do
        table.insert(found, {id = due[i], since = due[i + 1], workflow = workflow})
    end
end
if #names > 1 then
    table.sort(found, function(one, other)
        if one.since ~= other.since then
            return one.since < other.since
        end
        return precedes(one.id, other.id)
    end)
end

local claimed = {}
for i = 1, math.min(limit, #found) do
    local id, workflow = found[i].id, found[i].workflow
    table.insert(claimed, id)
    table.insert(claimed, give(id, workflow, owner, later(moment, lease)))
end
return claimed
