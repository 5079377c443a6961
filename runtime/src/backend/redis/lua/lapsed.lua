-- Shows whose lease has lapsed, those that lapsed first, and then which waiting jobs have expired.
--
-- ARGV[2]: the most jobs, [3]: the most bytes of records.
-- Answers the present, how many there are in all, and of each shown its id, record, lease (false: it waits), and why
-- it was called off.
-- Forgets workers that are gone, unique keys whose time has passed and limits that nothing counts against, and repairs
-- what a hand has torn apart: a lapse without a job, a job without a lease.
-- Keys: lapses, expiring, beats, windows, limit-ends; jobs, leases, calledoff, workers, unique, limit:NAME, limit-keys,
-- waits:KEY, line:QUEUE, stamp.
local limit, most_bytes = tonumber(ARGV[2]), tonumber(ARGV[3])

local gone = call('ZRANGEBYSCORE', key('beats'), '-inf', now, 'LIMIT', 0, 100)
for _, worker in ipairs(gone) do
    write('ZREM', 'beats', worker)
    write('HDEL', 'workers', worker)
end

for _, text in ipairs(call('ZRANGEBYSCORE', key('windows'), '-inf', now, 'LIMIT', 0, 100)) do
    write('ZREM', 'windows', text)
    -- It may have been taken again since.
    local taken = call('HGET', key('unique'), text)
    if taken and #taken == 24 and read('>i8', taken, 17) <= now then
        write('HDEL', 'unique', text)
    end
end

local counts = counting()
for _, name in ipairs(call('ZRANGEBYSCORE', key('limit-ends'), '-inf', now, 'LIMIT', 0, 100)) do
    counts.forget_idle(name)
end

local ids = call('ZRANGEBYSCORE', key('lapses'), '-inf', now, 'LIMIT', 0, limit)
local lapsed = #ids
local expired = {}
if lapsed < limit then
    expired = call('ZRANGEBYSCORE', key('expiring'), '-inf', now, 'LIMIT', 0, limit - lapsed)
end
for _, id in ipairs(expired) do
    ids[#ids + 1] = id
end
local total = call('ZCOUNT', key('lapses'), '-inf', now) + call('ZCOUNT', key('expiring'), '-inf', now)

local records = gather('HMGET', 'jobs', ids)
local leases = gather('HMGET', 'leases', ids)
local reasons = gather('HMGET', 'calledoff', ids)

local shown, bytes = {}, 0
for index, id in ipairs(ids) do
    local record, lease = records[index], leases[index]
    if not record then
        write('ZREM', index <= lapsed and 'lapses' or 'expiring', id)
        write('HDEL', 'leases', id)
        local _, holds = queue_and_holds(counted_by(lease or ''))
        counts.release({ { holds = holds, leases = 1 } })
        total = total - 1
    elseif bytes <= most_bytes then
        bytes = bytes + #record
        if index <= lapsed and not lease then
            lease = pack('>i8', stamp()) .. string.rep('\0', 16) .. pack('>i8', now) .. queue_of(record)
            write('HSET', 'leases', id, lease)
        end
        for _, part in ipairs({ id, record, index <= lapsed and lease or '', reasons[index] or '' }) do
            shown[#shown + 1] = part
        end
    end
end
counts.close()
commit()
return { now, total, shown }
