-- Changes jobs that nobody holds, each only if it is as it was when it was read.
--
-- For each job: id, its record's version, kind, unique key that it takes or frees or nothing, and by kind
--   x (deleted): nothing more;
--   w (waits again): due, expires or nothing, the record's tail;
--   f (finished): due, expires or nothing, when it ends, the record's tail.
-- Answers for each 1 (done), 0 (it is no longer so), or 2 (another job has its unique key).
-- Keys: jobs, leases, unique, windows, unstarted; ids, progress, ready:QUEUE, overdue:QUEUE, later:QUEUE,
-- retry:QUEUE, aside:QUEUE/TASK, lane:LANE, line:QUEUE, expiring, queues, done:LETTER, stamp.
local LENGTH = { x = 4, w = 7, f = 8 }

local ids, places = {}, {}
local at = 2
while at <= #ARGV do
    ids[#ids + 1] = ARGV[at]
    places[#places + 1] = at
    at = at + LENGTH[ARGV[at + 2]]
end
local records = gather('HMGET', 'jobs', ids)
local leases = gather('HMGET', 'leases', ids)

local function expires_at(place)
    return ARGV[place] == '' and 0 or moment(ARGV[place])
end

local answers, moved = {}, {}
for index, id in ipairs(ids) do
    local place, record = places[index], records[index]
    local kind, unique = ARGV[place + 2], ARGV[place + 3]
    if not record or leases[index] or version_of(record) ~= ARGV[place + 1] or moved[id] then
        answers[index] = 0
    elseif kind == 'w' and holder_of(unique) then
        answers[index] = 2
    else
        answers[index] = 1
        moved[id] = true
        lift(id, record)
        if kind == 'w' then
            take_unique(unique, id)
            lay_waiting(id, moment(ARGV[place + 4]), expires_at(place + 5), ARGV[place + 6])
        else
            free_unique(unique, id)
            if kind == 'f' then
                lay_finished(id, moment(ARGV[place + 4]), expires_at(place + 5), moment(ARGV[place + 6]), ARGV[place + 7])
            else
                forget(id)
            end
        end
    end
end
commit()
return answers
