-- Hands out jobs that are due, each under a lease.
--
-- ARGV[2]: the worker, [3]: how long a lease lives, [4]: the most jobs of all, [5]: how much waiting a level of
-- priority is worth, or nothing where priorities are strict, [6]: how many tasks the worker does not know, then their
-- names. Then for each queue: its name, the most jobs of it.
-- Answers the present, how long until there may be more (-1: nobody knows of any), the leases' token,
-- and the jobs' ids and records.
-- Keys: paused, ready:QUEUE, later:QUEUE, retry:QUEUE, overdue:QUEUE, aside:QUEUE, aside:QUEUE/TASK, jobs; leases,
-- lapses, running, expiring, unique, unstarted, stamp. Where there are limits: limit:NAME, line:QUEUE, lane:LANE,
-- limited:QUEUE (of earlier versions); limit-keys, limit-ends, waits:KEY.
--
-- What is due is popped at once, which also lets this run on a server whose memory is full.
local worker, ttl, limit = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local aging = tonumber(ARGV[5])
local unknown, queues_from = unknown_from(6)

-- The most jobs that become due in one call, and the most that one call looks at in a queue.
local MOVED, LOOKED = 2000, 5000
-- How many lanes are looked at together at the most, and at first by a claim of more jobs; how often, and how often a
-- claim goes through them: `policy/limits.rs`.
local MOST_LANES, FEW_LANES, MOST_LOOKS, MOST_ROUNDS = 64, 16, 4, 3

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

-- Made where there are limits.
local counts = false
local function meet_limits()
    if not counts then
        must_be('zset', 'limit-keys')
        must_be('zset', 'limit-ends')
        counts = counting()
    end
end

local limited = { key('limit-keys') }
for at = queues_from, #ARGV, 2 do
    limited[#limited + 1] = key('line:' .. ARGV[at])
end
if call('EXISTS', unpack(limited)) > 0 then
    meet_limits()
end

local ids, records, count = {}, {}, 0
local leases, lapses = {}, {}
local lapse = string.format('%.0f', now + ttl)

-- Puts due jobs where they are claimed from.
local function make_ready(queue, turns)
    local entries = {}
    for _, turn in ipairs(turns) do
        if #turn > 26 then
            local lane = lane_of(turn:sub(27))
            turn = turn:sub(1, 26)
            call('ZADD', key('lane:' .. lane), '0', turn)
            call('ZADD', key('line:' .. queue), 'NX', now, lane)
        else
            entries[#entries + 1] = '0'
            entries[#entries + 1] = turn
        end
    end
    if #entries > 0 then
        call('ZADD', key('ready:' .. queue), unpack(entries))
    end
end

-- Takes turns out of where they wait apart, and puts them where they are claimed from.
local function release(queue, from, turns)
    for _, turn in ipairs(turns) do
        if #turn > 26 then
            meet_limits()
            must_be('zset', 'lane:' .. lane_of(turn:sub(27)))
            must_be('zset', 'line:' .. queue)
        end
    end
    if #turns > 0 then
        call('ZREM', from, unpack(turns))
        make_ready(queue, turns)
    end
end

local function move_what_is_due(queue)
    for _, name in ipairs({ 'later:', 'retry:' }) do
        local from = key(name .. queue)
        release(queue, from, call('ZRANGEBYSCORE', from, '-inf', now, 'LIMIT', 0, MOVED))
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
            release(queue, aside, first_turns(aside, room))
            if call('EXISTS', aside) == 1 then
                may_be_due_in(0)
            else
                call('SREM', key('aside:' .. queue), task)
            end
        end
    end
end

-- When the job of a turn expires (0: never), if it can run. If not, it is put where it waits: it has expired, a clock that
-- was turned back made it early, or the worker does not know its task. One that is gone or has ended waits nowhere.
--
-- This is asked of each job, so it reads all at once: a call costs more than what it reads.
local function can_run(queue, turn, record)
    if not record then
        return nil
    end
    local due, expires, letter
    if #record > 37 and byte(record) == 1 then
        due, expires, letter = read('>i8i8c1', record, 18)
    else
        due, expires, letter = read('>i8', turn, 3), 0, letter_of(record)
    end
    if letter == 'c' or letter == 'd' or letter == 'x' or letter == 'e' then
        return nil
    end
    if due > now then
        call('ZADD', key(later_of(record)), due, turn .. place_of(record))
        return nil
    end
    if expires ~= 0 and expires <= now then
        -- The reaper ends it.
        call('ZADD', key('overdue:' .. queue), '0', turn)
        return nil
    end
    local task = next(unknown) and task_of(record)
    if task and unknown[task] then
        call('ZADD', key('aside:' .. queue .. '/' .. task), '0', turn .. place_of(record))
        call('SADD', key('aside:' .. queue), task)
        return nil
    end
    return expires
end

-- A lease of a job that counts against these limits, and that of its queue, if it is given.
local function lease_of(queue, wanted, weights, of_queue)
    local holds = ''
    for index, want in ipairs(wanted) do
        holds = holds .. hold_of(want.key, weights[index] or 1)
    end
    if of_queue then
        holds = holds .. hold_of(of_queue, 1)
    end
    return holds == '' and queue.lease or queue.lease .. '\0' .. holds
end

-- Leases a job that expires then.
local function give(id, record, lease, expires)
    if expires ~= 0 then
        write('ZREM', 'expiring', id)
    end
    ids[count + 1], records[count + 1] = id, record
    leases[2 * count + 1], leases[2 * count + 2] = id, lease
    lapses[2 * count + 1], lapses[2 * count + 2] = lapse, id
    count = count + 1
end

-- Counts so many leased jobs of one weight for each limit, against their limits and that of their queue, if it is given.
local function count_in(wanted, weights, of_queue, jobs)
    if jobs == 0 then
        return
    end
    for index, want in ipairs(wanted) do
        counts.start(want.key, want.allowance, (weights[index] or 1) * jobs)
    end
    if of_queue then
        counts.start(of_queue, NOTHING, jobs)
    end
end

-- Takes the next turns out of a key, and adds them to a list. What lies side by side is read and then taken at once, which
-- costs less than `ZPOPMIN`: that takes one after the other, and writes a score for each.
local function pop(name, most, turns)
    local first = first_turns(key(name), most)
    if #first == 0 then
        return
    end
    if aging then
        call('ZREM', key(name), unpack(first))
    else
        call('ZREMRANGEBYRANK', key(name), 0, #first - 1)
    end
    local before = #turns
    for index = 1, #first do
        turns[before + index] = first[index]
    end
end

-- The ids, which stand behind priority and due time, and the records of the jobs that have these turns.
local function jobs_of(turns)
    local found = {}
    for index, turn in ipairs(turns) do
        found[index] = sub(turn, 11, 26)
    end
    return found, gather('HMGET', 'jobs', found)
end

-- Leases jobs without limits; tells how many.
local function take_free(queue, room)
    local taken, lease = 0, lease_of(queue, NOTHING, NOTHING, queue.limit)
    room = queue.limit and math.min(room, counts.room_of(queue.limit, NOTHING)) or room
    while taken < room and queue.looked < LOOKED do
        local turns = {}
        pop('ready:' .. queue.name, room - taken, turns)
        if #turns == 0 then
            break
        end
        local found, read_records = jobs_of(turns)
        for index, record in ipairs(read_records) do
            local expires = can_run(queue.name, turns[index], record)
            if expires then
                give(found[index], record, lease, expires)
                taken = taken + 1
            end
        end
        queue.looked = queue.looked + #turns
    end
    count_in(NOTHING, NOTHING, queue.limit, taken)
    return taken
end

-- How many jobs each lane may take, in turns of one job, as far as its limits have room.
local function shares_of(lanes, room)
    local shares, taken, open = {}, {}, {}
    for index, lane in ipairs(lanes) do
        shares[index] = 0
        if not lane.is_over then
            open[#open + 1] = index
            for _, want in ipairs(lane.wanted) do
                want.room, taken[want.key] = counts.room_of(want.key, want.allowance), 0
            end
        end
    end
    while room > 0 and #open > 0 do
        -- So many turns go at once, since there is room for them in all lanes.
        local users, turns, still_open = {}, math.floor(room / #open), {}
        for _, index in ipairs(open) do
            for _, want in ipairs(lanes[index].wanted) do
                users[want.key] = (users[want.key] or 0) + 1
            end
        end
        for _, index in ipairs(open) do
            for _, want in ipairs(lanes[index].wanted) do
                turns = math.min(turns, math.floor((want.room - taken[want.key]) / users[want.key]))
            end
        end
        turns = math.max(turns, 1)
        for _, index in ipairs(open) do
            local fits = room > 0
            for _, want in ipairs(lanes[index].wanted) do
                fits = fits and taken[want.key] < want.room
            end
            if fits then
                for _, want in ipairs(lanes[index].wanted) do
                    taken[want.key] = taken[want.key] + turns
                end
                shares[index] = shares[index] + turns
                room = room - turns
                still_open[#still_open + 1] = index
            end
        end
        open = still_open
    end
    return shares
end

-- Leases these jobs of a lane, until one of them does not fit; tells how many, and whether one did not fit into the queue.
-- Turns of what can't be leased now go back.
local function lease_from_lane(queue, lane, turns, found, read_records, from, to)
    -- Most jobs weigh 1, and so many of those fit. What was taken of them is counted at the end, and before a job of
    -- other weights is judged.
    local room, taken, uncounted, back = counts.room_of_all(lane.wanted, lane.of_queue), 0, 0, {}
    local queue_is_full = false
    lane.lease = lane.lease or lease_of(queue, lane.wanted, NOTHING, lane.of_queue)
    -- How many weights a record has stands first in its place.
    local weighed_at = 43 + #queue.name
    for index = from, to do
        local turn, record = turns[index], read_records[index]
        local is_late = lane.is_over or queue_is_full
        local expires = not is_late and can_run(queue.name, turn, record)
        if is_late then
            back[#back + 1] = turn
        elseif expires then
            local weights, lease = byte(record, weighed_at) ~= 0 and weights_of(record) or nil, lane.lease
            if weights or uncounted >= room then
                count_in(lane.wanted, NOTHING, lane.of_queue, uncounted)
                uncounted = 0
                lane.waits, lane.wait = counts.first_refusal(lane.wanted, weights or NOTHING)
                lane.is_over = lane.waits ~= nil
                -- Others of this claim may weigh more than 1 for it.
                queue_is_full = lane.of_queue and counts.room_of(lane.of_queue, NOTHING) == 0
            end
            if lane.is_over or queue_is_full then
                back[#back + 1] = turn
            else
                if weights then
                    lease = lease_of(queue, lane.wanted, weights, lane.of_queue)
                    count_in(lane.wanted, weights, lane.of_queue, 1)
                    room = counts.room_of_all(lane.wanted, lane.of_queue)
                else
                    uncounted = uncounted + 1
                end
                give(found[index], record, lease, expires)
                taken = taken + 1
            end
        end
    end
    count_in(lane.wanted, NOTHING, lane.of_queue, uncounted)
    for _, turn in ipairs(back) do
        call('ZADD', key('lane:' .. lane.name), '0', turn)
        lane.is_dry = false
    end
    lane.is_over = lane.is_over or lane.is_dry
    lane.taken = lane.taken + taken
    return taken, queue_is_full
end

-- Leases at most so many jobs of each lane.
local function take_from_lanes(queue, lanes, shares)
    repeat
        local turns, ends = {}, {}
        for index, lane in ipairs(lanes) do
            local share, before = shares[index] or 0, #turns
            if share > 0 then
                pop('lane:' .. lane.name, share, turns)
                lane.is_dry = #turns - before < share
            end
            ends[index] = #turns
        end
        local found, read_records = jobs_of(turns)
        for index, lane in ipairs(lanes) do
            local before = index > 1 and ends[index - 1] or 0
            if (shares[index] or 0) > 0 then
                local taken, queue_is_full =
                    lease_from_lane(queue, lane, turns, found, read_records, before + 1, ends[index])
                shares[index] = (lane.is_over or queue_is_full) and 0 or shares[index] - taken
            end
        end
        queue.looked = queue.looked + #turns
    until #turns == 0 or queue.looked >= LOOKED
end

-- Puts lanes where they stand in line from now on.
local function end_turns(queue, lanes)
    local gone, turns, left = {}, {}, {}
    for _, lane in ipairs(lanes) do
        if not lane.is_dry then
            left[#left + 1] = key('lane:' .. lane.name)
        end
    end
    local all_have_more = #left == 0 or call('EXISTS', unpack(left)) == #left
    for _, lane in ipairs(lanes) do
        if lane.is_dry or not all_have_more and call('EXISTS', key('lane:' .. lane.name)) == 0 then
            gone[#gone + 1] = lane.name
        else
            if not lane.waits then
                lane.waits, lane.wait = counts.first_refusal(lane.wanted, NOTHING)
            end
            if lane.waits or lane.taken > 0 then
                local wait = math.min(lane.wait or 0, counts.RECHECK)
                turns[#turns + 1] = wait > 0 and string.format('%.0f', now + wait) or now_as_text()
                turns[#turns + 1] = lane.name
            end
        end
    end
    local line = key('line:' .. queue.name)
    if #gone > 0 then
        call('ZREM', line, unpack(gone))
    end
    if #turns > 0 then
        call('ZADD', line, unpack(turns))
    end
    for _, lane in ipairs(lanes) do
        if lane.waits then
            -- Whoever frees a slot brings back first who was not served for the longest time.
            counts.wait_for(lane.waits, lane.name, lane.taken > 0 and now or lane.turn)
        end
    end
end

-- A lane that can't be served is out of the way for a while.
local function step_aside(line, lane)
    call('ZREM', line, lane)
    call('ZADD', line, now + counts.RECHECK, lane)
end

-- Those of these lanes whose limits can be read. A claim has begun to pop when it reads them, so it goes on without the
-- others, and is refused once it has written what it did, if it could lease nothing.
local refused
local function those_that_count(line, lanes, refusal)
    local left = {}
    refused = refusal
    for _, lane in ipairs(lanes) do
        local counts_all = true
        for _, want in ipairs(lane.wanted) do
            counts_all = counts_all and pcall(counts.load, { want.key })
        end
        if counts_all then
            left[#left + 1] = lane
        else
            step_aside(line, lane.name)
        end
    end
    return left
end

-- The lanes whose turn it is, the first before the others. One that can't be read is out of the way for a while.
local function lanes_in_turn(queue, most)
    local line, lanes, names = key('line:' .. queue.name), {}, {}
    local found = call('ZRANGEBYSCORE', line, '-inf', now, 'WITHSCORES', 'LIMIT', 0, most)
    for at = 1, #found, 2 do
        local name = found[at]
        local of_queue, wanted = counts.lane_read(name)
        if of_queue == queue.name and is('zset', 'lane:' .. name) then
            local lane = { name = name, turn = found[at + 1], wanted = wanted, of_queue = queue.limit, taken = 0 }
            lanes[#lanes + 1] = lane
            for _, want in ipairs(wanted) do
                names[#names + 1] = want.key
                if want.key == queue.limit then
                    -- A job counts once against a key.
                    lane.of_queue = nil
                end
            end
        else
            step_aside(line, name)
        end
    end
    local are_read, refusal = pcall(counts.load, names)
    return are_read and lanes or those_that_count(line, lanes, refusal), #found / 2
end

local function more_lanes_for(room)
    return math.min(math.max(room, 8), MOST_LANES)
end

-- Leases jobs of lanes in turns; tells how many. `whole` is the room of the queue's whole claim.
local function take_in_turns(queue, room, whole)
    local before, most = count, whole > MOST_LANES and FEW_LANES or more_lanes_for(whole)
    for _ = 1, MOST_LOOKS do
        local left = room - (count - before)
        if left <= 0 then
            break
        end
        local lanes, found = lanes_in_turn(queue, most)
        for _ = 1, MOST_ROUNDS do
            local left = room - (count - before)
            if left > 0 then
                take_from_lanes(queue, lanes, shares_of(lanes, left))
            end
        end
        end_turns(queue, lanes)
        if found < most then
            break
        end
        most = more_lanes_for(room - (count - before))
    end
    return count - before
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
        local in_turns = take_in_turns(queue, most - free, most)
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
            must_be('zset', 'line:' .. queue)
            counts.load({ 'queue:' .. queue })
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
    if counts then
        -- Earlier versions note there what waits in lanes, to count it; a worker of theirs counts too few then.
        call('UNLINK', key('limited:' .. queue.name))
    end
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
if refused and count == 0 then
    error(refused, 0)
end
return { now, next_due, next_stamp, ids, records }
