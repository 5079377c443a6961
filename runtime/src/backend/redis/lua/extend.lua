-- Renews leases, keeps progress, and tells the worker what it should know.
--
-- ARGV[2]: how long the leases live from now, [3]: the worker, [4]: what it says of itself, or nothing where an earlier
-- call of the same heartbeat said it, [5]: how many queues it has, then their names. Then for each lease: job, token,
-- progress or nothing.
-- Answers the places of lost leases, the places of jobs that were called off each with why, and the paused queues.
-- Keys: leases, calledoff, paused; lapses, progress, workers, beats.
local ttl, worker, said, queues = tonumber(ARGV[2]), ARGV[3], ARGV[4], tonumber(ARGV[5])

local ids = {}
for at = 6 + queues, #ARGV, 3 do
    ids[#ids + 1] = ARGV[at]
end
local leases = gather('HMGET', 'leases', ids)
local reasons = gather('HMGET', 'calledoff', ids)

local lost, called_off, paused = {}, {}, {}
for index, id in ipairs(ids) do
    local at = 3 + queues + 3 * index
    local lease = leases[index]
    if not lease or lease:sub(1, 8) ~= ARGV[at + 1] then
        lost[#lost + 1] = index - 1
    else
        write('ZADD', 'lapses', now + ttl, id)
        if ARGV[at + 2] ~= '' then
            write('HSET', 'progress', id, ARGV[at + 2])
        end
        if reasons[index] then
            called_off[#called_off + 1] = index - 1
            called_off[#called_off + 1] = reasons[index]
        end
    end
end
for at = 6, 5 + queues do
    if call('SISMEMBER', key('paused'), ARGV[at]) == 1 then
        paused[#paused + 1] = ARGV[at]
    end
end
if said ~= '' then
    write('HSET', 'workers', worker, pack('>i8i8', now, math.min(now + ttl, LAST)) .. said)
    write('ZADD', 'beats', now + ttl, worker)
end
commit()
return { lost, called_off, paused }
