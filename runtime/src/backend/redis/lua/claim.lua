-- Hands out jobs that are due, each under a lease.
--
-- ARGV[2]: the worker, [3]: how long a lease lives, [4]: the most jobs of all. Then for each queue: its name, the most
-- jobs of it.
-- Answers the present, how long until there may be more (-1: nobody knows of any), the leases' token,
-- and the jobs' ids and records.
-- Keys: paused, ready:QUEUE, later:QUEUE, retry:QUEUE, overdue:QUEUE, jobs; leases, lapses, running, expiring, stamp.
--
-- What is due is popped at once, which also lets this run on a server whose memory is full.
local worker, ttl, limit = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])

-- The most jobs that become due in one call, and the most that one call looks at in a queue.
local MOVED, LOOKED = 2000, 5000

local next_due = -1
local function may_be_due_in(wait)
    if next_due < 0 or wait < next_due then
        next_due = math.max(wait, 0)
    end
end

-- What is popped is gone from its queue, so nothing after that may be refused.
read_stamp()
for name, type in pairs({ leases = 'hash', lapses = 'zset', expiring = 'zset', running = 'hash', jobs = 'hash' }) do
    must_be(type, name)
end

local ids, records, count = {}, {}, 0
local leases, lapses = {}, {}
local lapse = string.format('%.0f', now + ttl)

local function move_what_is_due(queue)
    for _, from in ipairs({ 'later:', 'retry:' }) do
        local due = call('ZRANGEBYSCORE', key(from .. queue), '-inf', now, 'LIMIT', 0, MOVED)
        if #due > 0 then
            local entries = {}
            for _, turn in ipairs(due) do
                entries[#entries + 1] = '0'
                entries[#entries + 1] = turn
            end
            call('ZREM', key(from .. queue), unpack(due))
            call('ZADD', key('ready:' .. queue), unpack(entries))
        end
    end
end

-- Takes the job of a turn, unless it is gone or has ended, has expired, or a clock that was turned back made it early.
local function take(queue, lease, turn, id, record)
    if not record or is_finished(record) then
        return false
    end
    local due, expires = read('>i8', turn, 3), expires_of(record)
    if due > now then
        call('ZADD', key(later_of(record)), due, turn)
        return false
    end
    if expires ~= 0 then
        if expires <= now then
            -- The reaper ends it.
            call('ZADD', key('overdue:' .. queue), '0', turn)
            return false
        end
        write('ZREM', 'expiring', id)
    end
    ids[count + 1], records[count + 1] = id, record
    leases[2 * count + 1], leases[2 * count + 2] = id, lease
    lapses[2 * count + 1], lapses[2 * count + 2] = lapse, id
    count = count + 1
    return true
end

local function claim_from(queue, room)
    local taken, looked = 0, 0
    -- One for all jobs of the queue: a lease belongs to its job, and is told from the others of that by its token.
    local lease = pack('>i8', next_stamp) .. worker .. pack('>i8', now) .. queue
    while taken < room and looked < LOOKED do
        local popped = call('ZPOPMIN', key('ready:' .. queue), room - taken)
        if #popped == 0 then
            break
        end
        local turns, found = {}, {}
        for at = 1, #popped, 2 do
            turns[#turns + 1] = popped[at]
            found[#found + 1] = popped[at]:sub(11)
        end
        for index, record in ipairs(gather('HMGET', 'jobs', found)) do
            if take(queue, lease, turns[index], found[index], record) then
                taken = taken + 1
            end
        end
        looked = looked + #turns
    end
    if taken > 0 then
        call('HINCRBY', key('running'), queue, taken)
    end
end

for at = 5, #ARGV, 2 do
    local queue = ARGV[at]
    if call('SISMEMBER', key('paused'), queue) == 0 then
        for _, name in ipairs({ 'ready:', 'later:', 'retry:', 'overdue:' }) do
            must_be('zset', name .. queue)
        end
        move_what_is_due(queue)
        claim_from(queue, math.min(tonumber(ARGV[at + 1]), limit - count))
        if call('EXISTS', key('ready:' .. queue)) == 1 then
            may_be_due_in(0)
        end
        for _, from in ipairs({ 'later:', 'retry:' }) do
            local first = call('ZRANGE', key(from .. queue), 0, 0, 'WITHSCORES')
            if first[2] then
                may_be_due_in(tonumber(first[2]) - now)
            end
        end
    end
end

if count > 0 then
    stamp()
    write_all('HSET', 'leases', leases)
    write_all('ZADD', 'lapses', lapses)
    commit()
end
return { now, next_due, next_stamp, ids, records }
