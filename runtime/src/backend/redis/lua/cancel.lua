-- Marks running jobs as called off, and shows the others.
--
-- ARGV[2]: why. Then the jobs' ids.
-- Answers the present, and for each job 1 (it runs and is marked now), 2 (it runs and was marked before), its record,
-- or false where there is none.
-- Keys: jobs, leases, calledoff.
local ids = {}
for at = 3, #ARGV do
    ids[#ids + 1] = ARGV[at]
end
local leases = gather('HMGET', 'leases', ids)
local records = gather('HMGET', 'jobs', ids)
local reasons = gather('HMGET', 'calledoff', ids)

local answers, marked = {}, {}
for index, id in ipairs(ids) do
    if not leases[index] or not records[index] then
        answers[index] = records[index]
    elseif reasons[index] or marked[id] then
        answers[index] = 2
    else
        answers[index] = 1
        marked[id] = true
        write('HSET', 'calledoff', id, ARGV[2])
        control = true
    end
end
commit()
return { now, answers }
