-- What most scripts begin with, behind `base.lua`.
--
-- A script reads first and writes in `commit`, which looks first whether every key has the type that it should, so that
-- a script which is refused has changed nothing.

-- The present as a score; numbers are dear to write.
local written_now
local function now_as_text()
    written_now = written_now or string.format('%.0f', now)
    return written_now
end

-- A command's answers for a list of any length, asked in runs that Lua's stack takes.
local function gather(command, name, list)
    if #list > 0 and #list <= 4000 then
        return call(command, key(name), unpack(list))
    end
    local answers = {}
    for from = 1, #list, 4000 do
        local some = call(command, key(name), unpack(list, from, math.min(from + 3999, #list)))
        for index = 1, math.min(4000, #list - from + 1) do
            answers[from + index - 1] = some[index]
        end
    end
    return answers
end

-- The texts of keys.
local function strings(names)
    local keys, answers = {}, {}
    for index, name in ipairs(names) do
        keys[index] = key(name)
    end
    for from = 1, #keys, 4000 do
        for index, text in ipairs(call('MGET', unpack(keys, from, math.min(from + 3999, #keys)))) do
            answers[from + index - 1] = text
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

-- The same where this script may have written to that key.
local function append_all(command, name, list)
    local written_before = writes[command][name]
    writes[command][name] = list
    for _, argument in ipairs(written_before or {}) do
        list[#list + 1] = argument
    end
end

-- Texts to be written to keys of their own, and such keys to be deleted.
local texts, deleted = {}, {}
local function write_string(name, text)
    if text then
        texts[#texts + 1], texts[#texts + 2] = key(name), text
    else
        deleted[#deleted + 1] = key(name)
    end
end

-- A lease is its token, the worker, and when it was claimed: 8, 16, 8 bytes. Then what it counts against: the queue,
-- and where limits count it, a zero and what it holds of each: how many slots, the length of the key, the key.
local function counted_by(lease)
    return sub(lease, 33)
end

local function hold_of(name, slots)
    return pack('>I4I4', slots, #name) .. name
end

-- The queue of that, and a list of keys and slots in turn.
local function queue_and_holds(counted)
    local ends = counted:find('\0', 1, true)
    local holds, at = {}, (ends or #counted) + 1
    while at + 7 <= #counted do
        local slots, length = read('>I4I4', counted, at)
        at = at + 8 + length
        holds[#holds + 1], holds[#holds + 2] = counted:sub(at - length, at - 1), slots
    end
    return ends and counted:sub(1, ends - 1) or counted, holds
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

-- A job with limits has a place, which stands behind its queue as MessagePack has bytes: how many weights its limits have
-- (0: all are 1), each of them in 4 bytes, then the lane in which it waits, which is its queue and what it asks for.
-- Nothing where it has none; and where the rest begins.
local function place_of(record)
    local at = 38 + (record:byte(37) or 0)
    if record:byte(at) ~= 198 or #record < at + 5 then
        return '', at
    end
    local ends = at + 4 + read('>I4', record, at + 1)
    return record:sub(at + 5, ends), ends + 1
end

local function lane_of(place)
    return place:sub(2 + 4 * (place:byte(1) or 0))
end

-- The weights of a job's limits; nothing where all are 1.
local function weights_of(record)
    local at = 43 + (record:byte(37) or 0)
    local count = record:byte(at - 5) == 198 and record:byte(at) or 0
    if count == 0 then
        return nil
    end
    local weights = {}
    for index = 1, count do
        local from = at + 4 * index - 3
        weights[index] = #record >= from + 3 and math.max(read('>I4', record, from), 1) or 1
    end
    return weights
end

-- The name of a job's task: the first field of what only the program reads, which is an array; nil where it is none.
local function task_of(record)
    local _, at = place_of(record)
    local array, mark = record:byte(at, at + 1)
    if not mark or array < 0x90 or array > 0x9f then
        return nil
    end
    if mark >= 0xa0 and mark <= 0xbf then
        return record:sub(at + 2, at + 1 + mark - 0xa0)
    end
    return mark == 0xd9 and record:sub(at + 3, at + 2 + (record:byte(at + 2) or 0)) or nil
end

-- The tasks that a worker does not know: how many are named is at `at`, their names follow. And where the rest begins.
local function unknown_from(at)
    local unknown, rest = {}, at + 1 + tonumber(ARGV[at])
    for name = at + 1, rest - 1 do
        unknown[ARGV[name]] = true
    end
    return unknown, rest
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

-- Puts a lane in the line of its queue, at the end if it is not there.
local in_line = {}
local function put_in_line(queue, lane)
    if in_line[lane] == nil then
        in_line[lane] = call('ZSCORE', key('line:' .. queue), lane)
        if not in_line[lane] then
            write('ZADD', 'line:' .. queue, now_as_text(), lane)
        end
    end
end

-- Puts a job among the waiting.
local function lay_waiting(id, due, expires, tail)
    local record = head_of(due, expires) .. tail
    local queue, place, turn = queue_of(record), place_of(record), turn_of(record, id)
    if due > now then
        write('ZADD', later_of(record), due, turn .. place)
    elseif place == '' then
        write('ZADD', 'ready:' .. queue, '0', turn)
    else
        write('ZADD', 'lane:' .. lane_of(place), '0', turn)
        put_in_line(queue, lane_of(place))
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
        local place, task = place_of(record), task_of(record)
        write('ZREM', 'ready:' .. queue, turn)
        write('ZREM', 'overdue:' .. queue, turn)
        write('ZREM', 'later:' .. queue, turn .. place)
        write('ZREM', 'retry:' .. queue, turn .. place)
        if task then
            write('ZREM', 'aside:' .. queue .. '/' .. task, turn .. place)
        end
        if place ~= '' then
            write('ZREM', 'lane:' .. lane_of(place), turn)
        end
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

-- A unique key comes as nothing, or as how long it is taken and its text: `d` until the job is done, `s` until it is
-- started, `t` for a time, whose microseconds are the 8 bytes after it.
-- It is stored with its job's id, after which stands the moment at which it is free again, if that is a moment.
local function text_of(unique)
    return unique:sub(unique:byte(1) == 116 and 10 or 2)
end

-- The job that has a unique key, as this script leaves it.
-- A key that was never freed, since its job's record was damaged, is free.
local holders = {}
local function holder_of(unique)
    if unique == '' then
        return false
    end
    local text = text_of(unique)
    if holders[text] == nil then
        local taken = call('HGET', key('unique'), text)
        if taken and #taken == 24 then
            holders[text] = read('>i8', taken, 17) > now and taken:sub(1, 16)
        else
            local record = taken and call('HGET', key('jobs'), taken)
            holders[text] = record and not is_finished(record) and taken
        end
    end
    return holders[text]
end

local function take_unique(unique, id)
    if unique == '' then
        return
    end
    local kind, text = unique:sub(1, 1), text_of(unique)
    holders[text] = id
    if kind == 't' then
        local ends = math.min(now + read('>i8', unique, 2), LAST)
        write('HSET', 'unique', text, id .. pack('>i8', ends))
        write('ZADD', 'windows', string.format('%.0f', ends), text)
    else
        write('HSET', 'unique', text, id)
        if kind == 's' then
            write('HSET', 'unstarted', id, text)
        end
    end
end

local function free_unique(unique, id)
    if unique == '' then
        return
    end
    if holder_of(unique) == id then
        holders[text_of(unique)] = false
        write('HDEL', 'unique', text_of(unique))
    end
    if unique:byte(1) == 115 then
        write('HDEL', 'unstarted', id)
    end
end

-- Frees the keys that were taken until one of these jobs, which are claimed now, is started.
local function free_started(ids)
    if #ids == 0 or call('EXISTS', key('unstarted')) == 0 then
        return
    end
    for index, text in ipairs(gather('HMGET', 'unstarted', ids)) do
        if text then
            free_unique('s' .. text, ids[index])
        end
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
    for from = 1, #deleted, 4000 do
        call('DEL', unpack(deleted, from, math.min(from + 3999, #deleted)))
    end
    for from = 1, #texts, 4000 do
        call('MSET', unpack(texts, from, math.min(from + 3999, #texts)))
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
