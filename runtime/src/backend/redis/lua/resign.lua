-- Ends a worker's leadership in a role, if it leads.
--
-- ARGV[2]: the role, [3]: the worker.
-- Keys: leader:ROLE.
local leader = key('leader:' .. ARGV[2])
local found = call('HMGET', leader, 'worker', 'until')
if found[1] == ARGV[3] and (tonumber(found[2]) or 0) > now then
    call('HSET', leader, 'until', string.format('%.0f', now))
end
return 1
