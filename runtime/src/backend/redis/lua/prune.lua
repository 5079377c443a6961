-- Removes terminal jobs that nobody needs any more.
--
-- ARGV[2]: the most jobs, then how long they stay: [3]: completed ones and kept outcomes after their end, [4]: dead
-- letters, [5]: those called off or expired.
-- Answers how many it removed.
-- Keys: done:LETTER, outcome-ends; jobs, ids, outcomes.
local limit = tonumber(ARGV[2])
local shelves = { { 'done:c', ARGV[3] }, { 'done:d', ARGV[4] }, { 'done:x', ARGV[5] }, { 'done:e', ARGV[5] } }

local count = 0
for _, shelf in ipairs(shelves) do
    for _, id in ipairs(call('ZRANGEBYSCORE', key(shelf[1]), '-inf', now - shelf[2], 'LIMIT', 0, limit - count)) do
        write('ZREM', shelf[1], id)
        forget(id)
        count = count + 1
    end
end
for _, id in ipairs(call('ZRANGEBYSCORE', key('outcome-ends'), '-inf', now - ARGV[3], 'LIMIT', 0, limit - count)) do
    write('ZREM', 'outcome-ends', id)
    write('HDEL', 'outcomes', id)
    count = count + 1
end
commit()
return count
