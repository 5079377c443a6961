-- Counts what is in queues, and in some of their lanes.
--
-- From ARGV[2] on for each queue: its name, and where to go on among its lanes (0: at the first).
-- Answers for each whether it is paused, how many jobs are available, scheduled, to be retried, and running, since when
-- the oldest available one has been due (-1: there is none), and where to go on among its lanes (0: these were all). What
-- is in no lane is counted with the first lanes. A queue that holds nothing is forgotten.
-- Keys: paused, ready:QUEUE, overdue:QUEUE, aside:QUEUE, aside:QUEUE/TASK, later:QUEUE, retry:QUEUE, running; line:QUEUE,
-- lane:LANE; queues.

-- About how many lanes are counted at once.
local LANES = 500

-- The keys of a queue's jobs that are available already, but for those in lanes.
local function due_keys(queue)
    local names = { 'ready:' .. queue, 'overdue:' .. queue }
    for _, task in ipairs(call('SMEMBERS', key('aside:' .. queue))) do
        names[#names + 1] = 'aside:' .. queue .. '/' .. task
    end
    return names
end

-- Adds up the jobs in a key, and since when the first of them have been due.
local function count_in(name, sum)
    local jobs = call('ZCARD', key(name))
    if jobs == 0 then
        return
    end
    sum.available = sum.available + jobs
    -- The first turn of each priority is the oldest of it.
    local from = '-'
    for _ = 1, 1000 do
        local turn = call('ZRANGEBYLEX', key(name), from, '+', 'LIMIT', 0, 1)[1]
        if not turn or #turn < 10 then
            break
        end
        local due = read('>i8', turn, 3)
        sum.oldest = math.min(sum.oldest or due, due)
        local next_priority = read('>I2', turn, 1) + 1
        if next_priority > 65535 then
            break
        end
        from = '[' .. pack('>I2', next_priority)
    end
end

local after_now = '(' .. string.format('%.0f', now)
local answers = {}
for at = 2, #ARGV, 2 do
    local queue, first_lane = ARGV[at], ARGV[at + 1]
    local sum = { available = 0 }
    local next_lane, lanes = unpack(call('ZSCAN', key('line:' .. queue), first_lane, 'COUNT', LANES))
    for index = 1, #lanes, 2 do
        local lane = 'lane:' .. lanes[index]
        if is('zset', lane) then
            count_in(lane, sum)
        end
    end
    local scheduled, retried, running, paused = 0, 0, 0, call('SISMEMBER', key('paused'), queue)
    if first_lane == '0' then
        for _, name in ipairs(due_keys(queue)) do
            count_in(name, sum)
        end
        for _, name in ipairs({ 'later:', 'retry:' }) do
            sum.available = sum.available + call('ZCOUNT', key(name .. queue), '-inf', now)
            local due = call('ZRANGEBYSCORE', key(name .. queue), '-inf', now, 'WITHSCORES', 'LIMIT', 0, 1)[2]
            sum.oldest = due and math.min(sum.oldest or tonumber(due), tonumber(due)) or sum.oldest
        end
        scheduled = call('ZCOUNT', key('later:' .. queue), after_now, '+inf')
        retried = call('ZCOUNT', key('retry:' .. queue), after_now, '+inf')
        running = tonumber(call('HGET', key('running'), queue)) or 0
        if next_lane == '0' and paused + sum.available + scheduled + retried + running == 0 then
            write('SREM', 'queues', queue)
        end
    end
    answers[#answers + 1] = { paused, sum.available, scheduled, retried, running, sum.oldest or -1, next_lane }
end
commit()
return answers
