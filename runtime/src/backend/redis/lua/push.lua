-- Stores jobs, all or none.
--
-- ARGV[2]: the batch, [3]: how many kinds of jobs there are, most often one, [4]: how many jobs that have a unique key
-- are to be changed. Then for each kind: due, expires or nothing, and how its records' tails begin, up to the queue and
-- the place.
-- Then for each job to be changed: id, the version that it must have, due, expires or nothing, the record's tail.
-- Then for each job: id, the number of its kind, unique key or nothing, what must become of it or nothing, the rest of
-- its record.
-- Answers the refusals of a batch that was seen before; 0 if not all is as it must be, and nothing is stored; else for
-- each job `s` (stored), `r` (it was there), `c` (refused) or `p` (replaced) with the id of the job that has its key.
-- Keys: batch:BATCH, ids, unique, leases; jobs, ready:QUEUE, overdue:QUEUE, later:QUEUE, retry:QUEUE, aside:QUEUE/TASK,
-- lane:LANE, line:QUEUE, expiring, queues, windows, unstarted, stamp.
local batch = key('batch:' .. ARGV[2])
local seen = call('GET', batch)
if seen then
    return seen
end

-- What the jobs of a kind have in common, so that little is left to do for each of them.
local function kind_of(due, expires, beginning)
    due, expires = moment(due), expires == '' and 0 or moment(expires)
    local head = head_of(due, expires) .. beginning
    local queue, place = queue_of(head), place_of(head)
    local lane = place ~= '' and due <= now and lane_of(place)
    return {
        head = head,
        turn = turn_of(head, ''),
        rest_of_turn = due > now and place or '',
        score = due <= now and '0' or string.format('%.0f', due),
        waits_in = due > now and later_of(head) or lane and 'lane:' .. lane or 'ready:' .. queue,
        expires = expires ~= 0 and string.format('%.0f', expires),
        queue = queue,
        lane = lane,
    }
end

local kinds = {}
local at = 5
for number = 1, tonumber(ARGV[3]) do
    kinds[tostring(number)] = kind_of(ARGV[at], ARGV[at + 1], ARGV[at + 2])
    at = at + 3
end

local function expires_at(place)
    return ARGV[place] == '' and 0 or moment(ARGV[place])
end

for _ = 1, tonumber(ARGV[4]) do
    local id = ARGV[at]
    local record = call('HGET', key('jobs'), id)
    if not record or version_of(record) ~= ARGV[at + 1] or call('HEXISTS', key('leases'), id) == 1 then
        return 0
    end
    lift(id, record)
    lay_waiting(id, moment(ARGV[at + 2]), expires_at(at + 3), ARGV[at + 4])
    at = at + 5
end

local ids, count = {}, 0
for place = at, #ARGV, 5 do
    count = count + 1
    ids[count] = ARGV[place]
end
local present = gather('ZMSCORE', 'ids', ids)

local answers, others = {}, {}
local records, all, written_to = {}, {}, {}
local stored = 0
for index = 1, count do
    local id, unique, must = ids[index], ARGV[at + 2], ARGV[at + 3]
    local holder = unique ~= '' and holder_of(unique)
    if present[index] then
        answers[index] = 'r'
    elseif holder then
        local is_replaced = must == 'p' .. holder
        answers[index] = (is_replaced and 'p' or 'c') .. holder
        others[#others + 1] = pack('>I4', index - 1 + (is_replaced and 2147483648 or 0)) .. holder
    else
        answers[index] = 's'
        take_unique(unique, id)
        local kind = kinds[ARGV[at + 1]]
        local turns = written_to[kind]
        if not turns then
            turns = written('ZADD', kind.waits_in)
            written_to[kind] = turns
            write('SADD', 'queues', kind.queue)
            tell_queue(kind.queue)
            if kind.lane then
                put_in_line(kind.queue, kind.lane)
            end
        end
        local turn, last = kind.turn .. id .. kind.rest_of_turn, #turns
        turns[last + 1], turns[last + 2] = kind.score, turn
        if kind.expires then
            write('ZADD', 'expiring', kind.expires, id)
        end
        records[stored + 1], records[stored + 2] = id, kind.head .. ARGV[at + 4]
        all[stored + 1], all[stored + 2] = '0', id
        stored = stored + 2
    end
    if must ~= '' and answers[index] ~= must then
        return 0
    end
    at = at + 5
end
if stored > 0 then
    append_all('HSET', 'jobs', records)
    write_all('ZADD', 'ids', all)
end
commit()
call('SET', batch, table.concat(others), 'PX', 3600000)
return answers
