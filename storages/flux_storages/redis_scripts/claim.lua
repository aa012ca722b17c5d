-- Give an instance to an owner; its new head, or nothing if there is none or it is held.
-- id, owner, lease, held=.

local id, owner, lease, held = unpack(ARGV, 2, 5)
local known = redis.call('HMGET', head_of(id), 'workflow', 'owner', 'lease_until')
local workflow, holder, lease_until = unpack(known)
local moment = now()
if not workflow then
    return false
end
local is_free = lease_until == '' or tonumber(lease_until) <= moment
if not is_free and holder ~= optional(held) then
    return false
end
return give(id, workflow, owner, later(moment, lease))
