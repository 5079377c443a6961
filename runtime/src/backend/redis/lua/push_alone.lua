-- Stores one job that has no unique key, no limits and no expiry, as most have none, in as few commands as that takes.
--
-- ARGV[2]: the batch, [3]: the job's id, [4]: its queue, [5]: due, [6]: the record's tail.
-- Answers as `push` does: the refusals of a batch that was seen before, else `s` (stored) or `r` (it was there).
-- Keys: batch:BATCH, ids, jobs, ready:QUEUE or later:QUEUE, queues, stamp.
local batch = key('batch:' .. ARGV[2])
local seen = call('GET', batch)
if seen then
    return seen
end
local id, queue, due = ARGV[3], ARGV[4], moment(ARGV[5])
local answer = 'r'
if not call('ZSCORE', key('ids'), id) then
    answer = 's'
    local is_due = due <= now
    local record = head_of(due, 0) .. ARGV[6]
    local waits_in = (is_due and 'ready:' or 'later:') .. queue
    must_be('hash', 'jobs')
    must_be('zset', waits_in)
    must_be('set', 'queues')
    call('HSET', key('jobs'), id, record)
    call('ZADD', key('ids'), '0', id)
    call('ZADD', key(waits_in), is_due and '0' or string.format('%.0f', due), turn_of(record, id))
    call('SADD', key('queues'), queue)
    call('SET', key('stamp'), string.format('%.0f', next_stamp))
    call('PUBLISH', key('news'), 'jobs ' .. queue)
end
call('SET', batch, '', 'PX', 3600000)
return { answer }
