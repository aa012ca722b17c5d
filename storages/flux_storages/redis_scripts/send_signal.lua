-- Append a signal to an inbox; nothing if there is no such instance, else a list: the status, the
-- number of the signal, and of an earlier one of the same signal id its description and payload.
-- The number is missing if the status refuses signals.
-- id, signal_id=, description, payload, statuses that refuse.

local id, signal_id, description, payload = unpack(ARGV, 2, 5)
local head, inbox = head_of(id), inbox_of(id)
local known = redis.call(
    'HMGET', head, 'status', 'last_signal', 'lease_until', 'wake_at', 'workflow'
)
local status, last_signal, lease_until, wake_at, workflow = unpack(known)
if not status then
    return false
end
signal_id = optional(signal_id)
local earlier = signal_id and redis.call('HGET', inbox, 'id:' .. signal_id)
if earlier then
    local fields = redis.call('HMGET', inbox, earlier, earlier .. ':payload')
    return {status, tonumber(earlier), fields[1], fields[2]}
end
for i = 6, #ARGV do
    if ARGV[i] == status then
        return {status}
    end
end

local number = text(tonumber(last_signal) + 1)
redis.call('HSET', inbox, number, description, number .. ':payload', payload)
if signal_id then
    redis.call('HSET', inbox, 'id:' .. signal_id, number)
end
redis.call('HSET', head, 'last_signal', number)
if lease_until == '' then
    wake_at = woken(now(), tonumber(wake_at))
    redis.call('HSET', head, 'wake_at', text(wake_at))
    schedule(workflow, id, wake_at)
end
tell(id, lease_until == '')
return {status, tonumber(number)}
