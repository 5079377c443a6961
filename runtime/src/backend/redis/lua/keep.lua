-- Keeps outcomes of jobs that another store carries; the later attempt's stands.
--
-- ARGV[2]: `ended` where one of the jobs has. Then for each: id, attempt, how long it is kept, the outcome.
-- Keys: outcomes, outcome-ends.
local latest = {}
for at = 3, #ARGV, 4 do
    local id, attempt = ARGV[at], tonumber(ARGV[at + 1])
    if not latest[id] then
        local known = call('HGET', key('outcomes'), id)
        latest[id] = known and #known >= 8 and read('>i8', known, 1) or -1
    end
    if attempt >= latest[id] then
        latest[id] = attempt
        local ends = math.min(now + tonumber(ARGV[at + 2]), LAST)
        write('HSET', 'outcomes', id, pack('>i8i8', attempt, ends) .. ARGV[at + 3])
        write('ZADD', 'outcome-ends', ends, id)
    end
end
outcomes = ARGV[2] == 'ended'
commit()
return 1
