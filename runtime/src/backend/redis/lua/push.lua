-- Stores jobs, all or none.
--
-- ARGV[2]: the batch. Then for each job: id, due, expires or nothing, unique key or nothing, the record's tail.
-- Answers the refusals of a batch that was seen before; else for each job `s` (stored), `r` (it was there), or the id
-- of the job that has its unique key.
-- Keys: batch:BATCH, ids, unique; jobs, ready:QUEUE, later:QUEUE, expiring, queues, stamp.
local batch = key('batch:' .. ARGV[2])
local seen = call('GET', batch)
if seen then
    return seen
end

local ids = {}
for at = 3, #ARGV, 5 do
    ids[#ids + 1] = ARGV[at]
end
local present = gather('ZMSCORE', 'ids', ids)

local answers, refused = {}, {}
for index, id in ipairs(ids) do
    local at = 5 * index - 2
    local unique = ARGV[at + 3]
    local holder = holder_of(unique)
    if present[index] then
        answers[index] = 'r'
    elseif holder then
        answers[index] = holder
        refused[#refused + 1] = pack('>I4', index - 1) .. holder
    else
        answers[index] = 's'
        take_unique(unique, id)
        local expires = ARGV[at + 2]
        lay_waiting(id, moment(ARGV[at + 1]), expires == '' and 0 or moment(expires), ARGV[at + 4])
        write('ZADD', 'ids', 0, id)
    end
end
commit()
call('SET', batch, table.concat(refused), 'PX', 3600000)
return answers
