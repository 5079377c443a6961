-- Shows who has unique keys.
--
-- ARGV[2]: how many keys. Then the keys, each after a `d`, and then ids of jobs.
-- Answers the present; for each key the id of the job that has it, or nothing, and that job's record if it is there and
-- nobody holds it, or nothing; for each id whether there is such a job.
-- Keys: unique, jobs, leases, ids.
local shown = {}
local last = 2 + tonumber(ARGV[2])
for at = 3, last do
    local holder = holder_of(ARGV[at])
    local is_free = holder and call('HEXISTS', key('leases'), holder) == 0
    shown[#shown + 1] = holder or ''
    shown[#shown + 1] = is_free and call('HGET', key('jobs'), holder) or ''
end
local ids = {}
for at = last + 1, #ARGV do
    ids[#ids + 1] = ARGV[at]
end
local present = gather('ZMSCORE', 'ids', ids)
for index = 1, #ids do
    present[index] = present[index] and 1 or 0
end
return { now, shown, present }
