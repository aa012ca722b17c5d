-- What every script begins with: this text stands before each of them.
--
-- KEYS[1] is the tag `{prefix}`, with which all keys begin, so that a cluster keeps them in one slot.
-- ARGV[1] is the time in a test that has a clock of its own; elsewhere it is empty, and the time is
-- the server's. The arguments of the script itself follow. Moments are microseconds since 1970, as
-- whole numbers; those that callers give (`created_at` and the like) are ISO texts in UTC of one
-- length. An argument that may be missing is empty then, and has a `=` in front where any text could
-- stand. A script refuses before its first write, so that it has happened whole or not at all.

local tag, given_time = KEYS[1], ARGV[1]

local function now()
    if given_time ~= '' then
        return tonumber(given_time)
    end
    local time = redis.call('TIME')
    return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

-- The moment so many microseconds after another; nil for none.
local function later(moment, micros)
    return micros ~= '' and moment + tonumber(micros) or nil
end

-- Lua itself writes large numbers with an exponent, and so do some servers that are given one (Redis
-- 7.2.0 to 7.2.4). A score may be written so; what is read back as a whole number may not.
local function text(moment)
    return moment and string.format('%.0f', moment) or ''
end

local function optional(argument)
    return argument ~= '' and string.sub(argument, 2) or nil
end

-- Byte by byte, as sorted sets order their members; `<` would obey the server's locale.
local function precedes(one, other)
    for i = 1, math.min(#one, #other) do
        local a, b = string.byte(one, i), string.byte(other, i)
        if a ~= b then
            return a < b
        end
    end
    return #one < #other
end

local function head_of(id)
    return tag .. ':head:' .. id
end

local function history_of(id)
    return tag .. ':history:' .. id
end

local function inbox_of(id)
    return tag .. ':inbox:' .. id
end

-- An instance stands in the indexes of a listing under one name, which sorts by age.
local function member_of(created_at, id)
    return created_at .. ' ' .. id
end

-- The sorted sets that never change their mind about an instance. `labels` is JSON of our own, a
-- text for each name; the name is escaped so that it ends at the first equals sign.
local function fixed_indexes(workflow, labels)
    local indexes = {tag .. ':all', tag .. ':workflow:' .. workflow}
    for name, value in pairs(cjson.decode(labels)) do
        local escaped = string.gsub(name, '[%%=]', {['%'] = '%25', ['='] = '%3D'})
        table.insert(indexes, tag .. ':label:' .. escaped .. '=' .. value)
    end
    return indexes
end

local function status_index(status)
    return tag .. ':status:' .. status
end

-- Those whose end lies before their beginning, as it may be where clocks differ.
local function note_end(member, created_at, ended_at, ended_before)
    if ended_at ~= '' and precedes(ended_at, created_at) then
        redis.call('ZADD', tag .. ':ended_early', 0, member)
    elseif ended_before ~= '' then
        redis.call('ZREM', tag .. ':ended_early', member)
    end
end

-- Who is due when. A leased instance may stand there under an earlier time than the end of its
-- lease, since a save that only extends the lease leaves it where it is: a sixth of its cost.
local function due_of(workflow)
    return tag .. ':due:' .. workflow
end

local function schedule(workflow, id, due_at)
    if due_at then
        redis.call('ZADD', due_of(workflow), due_at, id)
    else
        redis.call('ZREM', due_of(workflow), id)
    end
end

-- The first of a workflow that are due from one moment to another, ids and times in turn; whoever
-- stands there under another time than its own is put where it belongs.
local function first_due(workflow, from, to, limit)
    local found, is_right
    repeat
        found, is_right = redis.call(
            'ZRANGEBYSCORE', due_of(workflow), from, to, 'WITHSCORES', 'LIMIT', 0, limit
        ), true
        for i = 1, #found, 2 do
            local times = redis.call('HMGET', head_of(found[i]), 'lease_until', 'wake_at')
            local due_at = tonumber(times[1] ~= '' and times[1] or times[2])
            found[i + 1] = tonumber(found[i + 1])
            if due_at ~= found[i + 1] then
                schedule(workflow, found[i], due_at)
                is_right = false
            end
        end
    until is_right
    return found
end

-- When an instance that goes to rest is due, if its inbox holds something that nobody has seen.
local function woken(moment, wake_at)
    return wake_at and math.min(wake_at, moment) or moment
end

-- Whoever may not publish may still save.
local function tell(id, is_due)
    redis.pcall('PUBLISH', tag .. ':notices', (is_due and 'due ' or 'changed ') .. id)
end

-- Make `owner` the holder of an instance; its new head.
local function give(id, workflow, owner, lease_until)
    local head = head_of(id)
    redis.call('HSET', head, 'owner', owner, 'lease_until', text(lease_until))
    redis.call('HINCRBY', head, 'revision', 1)
    schedule(workflow, id, lease_until)
    return redis.call('HGETALL', head)
end

-- The key of a shared value. With a test's clock the server does not know when a value ends, so that
-- is kept beside it, and what has ended is removed here.
local function value_of(key)
    local name = tag .. ':value:' .. key
    local ends_at = given_time ~= '' and redis.call('HGET', tag .. ':value_ends', key)
    if ends_at and tonumber(ends_at) <= now() then
        redis.call('DEL', name)
        redis.call('HDEL', tag .. ':value_ends', key)
    end
    return name
end

local function keep_value(key, value, ttl)
    local name = tag .. ':value:' .. key
    if given_time ~= '' then
        redis.call('SET', name, value)
        redis.call('HDEL', tag .. ':value_ends', key)
        if ttl ~= '' then
            redis.call('HSET', tag .. ':value_ends', key, text(later(now(), ttl)))
        end
    elseif ttl ~= '' then
        redis.call('SET', name, value, 'PX', text(math.ceil(tonumber(ttl) / 1000)))
    else
        redis.call('SET', name, value)
    end
end
