-- Hands out those of these jobs that wait, are due, have not expired, whose queue is not paused, whose task the worker
-- knows and that no limit counts, each under a lease.
--
-- ARGV[2]: the worker, [3]: how long a lease lives, [4]: how many tasks the worker does not know, then their names. Then
-- the jobs' ids.
-- Answers the present, the leases' token, and the jobs' ids and records.
-- Keys: jobs, leases, paused, limit:NAME, limit-keys; ready:QUEUE, overdue:QUEUE, later:QUEUE, retry:QUEUE, aside:QUEUE/TASK, expiring,
-- lapses, running, unique, unstarted, stamp.
local worker, ttl = ARGV[2], tonumber(ARGV[3])
local unknown, ids_from = unknown_from(4)

local asked = {}
for at = ids_from, #ARGV do
    asked[#asked + 1] = ARGV[at]
end
local found = gather('HMGET', 'jobs', asked)
local leases = gather('HMGET', 'leases', asked)
local counts = call('EXISTS', key('limit-keys')) == 1 and counting()

-- Whether jobs of a queue can't be handed out in this way.
local closed = {}
local function is_closed(queue)
    if closed[queue] == nil then
        local has_limit = counts and counts.is_set('queue:' .. queue)
        closed[queue] = has_limit or call('SISMEMBER', key('paused'), queue) == 1
    end
    return closed[queue]
end

-- A record that is damaged has no place by which it could be lifted out; a claim meets it in its queue.
local function can_run(record)
    if not record or #record <= 37 or record:byte(1) ~= 1 or is_finished(record) then
        return false
    end
    local due, expires = read('>i8', record, 18), expires_of(record)
    local task = task_of(record)
    local is_due = due <= now and (expires == 0 or expires > now)
    return is_due and place_of(record) == '' and not is_closed(queue_of(record)) and not (task and unknown[task])
end

must_be('hash', 'running')
local ids, records, taken, taken_of = {}, {}, {}, {}
for index, id in ipairs(asked) do
    local record = found[index]
    if not leases[index] and not taken[id] and can_run(record) then
        local queue = queue_of(record)
        taken[id] = true
        taken_of[queue] = (taken_of[queue] or 0) + 1
        ids[#ids + 1], records[#records + 1] = id, record
        lift(id, record)
        write('HSET', 'leases', id, pack('>i8', stamp()) .. worker .. pack('>i8', now) .. queue)
        write('ZADD', 'lapses', string.format('%.0f', now + ttl), id)
    end
end
free_started(ids)
commit()
for queue, count in pairs(taken_of) do
    call('HINCRBY', key('running'), queue, count)
end
return { now, next_stamp or 0, ids, records }
