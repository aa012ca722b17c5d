-- Give a lease back; 1 if it was held, 0 if not.
-- id, owner, seen, wake.

local id, owner, seen, wake = unpack(ARGV, 2, 5)
local head = head_of(id)
local known = redis.call(
    'HMGET', head, 'owner', 'lease_until', 'last_signal', 'wake_at', 'workflow'
)
if known[1] ~= owner or known[2] == '' then
    return 0
end
local moment = now()
local wake_at = later(moment, wake) or tonumber(known[4])
if tonumber(known[3]) > tonumber(seen) then
    wake_at = woken(moment, wake_at)
end
redis.call('HSET', head, 'lease_until', '', 'wake_at', text(wake_at))
schedule(known[5], id, wake_at)
tell(id, wake_at and wake_at <= moment)
return 1
