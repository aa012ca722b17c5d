-- Remove all of an instance if it has this revision and no lease; 1 if it was removed, 0 if not.
-- id, revision.

local id, revision = ARGV[2], tonumber(ARGV[3])
local known = redis.call(
    'HMGET', head_of(id), 'revision', 'lease_until', 'workflow', 'status', 'created_at', 'labels',
    'unique_key'
)
if tonumber(known[1] or -1) ~= revision or known[2] ~= '' then
    return 0
end
local workflow, status, created_at, labels, unique_key = unpack(known, 3, 7)
local member = member_of(created_at, id)

for _, index in ipairs(fixed_indexes(workflow, labels)) do
    redis.call('ZREM', index, member)
end
redis.call('ZREM', status_index(status), member)
redis.call('ZREM', tag .. ':ended_early', member)
schedule(workflow, id, nil)
if unique_key and redis.call('HGET', tag .. ':keys', unique_key) == id then
    redis.call('HDEL', tag .. ':keys', unique_key)
end
if redis.call('EXISTS', tag .. ':workflow:' .. workflow) == 0 then
    redis.call('SREM', tag .. ':workflows', workflow)
end
redis.call('UNLINK', head_of(id), history_of(id), inbox_of(id))
return 1
