-- The compare-and-set. The number of the last signal if it is saved, or was saved before; else a
-- list: `stale`; `unseen` and the number of the last signal; `taken`, the key and its holder.
-- id, owner, expected revision, status, lease, wake, seen, updated_at, ended_at, intent, payload,
-- how many entries follow, numbers and bodies of the entries, numbers and takers of what is consumed.

local id, owner, expected, status, lease, wake = unpack(ARGV, 2, 7)
local seen, updated_at, ended_at, intent, payload = tonumber(ARGV[8]), unpack(ARGV, 9, 12)
local entries = tonumber(ARGV[13])
local head = head_of(id)

local known = redis.call(
    'HMGET', head, 'owner', 'revision', 'last_signal', 'status', 'ended_at', 'lease_until'
)
if known[1] ~= owner then
    return {'stale'}
end
local revision, last_signal = tonumber(known[2]), tonumber(known[3])
local status_before, ended_before, lease_before = known[4], known[5], tonumber(known[6])
expected = tonumber(expected)
if revision ~= expected then
    return revision == expected + 1 and last_signal or {'stale'}
end
if ended_at ~= '' and last_signal > seen then
    return {'unseen', last_signal}
end

local moment = now()
local lease_until, wake_at = later(moment, lease), later(moment, wake)
if not lease_until and last_signal > seen then
    wake_at = woken(moment, wake_at)
end
-- Most saves move nothing but the end of the lease, which the agenda need not know.
local moves = status ~= status_before or ended_at ~= ended_before
local waits_elsewhere = not (lease_until and lease_before and lease_before <= lease_until)
local workflow, created_at, unique_key, holder
if moves or waits_elsewhere then
    workflow, created_at, unique_key = unpack(
        redis.call('HMGET', head, 'workflow', 'created_at', 'unique_key')
    )
    holder = unique_key and redis.call('HGET', tag .. ':keys', unique_key)
end
if holder and holder ~= id and ended_at == '' then
    return {'taken', unique_key, holder}
end

redis.call(
    'HSET', head, 'revision', text(revision + 1), 'status', status, 'updated_at', updated_at,
    'ended_at', ended_at, 'intent', intent, 'payload', payload,
    'lease_until', text(lease_until), 'wake_at', text(wake_at)
)
for i = 14, 13 + 2 * entries, 2 do
    redis.call('HSET', history_of(id), ARGV[i], ARGV[i + 1])
end
for i = 14 + 2 * entries, #ARGV, 2 do
    local number = tonumber(ARGV[i])
    if number > 0 and number <= last_signal then
        redis.call('HSET', inbox_of(id), ARGV[i] .. ':taken_by', ARGV[i + 1])
    end
end
if status ~= status_before then
    redis.call('ZADD', status_index(status), 0, member_of(created_at, id))
    redis.call('ZREM', status_index(status_before), member_of(created_at, id))
end
if ended_at ~= ended_before then
    note_end(member_of(created_at, id), created_at, ended_at, ended_before)
    if unique_key and ended_at == '' then
        redis.call('HSET', tag .. ':keys', unique_key, id)
    elseif holder == id then
        redis.call('HDEL', tag .. ':keys', unique_key)
    end
end
if waits_elsewhere then
    schedule(workflow, id, lease_until or wake_at)
end
if not lease_until then
    tell(id, wake_at and wake_at <= moment)
end
return last_signal
