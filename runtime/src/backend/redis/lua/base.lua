-- What every script begins with.
--
-- KEYS[1] is the store's prefix, `{taskwright}:`; every key is that and a name, so that all lie in one hash slot.
-- ARGV[1] is what a test adds to the server's time, in microseconds; the script's own arguments follow it.
local base, ARGV = KEYS[1], ARGV
local call = redis.call
local pack, read = struct.pack, struct.unpack
local byte, sub = string.byte, string.sub

local time = call('TIME')
local real = time[1] * 1000000 + time[2]
local now = real + ARGV[1]

-- The last moment that can be written down: `Timestamp::MAX`.
local LAST = 253402207200000000

local function key(name)
    return base .. name
end

local function is(type, name)
    local found = call('TYPE', key(name)).ok
    return found == type or found == 'none'
end

-- Refuses a key that a hand has given another type, before anything is written.
local function must_be(type, name)
    if not is(type, name) then
        error('WRONGTYPE ' .. key(name) .. ' is not a ' .. type, 0)
    end
end

-- A number that is higher than those of all scripts before, also after a server that came back without its latest
-- writes: it follows the time where that is ahead. It marks the records and the leases that this script writes.
local next_stamp
local stamped = false
local function read_stamp()
    next_stamp = next_stamp or math.max((tonumber(call('GET', key('stamp'))) or 0) + 1, real)
    -- From 2^53 on a number can't be told from the next one.
    if next_stamp >= 9007199254740992 then
        error('WRONGTYPE ' .. key('stamp') .. ' is beyond what scripts count exactly', 0)
    end
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

-- A waiting job's turn: its place in the order of claims, as bytes that sort so: priority, due time, id. Where it waits
-- apart from its lane, since it is not due or its task not known, its place stands behind that.
local function turn_of(record, id)
    return record:sub(35, 36) .. record:sub(18, 25) .. id
end
