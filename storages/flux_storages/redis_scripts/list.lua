-- A part of a listing, newest first, or of a count: where to go on (empty at the end), and for each
-- instance that stands in all the indexes its id and the fields of a summary, or just how many do.
-- Of the indexes the shortest is walked. What has ended before a moment was created before it, too,
-- but for the few that ended early; so the walk begins there.
-- `heads` or `number`, position, after=, ended_before, how many to look at, how many to find,
-- names of indexes.

local what, position, after, ended_before = unpack(ARGV, 2, 5)
local looks, wanted = tonumber(ARGV[6]), tonumber(ARGV[7])

local indexes, shortest, least = {}, nil, math.huge
for i = 8, #ARGV do
    local index = tag .. ARGV[i]
    local size = redis.call('ZCARD', index)
    if size < least then
        shortest, least = index, size
    end
    table.insert(indexes, index)
end
if what == 'number' and #indexes == 1 and ended_before == '' then
    return {'', least}
end

if position == '' and after ~= '' then
    local id = optional(after)
    local created_at = redis.call('HGET', head_of(id), 'created_at')
    if not created_at then
        return {'', {}}
    end
    position = member_of(created_at, id)
end
if ended_before ~= '' then
    local first = ended_before
    local early = redis.call('ZREVRANGE', tag .. ':ended_early', 0, 0)[1]
    if early and precedes(first, early) then
        first = early .. '\0'
    end
    if position == '' or precedes(first, position) then
        position = first
    end
end

local function fits(member, id)
    for _, index in ipairs(indexes) do
        if index ~= shortest and not redis.call('ZSCORE', index, member) then
            return false
        end
    end
    if ended_before == '' then
        return true
    end
    local ended_at = redis.call('HGET', head_of(id), 'ended_at')
    return ended_at and ended_at ~= '' and precedes(ended_at, ended_before)
end

local from = position == '' and '+' or '(' .. position
local members = redis.call('ZREVRANGEBYLEX', shortest, from, '-', 'LIMIT', 0, looks)
local found = {}
for _, member in ipairs(members) do
    local id = string.sub(member, string.find(member, ' ', 1, true) + 1)
    if fits(member, id) then
        local fields = what == 'heads' and redis.call(
            'HMGET', head_of(id), 'workflow', 'version', 'status', 'intent', 'labels', 'created_at',
            'updated_at', 'ended_at'
        )
        table.insert(found, {id, unpack(fields or {})})
    end
    if #found == wanted then
        return {member, what == 'heads' and found or #found}
    end
end
position = #members == looks and members[#members] or ''
return {position, what == 'heads' and found or #found}
