-- What every script begins with.
--
-- KEYS[1] is the store's prefix, `{taskwright}:`; every key is that and a name, so that all lie in one hash slot.
-- ARGV[1] is what a test adds to the server's time, in microseconds; the script's own arguments follow it.
--
-- A script reads first and writes in `commit`, which looks first whether every key has the type that it should, so that
-- a script which is refused has changed nothing.
local base = KEYS[1]
local call = redis.call
local pack, read = struct.pack, struct.unpack

local time = call('TIME')
local real = time[1] * 1000000 + time[2]
local now = real + ARGV[1]

-- The last moment that can be written down: `Timestamp::MAX`.
local LAST = 253402207200000000

local function key(name)
    return base .. name
end

-- A command's answers for a list of any length, asked in runs that Lua's stack takes.
local function gather(command, name, list)
    local answers = {}
    for from = 1, #list, 4000 do
        local some = call(command, key(name), unpack(list, from, math.min(from + 3999, #list)))
        for index = 1, math.min(4000, #list - from + 1) do
            answers[from + index - 1] = some[index]
        end
    end
    return answers
end

-- What this script will write: by command, by key, its arguments.
local ORDER = { 'HDEL', 'ZREM', 'SREM', 'ZADD', 'HSET', 'SADD' }
local TYPE = { HDEL = 'hash', HSET = 'hash', ZREM = 'zset', ZADD = 'zset', SREM = 'set', SADD = 'set' }
local writes = {}
for _, command in ipairs(ORDER) do
    writes[command] = {}
end

local function written(command, name)
    local list = writes[command][name]
    if not list then
        list = {}
        writes[command][name] = list
    end
    return list
end

local function write(command, name, first, second)
    local list = written(command, name)
    list[#list + 1] = first
    if second ~= nil then
        list[#list + 1] = second
    end
end

-- The same for many members, none of which this script has written to that key; the list is not to be changed after.
local function write_all(command, name, list)
    writes[command][name] = list
end

-- A lease is its token, the worker, when it was claimed, and the queue: 8, 16, 8 bytes, and the rest.

-- Refuses a key that a hand has given another type, before anything is written.
local function must_be(type, name)
    local found = call('TYPE', key(name)).ok
    if found ~= type and found ~= 'none' then
        error('WRONGTYPE ' .. key(name) .. ' is a ' .. found .. ' and not a ' .. type, 0)
    end
end

-- A number that is higher than those of all scripts before, also after a server that came back without its latest
-- writes: it follows the time where that is ahead. It marks the records and the leases that this script writes.
local next_stamp
local stamped = false
local function read_stamp()
    next_stamp = next_stamp or math.max((tonumber(call('GET', key('stamp'))) or 0) + 1, real)
end

local function stamp()
    read_stamp()
    stamped = true
    return next_stamp
end

-- A moment as the caller writes it: `+micros` from now, or micros since 1970.
local function moment(text)
    if text:byte(1) == 43 then
        return math.min(now + tonumber(text:sub(2)), LAST)
    end
    return tonumber(text)
end

-- A record: its version, its stamp, when it was written, due and expires (0: never), then what only the program
-- reads, which begins with the state's letter, the turn's priority and the queue.
local function head_of(due, expires)
    return pack('>Bi8i8i8i8', 1, stamp(), now, due, expires)
end

-- Its format and its stamp, by which one that was changed meanwhile is told.
local function version_of(record)
    return record:sub(1, 9)
end

local function expires_of(record)
    local is_readable = #record > 37 and record:byte(1) == 1
    return is_readable and read('>i8', record, 26) or 0
end

local function letter_of(record)
    return record:sub(34, 34)
end

local function is_finished(record)
    local letter = letter_of(record)
    return letter == 'c' or letter == 'd' or letter == 'x' or letter == 'e'
end

local function queue_of(record)
    return record:sub(38, 37 + (record:byte(37) or 0))
end

-- A waiting job's place in the order of claims, as bytes that sort so: priority, due time, id.
local function turn_of(record, id)
    return record:sub(35, 36) .. record:sub(18, 25) .. id
end

local outcomes, control = false, false
local told, queues_told = {}, 0

local function tell_queue(queue)
    if not told[queue] then
        told[queue] = true
        queues_told = queues_told + 1
    end
end

-- Which key a job waits in when it is not due yet.
local function later_of(record)
    return (letter_of(record) == 'r' and 'retry:' or 'later:') .. queue_of(record)
end

-- Puts a job among the waiting.
local function lay_waiting(id, due, expires, tail)
    local record = head_of(due, expires) .. tail
    local queue = queue_of(record)
    if due <= now then
        write('ZADD', 'ready:' .. queue, '0', turn_of(record, id))
    else
        write('ZADD', later_of(record), due, turn_of(record, id))
    end
    if expires ~= 0 then
        write('ZADD', 'expiring', expires, id)
    end
    write('HSET', 'jobs', id, record)
    write('SADD', 'queues', queue)
    tell_queue(queue)
end

-- Puts a job among the finished.
local function lay_finished(id, due, expires, ends, tail)
    local record = head_of(due, expires) .. tail
    write('HSET', 'jobs', id, record)
    write('ZADD', 'done:' .. letter_of(record), ends, id)
    outcomes = true
end

-- Takes a job that is not leased out of the indexes of its place.
local function lift(id, record)
    local letter, queue, turn = letter_of(record), queue_of(record), turn_of(record, id)
    if letter == 'w' or letter == 'r' then
        write('ZREM', 'ready:' .. queue, turn)
        write('ZREM', 'overdue:' .. queue, turn)
        write('ZREM', 'later:' .. queue, turn)
        write('ZREM', 'retry:' .. queue, turn)
        write('ZREM', 'expiring', id)
    else
        for _, shelf in ipairs({ 'c', 'd', 'x', 'e' }) do
            write('ZREM', 'done:' .. shelf, id)
        end
    end
end

local function forget(id)
    write('HDEL', 'jobs', id)
    write('ZREM', 'ids', id)
end

-- The unfinished job that has a unique key, as this script leaves it. A key comes as `k` and its text, or as nothing.
-- One that was never released, since its job's record was damaged, is free.
local holders = {}
local function holder_of(unique)
    if unique == '' then
        return false
    end
    if holders[unique] == nil then
        local holder = call('HGET', key('unique'), unique:sub(2))
        local record = holder and call('HGET', key('jobs'), holder)
        holders[unique] = record and not is_finished(record) and holder
    end
    return holders[unique]
end

local function take_unique(unique, id)
    if unique ~= '' then
        holders[unique] = id
        write('HSET', 'unique', unique:sub(2), id)
    end
end

local function release_unique(unique, id)
    if unique ~= '' and holder_of(unique) == id then
        holders[unique] = false
        write('HDEL', 'unique', unique:sub(2))
    end
end

-- Removals go first: a server whose memory is full refuses what may grow, unless the script has begun to write.
local function commit()
    for _, command in ipairs(ORDER) do
        for name in pairs(writes[command]) do
            must_be(TYPE[command], name)
        end
    end
    for _, command in ipairs(ORDER) do
        for name, list in pairs(writes[command]) do
            for from = 1, #list, 4000 do
                call(command, key(name), unpack(list, from, math.min(from + 3999, #list)))
            end
        end
    end
    if stamped then
        call('SET', key('stamp'), string.format('%.0f', next_stamp))
    end
    local news = {}
    if queues_told > 64 then
        news[1] = 'everything'
    else
        for queue in pairs(told) do
            news[#news + 1] = 'jobs ' .. queue
        end
        if outcomes then
            news[#news + 1] = 'outcomes'
        end
        if control then
            news[#news + 1] = 'control'
        end
    end
    if #news > 0 then
        call('PUBLISH', key('news'), table.concat(news, '\n'))
    end
end
