-- What every script begins with after `common.lua`: how limits stand, and what they leave room for. It is made only where
-- a script has to do with limits.
--
-- Mirrors `policy/limits.rs`, which says why; the server decides here, since a limit is read and counted in one script.
-- A limit is a field of `limits`, as MessagePack: by_hand and configured (what was set), asked (what the latest job asked
-- for), held (the slots of live leases), starts (the earliest first, each a moment and how many), counts_until.
-- Keys: limits, limit-keys (by name), limit-ends (by when one may be forgotten), holds (what leases hold), waits:KEY
-- (lanes that wait for a key, by since when they have not been served), line:QUEUE.
local function counting()
    local RECHECK, REMEMBERED = 60000000, 64
    -- The most lanes that one script brings back; others look again within a minute.
    local MOST_WOKEN = 1000
    local NOTHING = {}
    local counts = { RECHECK = RECHECK }

    -- An allowance as the program writes it, believed only as far as it is one; nil where it limits nothing.
    function counts.allowance_of(written)
        local allowance = {}
        local max, rate = written.max, written.rate
        if type(max) == 'number' then
            allowance.max = max
        end
        local per = type(rate) == 'table' and rate.per
        if type(per) == 'table' and type(rate.count) == 'number' and type(per.secs) == 'number' and type(per.nanos) == 'number' then
            allowance.rate = { count = rate.count, per = { secs = per.secs, nanos = per.nanos } }
        end
        return next(allowance) and allowance or nil
    end

    -- What of a stored limit can be read.
    local function limit_read(stored)
        local is_read, found = pcall(cmsgpack.unpack, stored)
        if not is_read or type(found) ~= 'table' then
            found = {}
        end
        local limit = {
            held = tonumber(found.held) or 0, counts_until = tonumber(found.counts_until) or 0, starts = {},
        }
        for _, name in ipairs({ 'by_hand', 'configured', 'asked' }) do
            limit[name] = type(found[name]) == 'table' and counts.allowance_of(found[name]) or nil
        end
        for _, start in ipairs(type(found.starts) == 'table' and found.starts or {}) do
            if type(start) == 'table' and type(start[1]) == 'number' and type(start[2]) == 'number' then
                limit.starts[#limit.starts + 1] = { start[1], start[2] }
            end
        end
        return limit
    end

    local limits, is_stored, changed = {}, {}, {}
    local function limit_of(name)
        if not limits[name] then
            local stored = call('HGET', key('limits'), name)
            is_stored[name] = stored and true or false
            limits[name] = stored and limit_read(stored) or { held = 0, counts_until = 0, starts = {} }
        end
        return limits[name]
    end

    function counts.is_set(name)
        local limit = limit_of(name)
        return limit.by_hand or limit.configured
    end

    local function is_idle(name)
        return limit_of(name).held <= 0 and not counts.is_set(name)
    end

    -- What is in force of a limit where a job asks for `asked`: its `max` or its `rate`.
    local function in_force(limit, asked, part)
        return (limit.by_hand or NOTHING)[part] or (limit.configured or NOTHING)[part] or asked[part]
    end

    local function span_of(rate)
        return math.min(rate.per.secs * 1000000 + math.floor(rate.per.nanos / 1000), LAST)
    end

    -- When a start, of which a turned back clock may have left some in the future, counts no longer.
    local function end_of(start, span)
        return math.min(start[1], now) + span
    end

    local function started(limit, span)
        local units = 0
        for _, start in ipairs(limit.starts) do
            if end_of(start, span) > now then
                units = units + start[2]
            end
        end
        return units
    end

    -- How many slots or starts are left, whichever are fewer.
    function counts.room_of(name, asked)
        local limit = limit_of(name)
        local max, rate = in_force(limit, asked, 'max'), in_force(limit, asked, 'rate')
        local room = max and math.max(max - limit.held, 0) or math.huge
        if rate then
            room = math.min(room, math.max(rate.count - started(limit, span_of(rate)), 0))
        end
        return room
    end

    -- How long a job of this weight waits, if it can't start now, and whether it is time that lets it start.
    function counts.refusal(name, asked, weight)
        local limit = limit_of(name)
        local max, rate = in_force(limit, asked, 'max'), in_force(limit, asked, 'rate')
        if max and (max == 0 or limit.held > math.max(max - weight, 0)) then
            return RECHECK, false
        end
        if not rate then
            return nil
        end
        local span, most = span_of(rate), math.max(rate.count - weight, 0)
        local units = started(limit, span)
        if rate.count == 0 then
            return RECHECK, true
        end
        if units <= most then
            return nil
        end
        for _, start in ipairs(limit.starts) do
            if end_of(start, span) > now then
                units = units - start[2]
                if units <= most then
                    return end_of(start, span) - now, true
                end
            end
        end
        return RECHECK, true
    end

    -- Of a job's limits the first that refuses it, and how long.
    function counts.first_refusal(wanted, weights)
        for index, want in ipairs(wanted) do
            local wait = counts.refusal(want.key, want.allowance, weights[index] or 1)
            if wait then
                return want.key, wait
            end
        end
    end

    -- A sliding log; of what is too much to remember one by one, neighbours count as if they had started with the later.
    local function remember(starts, units, span)
        local latest = starts[#starts]
        if latest and latest[1] == now then
            latest[2] = math.min(latest[2] + units, 4294967295)
            return starts
        end
        local kept = {}
        for _, start in ipairs(starts) do
            if end_of(start, span) > now then
                kept[#kept + 1] = { math.min(start[1], now), start[2] }
            end
        end
        kept[#kept + 1] = { now, units }
        if #kept > REMEMBERED then
            local closest, gap = 1, math.huge
            for place = 1, #kept - 1 do
                local here = kept[place + 1][1] - kept[place][1]
                if here < gap then
                    closest, gap = place, here
                end
            end
            local earlier = table.remove(kept, closest)
            kept[closest][2] = math.min(kept[closest][2] + earlier[2], 4294967295)
        end
        return kept
    end

    -- Counts a job that starts.
    function counts.start(name, asked, weight)
        local limit = limit_of(name)
        limit.held = limit.held + weight
        limit.asked = next(asked) and asked or nil
        local rate = in_force(limit, asked, 'rate')
        if rate then
            local span = span_of(rate)
            limit.starts = remember(limit.starts, weight, span)
            limit.counts_until = math.max(limit.counts_until, math.min(now + span, LAST))
        end
        changed[name] = true
    end

    -- A lane's queue and what its jobs ask for, nil where it is none.
    function counts.lane_read(lane)
        local is_read, parts = pcall(cjson.decode, lane)
        if not is_read or type(parts) ~= 'table' or type(parts[1]) ~= 'string' or type(parts[2]) ~= 'table' then
            return nil
        end
        local wanted = {}
        for index, limit in ipairs(parts[2]) do
            if type(limit) ~= 'table' or type(limit[1]) ~= 'string' or type(limit[2]) ~= 'table' then
                return nil
            end
            wanted[index] = { key = limit[1], allowance = counts.allowance_of(limit[2]) or NOTHING }
        end
        return parts[1], wanted
    end

    -- Something has changed about a limit: brings back lanes that wait for it, with the turns that they had before.
    -- Tells whether that are all.
    local woken, woken_count = {}, 0
    local function wake(name)
        if woken[name] then
            return true
        end
        woken[name] = true
        if name:sub(1, 6) == 'queue:' then
            tell_queue(name:sub(7))
        end
        local waits = 'waits:' .. name
        local lanes = call('ZRANGE', key(waits), 0, MOST_WOKEN - woken_count, 'WITHSCORES')
        local room = MOST_WOKEN - woken_count
        for at = 1, math.min(#lanes, 2 * room), 2 do
            local lane, since = lanes[at], lanes[at + 1]
            local queue = counts.lane_read(lane)
            write('ZREM', waits, lane)
            woken_count = woken_count + 1
            if queue then
                local turn = call('ZSCORE', key('line:' .. queue), lane)
                if turn and tonumber(turn) > tonumber(since) then
                    write('ZADD', 'line:' .. queue, since, lane)
                end
                tell_queue(queue)
            end
        end
        return #lanes <= 2 * room
    end

    -- Frees what the leases of these jobs hold, which end now.
    function counts.release(ids)
        for index, held in ipairs(gather('HMGET', 'holds', ids)) do
            if held then
                write('HDEL', 'holds', ids[index])
                local is_read, holds = pcall(cmsgpack.unpack, held)
                for at = 1, is_read and type(holds) == 'table' and #holds or 0, 2 do
                    local name, weight = tostring(holds[at]), tonumber(holds[at + 1]) or 0
                    local limit = limit_of(name)
                    limit.held = math.max(limit.held - weight, 0)
                    changed[name] = true
                    wake(name)
                end
            end
        end
    end

    -- Writes what has changed.
    function counts.close()
        for name in pairs(changed) do
            local limit = limits[name]
            write('HSET', 'limits', name, cmsgpack.pack(limit))
            if not is_stored[name] then
                write('ZADD', 'limit-keys', '0', name)
            end
            if is_idle(name) then
                write('ZADD', 'limit-ends', string.format('%.0f', math.max(limit.counts_until, now)), name)
            end
        end
    end

    -- Sets what is allowed, or with nothing clears it.
    function counts.set(name, source, allowance)
        local limit = limit_of(name)
        if allowance or is_stored[name] then
            limit[source] = allowance
            changed[name] = true
        end
        wake(name)
    end

    -- Puts a lane among those that wait for a limit, which has to be there so that whoever frees it finds them.
    function counts.wait_for(name, lane, since)
        if is('zset', 'waits:' .. name) then
            call('ZADD', key('waits:' .. name), since, lane)
            changed[name] = changed[name] or not is_stored[name] or nil
        end
    end

    -- Forgets a limit if nothing counts against it. What waits for it looks again, and makes it anew if it is still in
    -- the way.
    function counts.forget_idle(name)
        if wake(name) then
            write('ZREM', 'limit-ends', name)
            if is_idle(name) and limit_of(name).counts_until <= now then
                write('HDEL', 'limits', name)
                write('ZREM', 'limit-keys', name)
            end
        end
    end

    return counts
end
