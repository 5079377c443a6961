-- Shows jobs, and outcomes that are kept for other stores.
--
-- From ARGV[2] on: the jobs' ids.
-- Answers the present, and for each job its record, lease, progress, and kept outcome, each false where there is none.
-- Keys: jobs, leases, progress, outcomes.
local ids = {}
for at = 2, #ARGV do
    ids[#ids + 1] = ARGV[at]
end
local shown = {}
local parts = {}
for _, name in ipairs({ 'jobs', 'leases', 'progress', 'outcomes' }) do
    parts[#parts + 1] = gather('HMGET', name, ids)
end
for index = 1, #ids do
    for _, part in ipairs(parts) do
        shown[#shown + 1] = part[index]
    end
end
return { now, shown }
