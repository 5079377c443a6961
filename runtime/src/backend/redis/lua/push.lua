-- Stores jobs, all or none.
--
-- ARGV[2]: the batch, [3]: how many kinds of jobs there are, most often one. Then for each kind: due, expires or nothing,
-- and how its records' tails begin, up to the queue. Then for each job: id, the number of its kind, unique key or
-- nothing, the rest of its record.
-- Answers the refusals of a batch that was seen before; else for each job `s` (stored), `r` (it was there), or the id
-- of the job that has its unique key.
-- Keys: batch:BATCH, ids, unique; jobs, ready:QUEUE, later:QUEUE, expiring, queues, stamp.
local batch = key('batch:' .. ARGV[2])
local seen = call('GET', batch)
if seen then
    return seen
end

-- What the jobs of a kind have in common, so that little is left to do for each of them.
local function kind_of(due, expires, beginning)
    due, expires = moment(due), expires == '' and 0 or moment(expires)
    local head = head_of(due, expires) .. beginning
    local queue = queue_of(head)
    return {
        head = head,
        turn = turn_of(head, ''),
        score = due <= now and '0' or string.format('%.0f', due),
        waits_in = due <= now and 'ready:' .. queue or later_of(head),
        expires = expires ~= 0 and string.format('%.0f', expires),
        queue = queue,
    }
end

local kinds = {}
local at = 4
for number = 1, tonumber(ARGV[3]) do
    kinds[number] = kind_of(ARGV[at], ARGV[at + 1], ARGV[at + 2])
    at = at + 3
end

local ids, count = {}, 0
for place = at, #ARGV, 4 do
    count = count + 1
    ids[count] = ARGV[place]
end
local present = gather('ZMSCORE', 'ids', ids)

local answers, refused = {}, {}
local records, all, written_to = {}, {}, {}
local stored = 0
for index = 1, count do
    local id, unique = ids[index], ARGV[at + 2]
    local holder = unique ~= '' and holder_of(unique)
    if present[index] then
        answers[index] = 'r'
    elseif holder then
        answers[index] = holder
        refused[#refused + 1] = pack('>I4', index - 1) .. holder
    else
        answers[index] = 's'
        take_unique(unique, id)
        local kind = kinds[tonumber(ARGV[at + 1])]
        local turns = written_to[kind]
        if not turns then
            turns = written('ZADD', kind.waits_in)
            written_to[kind] = turns
            write('SADD', 'queues', kind.queue)
            tell_queue(kind.queue)
        end
        turns[#turns + 1] = kind.score
        turns[#turns + 1] = kind.turn .. id
        if kind.expires then
            write('ZADD', 'expiring', kind.expires, id)
        end
        records[stored + 1], records[stored + 2] = id, kind.head .. ARGV[at + 3]
        all[stored + 1], all[stored + 2] = '0', id
        stored = stored + 2
    end
    at = at + 4
end
if stored > 0 then
    write_all('HSET', 'jobs', records)
    write_all('ZADD', 'ids', all)
end
commit()
call('SET', batch, table.concat(refused), 'PX', 3600000)
return answers
