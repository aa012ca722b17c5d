-- Extend leases; of those still held, ids and numbers of the last signals in turn.
-- lease, ids and owners in turn.

local lease_until = later(now(), ARGV[2])
local renewed = {}
for i = 3, #ARGV, 2 do
    local id, owner = ARGV[i], ARGV[i + 1]
    local known = redis.call(
        'HMGET', head_of(id), 'owner', 'lease_until', 'last_signal', 'workflow'
    )
    if known[1] == owner and known[2] ~= '' then
        redis.call('HSET', head_of(id), 'lease_until', text(lease_until))
        schedule(known[4], id, lease_until)
        table.insert(renewed, id)
        table.insert(renewed, tonumber(known[3]))
    end
end
return renewed
