-- Makes a worker the leader in a role, or keeps it so; answers its term, or 0 while somebody else leads.
--
-- ARGV[2]: the role, [3]: the worker, [4]: for how long.
-- Keys: leader:ROLE.
local leader = call('HMGET', key('leader:' .. ARGV[2]), 'worker', 'term', 'until')
local term = tonumber(leader[2]) or 0
local leads = (tonumber(leader[3]) or 0) > now
if leads and leader[1] ~= ARGV[3] then
    return 0
end
if not leads then
    -- Also for a leader that comes back late: somebody may have acted in between.
    term = term + 1
end
local until_then = string.format('%.0f', now + tonumber(ARGV[4]))
call('HSET', key('leader:' .. ARGV[2]), 'worker', ARGV[3], 'term', string.format('%.0f', term), 'until', until_then)
return term
