-- Store a new instance. 1 if it was made, or had been made by the same owner; 0 if the id is
-- another's; the holder of the unique key, in a list, if a live instance has it.
-- id, owner=, workflow, status, created_at, ended_at, lease, wake, unique_key=, labels,
-- how many fields follow, the fields of the head, numbers and bodies of the entries.

local id, owner, workflow, status, created_at, ended_at = unpack(ARGV, 2, 7)
local moment = now()
local lease_until, wake_at = later(moment, ARGV[8]), later(moment, ARGV[9])
local unique_key, labels, fields = optional(ARGV[10]), ARGV[11], tonumber(ARGV[12])
local head, member = head_of(id), member_of(created_at, id)
owner = optional(owner)

local known = redis.call('HMGET', head, 'revision', 'owner')
if known[1] then
    return (owner and tonumber(known[1]) == 1 and known[2] == owner) and 1 or 0
end
if unique_key and ended_at == '' then
    local holder = redis.call('HGET', tag .. ':keys', unique_key)
    if holder then
        return {holder}
    end
end

redis.call(
    'HSET', head, 'labels', labels, 'status', status, 'workflow', workflow, 'last_signal', '0',
    'created_at', created_at, 'ended_at', ended_at,
    'lease_until', text(lease_until), 'wake_at', text(wake_at), unpack(ARGV, 13, 12 + fields)
)
if unique_key and ended_at == '' then
    redis.call('HSET', tag .. ':keys', unique_key, id)
end
for i = 13 + fields, #ARGV, 2 do
    redis.call('HSET', history_of(id), ARGV[i], ARGV[i + 1])
end
for _, index in ipairs(fixed_indexes(workflow, labels)) do
    redis.call('ZADD', index, 0, member)
end
redis.call('ZADD', status_index(status), 0, member)
redis.call('SADD', tag .. ':workflows', workflow)
note_end(member, created_at, ended_at, '')
if lease_until or wake_at then
    schedule(workflow, id, lease_until or wake_at)
end
if not lease_until and wake_at and wake_at <= moment then
    tell(id, true)
end
return 1
