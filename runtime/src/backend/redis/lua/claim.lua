-- Hands out jobs that are due, each under a lease.
--
-- ARGV[2]: the worker, [3]: how long a lease lives, [4]: the most jobs of all, [5]: how much waiting a level of
-- priority is worth, or nothing where priorities are strict, [6]: how many tasks the worker does not know, then their
-- names. Then for each queue: its name, the most jobs of it.
-- Answers the present, how long until there may be more (-1: nobody knows of any), the leases' token,
-- and the jobs' ids and records.
-- Keys: paused, ready:QUEUE, later:QUEUE, retry:QUEUE, overdue:QUEUE, aside:QUEUE, aside:QUEUE/TASK, jobs; leases,
-- lapses, running, expiring, unique, unstarted, stamp. Where there are limits: limited, limits, line:QUEUE, lane:LANE,
-- limited:QUEUE; holds, limit-keys, limit-ends, waits:KEY.
--
-- What is due is popped at once, which also lets this run on a server whose memory is full.
local worker, ttl, limit = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local aging = tonumber(ARGV[5])
local unknown, queues_from = unknown_from(6)

-- The most jobs that become due in one call, and the most that one call looks at in a queue.
local MOVED, LOOKED = 2000, 5000
-- How many lanes are looked at together and how often, and how often a claim goes through them: `policy/limits.rs`.
local MOST_LANES, MOST_LOOKS, MOST_ROUNDS = 64, 4, 3

local limited = { key('limited'), key('limits') }
for at = queues_from, #ARGV, 2 do
    limited[#limited + 1] = key('line:' .. ARGV[at])
end
local counts = call('EXISTS', unpack(limited)) > 0 and counting()
local NOTHING = {}

local next_due = -1
local function may_be_due_in(wait)
    if next_due < 0 or wait < next_due then
        next_due = math.max(wait, 0)
    end
end

-- What is popped is gone from its queue, so nothing after that may be refused.
read_stamp()
for name, type in pairs({
    leases = 'hash', lapses = 'zset', expiring = 'zset', running = 'hash', jobs = 'hash',
    unique = 'hash', unstarted = 'hash',
}) do
    must_be(type, name)
end
if counts then
    for _, name in ipairs({ 'limited', 'limits', 'holds' }) do
        must_be('hash', name)
    end
    must_be('zset', 'limit-keys')
    must_be('zset', 'limit-ends')
end

local ids, records, count = {}, {}, 0
local leases, lapses = {}, {}
local lapse = string.format('%.0f', now + ttl)

-- The lanes in which jobs wait once they are due; nothing for those without limits.
local function lanes_of(turns)
    local ids = {}
    for index, turn in ipairs(turns) do
        ids[index] = turn:sub(11)
    end
    local lanes = {}
    for index, place in ipairs(counts and gather('HMGET', 'limited', ids) or {}) do
        lanes[index] = place and lane_of(place)
        if place then
            must_be('zset', 'lane:' .. lanes[index])
        end
    end
    return lanes
end

-- Puts due jobs where they are claimed from.
local function make_ready(queue, turns, lanes)
    local entries = {}
    for index, turn in ipairs(turns) do
        if lanes[index] then
            call('ZADD', key('lane:' .. lanes[index]), '0', turn)
            call('ZADD', key('limited:' .. queue), '0', turn)
            call('ZADD', key('line:' .. queue), 'NX', now, lanes[index])
        else
            entries[#entries + 1] = '0'
            entries[#entries + 1] = turn
        end
    end
    if #entries > 0 then
        call('ZADD', key('ready:' .. queue), unpack(entries))
    end
end

local function move_what_is_due(queue)
    for _, from in ipairs({ 'later:', 'retry:' }) do
        local due = call('ZRANGEBYSCORE', key(from .. queue), '-inf', now, 'LIMIT', 0, MOVED)
        if #due > 0 then
            local lanes = lanes_of(due)
            call('ZREM', key(from .. queue), unpack(due))
            make_ready(queue, due, lanes)
        end
    end
end

-- The turns that go first where priorities age: the first of each priority, merged (`policy/order.rs`). Such turns lie in
-- the order of their bytes, two of which are the priority. Doubles are exact here, since a level is worth a day at most.
local function first_by_age(name, most)
    local heads, next_level = {}, '-'
    while next_level do
        local first = call('ZRANGEBYLEX', name, next_level, '+', 'LIMIT', 0, 1)[1]
        if not first then
            break
        end
        local level = read('>I2', first, 1)
        next_level = level < 65535 and '[' .. pack('>I2', level + 1) or nil
        local last = next_level and '(' .. next_level:sub(2) or '+'
        for _, turn in ipairs(call('ZRANGEBYLEX', name, '[' .. first, last, 'LIMIT', 0, most)) do
            heads[#heads + 1] = { turn = turn, age = read('>i8', turn, 3) + level * aging, id = turn:sub(11) }
        end
    end
    table.sort(heads, function(a, b)
        return a.age < b.age or a.age == b.age and a.id < b.id
    end)
    local turns = {}
    for index = 1, math.min(most, #heads) do
        turns[index] = heads[index].turn
    end
    return turns
end

-- The turns that go first.
local function first_turns(name, most)
    if most < 1 then
        return {}
    end
    return aging and first_by_age(name, most) or call('ZRANGE', name, 0, most - 1)
end

-- What this worker does not know is set aside, once for all who don't know it either. Who knows it puts back as many as
-- may be the next ones, so that a claim costs the same however many lie there.
local function put_back(queue, room)
    for _, task in ipairs(call('SMEMBERS', key('aside:' .. queue))) do
        if not unknown[task] then
            local aside = key('aside:' .. queue .. '/' .. task)
            local turns = first_turns(aside, room)
            if #turns > 0 then
                local lanes = lanes_of(turns)
                call('ZREM', aside, unpack(turns))
                make_ready(queue, turns, lanes)
            end
            if call('EXISTS', aside) == 1 then
                may_be_due_in(0)
            else
                call('SREM', key('aside:' .. queue), task)
            end
        end
    end
end

-- Whether the job of a turn can run. If not, it is put where it waits: it has expired, a clock that was turned back made
-- it early, or the worker does not know its task. One that is gone or has ended waits nowhere.
local function can_run(queue, turn, record)
    if not record or is_finished(record) then
        if counts then
            write('HDEL', 'limited', turn:sub(11))
        end
        return false
    end
    local due, expires = read('>i8', turn, 3), expires_of(record)
    if due > now then
        call('ZADD', key(later_of(record)), due, turn)
        return false
    end
    if expires ~= 0 and expires <= now then
        -- The reaper ends it.
        call('ZADD', key('overdue:' .. queue), '0', turn)
        return false
    end
    local task = next(unknown) and task_of(record)
    if task and unknown[task] then
        call('ZADD', key('aside:' .. queue .. '/' .. task), '0', turn)
        call('SADD', key('aside:' .. queue), task)
        return false
    end
    return true
end

-- Leases a job that asks for these limits, and for that of its queue, if it has one.
local function give(queue, id, record, wanted, weights)
    if expires_of(record) ~= 0 then
        write('ZREM', 'expiring', id)
    end
    ids[count + 1], records[count + 1] = id, record
    leases[2 * count + 1], leases[2 * count + 2] = id, queue.lease
    lapses[2 * count + 1], lapses[2 * count + 2] = lapse, id
    count = count + 1
    local holds = {}
    for index, want in ipairs(wanted) do
        local weight = weights[index] or 1
        counts.start(want.key, want.allowance, weight)
        holds[#holds + 1], holds[#holds + 2] = want.key, weight
    end
    if queue.limit then
        counts.start(queue.limit, NOTHING, 1)
        holds[#holds + 1], holds[#holds + 2] = queue.limit, 1
    end
    if #holds > 0 then
        write('HSET', 'holds', id, cmsgpack.pack(holds))
    end
end

-- Takes the next turns out of a key; tells them, and their jobs' ids and records.
local function pop(name, most)
    local turns, found = {}, {}
    if aging then
        turns = first_by_age(key(name), most)
        if #turns > 0 then
            call('ZREM', key(name), unpack(turns))
        end
    else
        local popped = call('ZPOPMIN', key(name), most)
        for at = 1, #popped, 2 do
            turns[#turns + 1] = popped[at]
        end
    end
    for index, turn in ipairs(turns) do
        found[index] = turn:sub(11)
    end
    return turns, found, gather('HMGET', 'jobs', found)
end

-- Leases jobs without limits; tells how many.
local function take_free(queue, room)
    local taken = 0
    while taken < room and queue.looked < LOOKED do
        local turns, found, read_records = pop('ready:' .. queue.name, room - taken)
        if #turns == 0 then
            break
        end
        for index, record in ipairs(read_records) do
            if can_run(queue.name, turns[index], record) then
                give(queue, found[index], record, NOTHING, NOTHING)
                taken = taken + 1
            end
        end
        queue.looked = queue.looked + #turns
    end
    return taken
end

local take_in_turns
if counts then
    local function weights_of(place)
        local weights = {}
        for index = 1, place and place:byte(1) or 0 do
            weights[index] = #place >= 4 * index + 1 and math.max(read('>I4', place, 4 * index - 2), 1) or 1
        end
        return weights
    end

    -- How many jobs each lane may take, in turns of one job, as far as its limits have room.
    local function shares_of(lanes, room)
        local shares, taken, open = {}, {}, {}
        for index, lane in ipairs(lanes) do
            shares[index] = 0
            if not lane.is_over then
                open[#open + 1] = index
                for _, want in ipairs(lane.wanted) do
                    want.room = counts.room_of(want.key, want.allowance)
                end
            end
        end
        while room > 0 and #open > 0 do
            local still_open = {}
            for _, index in ipairs(open) do
                local fits = room > 0
                for _, want in ipairs(lanes[index].wanted) do
                    fits = fits and (taken[want.key] or 0) < want.room
                end
                if fits then
                    for _, want in ipairs(lanes[index].wanted) do
                        taken[want.key] = (taken[want.key] or 0) + 1
                    end
                    shares[index] = shares[index] + 1
                    room = room - 1
                    still_open[#still_open + 1] = index
                end
            end
            open = still_open
        end
        return shares
    end

    -- Leases at most so many jobs of a lane, until one of them does not fit.
    local function take_from_lane(queue, lane, share)
        local before = lane.taken
        while lane.taken - before < share and not lane.is_over and queue.looked < LOOKED do
            local turns, found, read_records = pop('lane:' .. lane.name, share - (lane.taken - before))
            if #turns == 0 then
                lane.is_over = true
                break
            end
            call('ZREM', key('limited:' .. queue.name), unpack(turns))
            local places, back = gather('HMGET', 'limited', found), {}
            for index, record in ipairs(read_records) do
                if lane.is_over then
                    back[#back + 1] = turns[index]
                elseif can_run(queue.name, turns[index], record) then
                    local weights = weights_of(places[index])
                    lane.waits, lane.wait = counts.first_refusal(lane.wanted, weights)
                    if lane.waits then
                        lane.is_over = true
                        back[#back + 1] = turns[index]
                    else
                        give(queue, found[index], record, lane.wanted, weights)
                        write('HDEL', 'limited', found[index])
                        lane.taken = lane.taken + 1
                    end
                end
            end
            for _, turn in ipairs(back) do
                call('ZADD', key('lane:' .. lane.name), '0', turn)
                call('ZADD', key('limited:' .. queue.name), '0', turn)
            end
            queue.looked = queue.looked + #turns
        end
    end

    -- Puts a lane where it stands in line from now on.
    local function end_turn(queue, lane)
        local line = key('line:' .. queue.name)
        if call('EXISTS', key('lane:' .. lane.name)) == 0 then
            call('ZREM', line, lane.name)
            return
        end
        if not lane.waits then
            lane.waits, lane.wait = counts.first_refusal(lane.wanted, NOTHING)
        end
        if not lane.waits and lane.taken == 0 then
            return
        end
        local turn = now + math.min(lane.wait or 0, counts.RECHECK)
        call('ZREM', line, lane.name)
        call('ZADD', line, turn, lane.name)
        if lane.waits then
            -- Whoever frees a slot brings back first who was not served for the longest time.
            counts.wait_for(lane.waits, lane.name, lane.taken > 0 and now or lane.turn)
        end
    end

    -- The lanes whose turn it is, the first before the others. One that can't be read is out of the way for a while.
    local function lanes_in_turn(queue, most)
        local line, lanes = key('line:' .. queue.name), {}
        local found = call('ZRANGEBYSCORE', line, '-inf', now, 'WITHSCORES', 'LIMIT', 0, most)
        for at = 1, #found, 2 do
            local name = found[at]
            local of_queue, wanted = counts.lane_read(name)
            if of_queue == queue.name and is('zset', 'lane:' .. name) then
                lanes[#lanes + 1] = { name = name, turn = found[at + 1], wanted = wanted, taken = 0 }
            else
                call('ZREM', line, name)
                call('ZADD', line, now + counts.RECHECK, name)
            end
        end
        return lanes, #found / 2
    end

    -- Leases jobs of lanes in turns; tells how many. Looks at `most` lanes at first.
    function take_in_turns(queue, room, most)
        local before = count
        for _ = 1, MOST_LOOKS do
            local left = room - (count - before)
            if left <= 0 then
                break
            end
            local lanes, found = lanes_in_turn(queue, most)
            for _ = 1, MOST_ROUNDS do
                for index, share in ipairs(shares_of(lanes, room - (count - before))) do
                    if share > 0 then
                        take_from_lane(queue, lanes[index], share)
                    end
                end
            end
            for _, lane in ipairs(lanes) do
                end_turn(queue, lane)
            end
            if found < most then
                break
            end
            most = math.min(math.max(room - (count - before), 8), MOST_LANES)
        end
        return count - before
    end
end

local function claim_from(queue, room)
    local most = room
    if counts then
        local of_queue = 'queue:' .. queue.name
        if counts.is_set(of_queue) then
            queue.limit = of_queue
            most = math.min(room, counts.room_of(of_queue, NOTHING))
        end
    end
    local before = count
    local first = counts and call('ZRANGE', key('line:' .. queue.name), 0, 0, 'WITHSCORES')[2]
    if first and tonumber(first) <= now then
        -- Half is for lanes; the odd one goes to either, by the moment. What one side leaves the other takes.
        local for_lanes = math.floor(most / 2) + (now % 2 == 0 and most % 2 or 0)
        local free = take_free(queue, most - for_lanes)
        local in_turns = take_in_turns(queue, most - free, math.min(math.max(most, 8), MOST_LANES))
        if free == most - for_lanes then
            take_free(queue, most - free - in_turns)
        end
    else
        take_free(queue, most)
    end
    if count > before then
        call('HINCRBY', key('running'), queue.name, count - before)
    end
end

-- Notes when a queue may have a job for the next claim.
local function look_ahead(queue)
    if queue.limit then
        local wait, by_time = counts.refusal(queue.limit, NOTHING, 1)
        if wait then
            if by_time then
                may_be_due_in(wait)
            end
            return
        end
    end
    if call('EXISTS', key('ready:' .. queue.name)) == 1 then
        may_be_due_in(0)
    end
    for _, from in ipairs(counts and { 'later:', 'retry:', 'line:' } or { 'later:', 'retry:' }) do
        local first = call('ZRANGE', key(from .. queue.name), 0, 0, 'WITHSCORES')
        if first[2] then
            may_be_due_in(tonumber(first[2]) - now)
        end
    end
end

local open = {}
for at = queues_from, #ARGV, 2 do
    local queue = ARGV[at]
    if call('SISMEMBER', key('paused'), queue) == 0 then
        for _, name in ipairs({ 'ready:', 'later:', 'retry:', 'overdue:' }) do
            must_be('zset', name .. queue)
        end
        if counts then
            must_be('zset', 'limited:' .. queue)
            must_be('zset', 'line:' .. queue)
        end
        must_be('set', 'aside:' .. queue)
        for _, task in ipairs(call('SMEMBERS', key('aside:' .. queue))) do
            must_be('zset', 'aside:' .. queue .. '/' .. task)
        end
        for task in pairs(unknown) do
            must_be('zset', 'aside:' .. queue .. '/' .. task)
        end
        local wish = math.min(tonumber(ARGV[at + 1]), limit)
        move_what_is_due(queue)
        put_back(queue, wish)
        -- One lease for all jobs of the queue: it belongs to its job, and is told from the others of that by its token.
        local lease = pack('>i8', next_stamp) .. worker .. pack('>i8', now) .. queue
        open[#open + 1] = { name = queue, wish = wish, lease = lease, looked = 0 }
    end
end
for _, queue in ipairs(open) do
    claim_from(queue, math.min(queue.wish, limit - count))
    look_ahead(queue)
end

if count > 0 then
    stamp()
    free_started(ids)
    write_all('HSET', 'leases', leases)
    write_all('ZADD', 'lapses', lapses)
end
if counts then
    counts.close()
end
if count > 0 or counts then
    commit()
end
return { now, next_due, next_stamp, ids, records }
