-- Counts what is in queues.
--
-- From ARGV[2] on: the queues' names.
-- Answers for each whether it is paused, how many jobs are available, scheduled, to be retried, and running, and since
-- when the oldest available one has been due (-1: there is none). A queue that holds nothing is forgotten.
-- Keys: paused, ready:QUEUE, limited:QUEUE, overdue:QUEUE, aside:QUEUE, aside:QUEUE/TASK, later:QUEUE, retry:QUEUE, running; queues.

-- The keys of a queue's jobs that are available already.
local function due_keys(queue)
    local names = { 'ready:' .. queue, 'limited:' .. queue, 'overdue:' .. queue }
    for _, task in ipairs(call('SMEMBERS', key('aside:' .. queue))) do
        names[#names + 1] = 'aside:' .. queue .. '/' .. task
    end
    return names
end

local function oldest(queue)
    local first
    local function look(due)
        if not first or due < first then
            first = due
        end
    end
    -- The first turn of each priority is the oldest of it.
    for _, name in ipairs(due_keys(queue)) do
        local from = '-'
        for _ = 1, 1000 do
            local turn = call('ZRANGEBYLEX', key(name), from, '+', 'LIMIT', 0, 1)[1]
            if not turn or #turn < 10 then
                break
            end
            look(read('>i8', turn, 3))
            local next_priority = read('>I2', turn, 1) + 1
            if next_priority > 65535 then
                break
            end
            from = '[' .. pack('>I2', next_priority)
        end
    end
    for _, name in ipairs({ 'later:', 'retry:' }) do
        local due = call('ZRANGEBYSCORE', key(name .. queue), '-inf', now, 'WITHSCORES', 'LIMIT', 0, 1)
        if due[2] then
            look(tonumber(due[2]))
        end
    end
    return first or -1
end

local after_now = '(' .. string.format('%.0f', now)
local answers = {}
for at = 2, #ARGV do
    local queue = ARGV[at]
    local later, retry = key('later:' .. queue), key('retry:' .. queue)
    local available = call('ZCOUNT', later, '-inf', now) + call('ZCOUNT', retry, '-inf', now)
    for _, name in ipairs(due_keys(queue)) do
        available = available + call('ZCARD', key(name))
    end
    local scheduled, retried = call('ZCOUNT', later, after_now, '+inf'), call('ZCOUNT', retry, after_now, '+inf')
    local running = tonumber(call('HGET', key('running'), queue)) or 0
    local paused = call('SISMEMBER', key('paused'), queue)
    if paused + available + scheduled + retried + running == 0 then
        write('SREM', 'queues', queue)
    end
    answers[#answers + 1] = { paused, available, scheduled, retried, running, available > 0 and oldest(queue) or -1 }
end
commit()
return answers
