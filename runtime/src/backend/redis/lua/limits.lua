-- What most scripts begin with after `common.lua`: how limits stand, and what they leave room for. It is made only where
-- a script has to do with limits.
--
-- Mirrors `policy/limits.rs`, which says why; the server decides here, since a limit is read and counted in one script.
-- A limit is a key, `limit:NAME`: in 8 bytes each the slots that live leases hold and until when its starts count, then
-- its terms as MessagePack: by_hand and configured (what was set), asked (what the latest job asked for), starts (the
-- earliest first, each a moment and how many). They are read where they are needed, and written where they changed.
-- Keys: limit:NAME, limit-keys (by name), limit-ends (by when one may be forgotten), waits:KEY (lanes that wait for a key,
-- by since when they have not been served), line:QUEUE.
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

    -- What of a limit's terms can be read. Those of many limits are the same, and are never changed but replaced.
    local terms_known = {}
    local function terms_read(stored)
        if terms_known[stored] then
            return terms_known[stored]
        end
        local is_read, found = pcall(cmsgpack.unpack, stored)
        if not is_read or type(found) ~= 'table' then
            found = {}
        end
        local terms = { starts = {} }
        for _, name in ipairs({ 'by_hand', 'configured', 'asked' }) do
            terms[name] = type(found[name]) == 'table' and counts.allowance_of(found[name]) or nil
        end
        for _, start in ipairs(type(found.starts) == 'table' and found.starts or {}) do
            if type(start) == 'table' and type(start[1]) == 'number' and type(start[2]) == 'number' then
                terms.starts[#terms.starts + 1] = { start[1], start[2] }
            end
        end
        terms_known[stored] = terms
        return terms
    end

    local limits, is_stored, changed = {}, {}, {}
    local function keep(name, stored)
        if not stored then
            -- A text of another type is told as none.
            must_be('string', 'limit:' .. name)
        end
        is_stored[name] = stored and true or false
        if stored and #stored >= 16 then
            local held, counts_until = read('>i8i8', stored)
            limits[name] = { held = math.max(held, 0), counts_until = counts_until, stored_terms = stored:sub(17) }
        else
            limits[name] = { held = 0, counts_until = 0, terms = { starts = {} } }
        end
    end

    -- Reads limits that are needed soon, in one command. One that is no text is refused.
    function counts.load(names)
        local unknown, keys, is_asked = {}, {}, {}
        for _, name in ipairs(names) do
            if not limits[name] and not is_asked[name] then
                is_asked[name] = true
                unknown[#unknown + 1], keys[#keys + 1] = name, 'limit:' .. name
            end
        end
        for index, stored in ipairs(strings(keys)) do
            keep(unknown[index], stored)
        end
    end

    local function limit_of(name)
        if not limits[name] then
            keep(name, strings({ 'limit:' .. name })[1])
        end
        return limits[name]
    end

    local function terms_of(limit)
        limit.terms = limit.terms or terms_read(limit.stored_terms)
        return limit.terms
    end

    -- Sets one of a limit's terms.
    local function set_term(limit, name, value)
        local terms = {}
        for known, term in pairs(terms_of(limit)) do
            terms[known] = term
        end
        terms[name] = value
        limit.terms, limit.stored_terms = terms, nil
    end

    local function is_same(one, other)
        local a, b = one.rate, other.rate
        local is_same_rate = a == b
        if a and b then
            is_same_rate = a.count == b.count and a.per.secs == b.per.secs and a.per.nanos == b.per.nanos
        end
        return one.max == other.max and is_same_rate
    end

    function counts.is_set(name)
        local terms = terms_of(limit_of(name))
        return terms.by_hand or terms.configured
    end

    local function is_idle(name)
        return limit_of(name).held <= 0 and not counts.is_set(name)
    end

    -- What is in force of a limit where a job asks for `asked`: its `max` or its `rate`.
    local function in_force(limit, asked, part)
        local terms = terms_of(limit)
        return (terms.by_hand or NOTHING)[part] or (terms.configured or NOTHING)[part] or asked[part]
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
        for _, start in ipairs(terms_of(limit).starts) do
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
        for _, start in ipairs(terms_of(limit).starts) do
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
        local kept = {}
        for _, start in ipairs(starts) do
            if end_of(start, span) > now then
                kept[#kept + 1] = { math.min(start[1], now), start[2] }
            end
        end
        local latest = kept[#kept]
        if latest and latest[1] == now then
            latest[2] = math.min(latest[2] + units, 4294967295)
        else
            kept[#kept + 1] = { now, units }
        end
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

    -- How many jobs of weight 1 all of these limits have room for, and that of the queue, if it is given; none where one
    -- key counts twice, so that each is judged.
    function counts.room_of_all(wanted, of_queue)
        local room, seen = of_queue and counts.room_of(of_queue, NOTHING) or math.huge, {}
        for _, want in ipairs(wanted) do
            if seen[want.key] then
                return 0
            end
            seen[want.key] = true
            room = math.min(room, counts.room_of(want.key, want.allowance))
        end
        return room
    end

    -- Counts what starts.
    function counts.start(name, asked, weight)
        local limit = limit_of(name)
        limit.held = limit.held + weight
        if not is_same(terms_of(limit).asked or NOTHING, asked) then
            set_term(limit, 'asked', next(asked) and asked or nil)
        end
        local rate = in_force(limit, asked, 'rate')
        if rate then
            local span = span_of(rate)
            set_term(limit, 'starts', remember(limit.terms.starts, weight, span))
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

    local function tell_its_queue(name)
        if name:sub(1, 6) == 'queue:' then
            tell_queue(name:sub(7))
        end
    end

    -- Frees what leases hold that end now: a list, in which each has how many `leases` there are that hold the same.
    function counts.release(ended)
        local units, names, waits = {}, {}, {}
        for _, some in ipairs(ended) do
            for at = 1, #some.holds, 2 do
                local name, slots = some.holds[at], some.holds[at + 1]
                if not units[name] then
                    names[#names + 1], waits[#waits + 1] = name, key('waits:' .. name)
                end
                units[name] = (units[name] or 0) + slots * some.leases
            end
        end
        counts.load(names)
        local any_waits = false
        for from = 1, #waits, 4000 do
            any_waits = call('EXISTS', unpack(waits, from, math.min(from + 3999, #waits))) > 0 or any_waits
        end
        for _, name in ipairs(names) do
            local limit = limits[name]
            limit.held = math.max(limit.held - units[name], 0)
            changed[name] = true
            tell_its_queue(name)
            if any_waits then
                wake(name)
            end
        end
    end

    -- Writes what has changed.
    function counts.close()
        for name in pairs(changed) do
            local limit = limits[name]
            limit.stored_terms = limit.stored_terms or cmsgpack.pack(limit.terms)
            write_string('limit:' .. name, pack('>i8i8', limit.held, limit.counts_until) .. limit.stored_terms)
            if not is_stored[name] then
                write('ZADD', 'limit-keys', '0', name)
            end
            if is_idle(name) then
                local ends = limit.counts_until > now and string.format('%.0f', limit.counts_until) or now_as_text()
                write('ZADD', 'limit-ends', ends, name)
            end
        end
    end

    -- Sets what is allowed, or with nothing clears it.
    function counts.set(name, source, allowance)
        local limit = limit_of(name)
        if allowance or is_stored[name] then
            set_term(limit, source, allowance)
            changed[name] = true
        end
        tell_its_queue(name)
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
        if not pcall(limit_of, name) then
            -- What is no text is somebody else's.
            write('ZREM', 'limit-ends', name)
            write('ZREM', 'limit-keys', name)
            return
        end
        tell_its_queue(name)
        if wake(name) then
            write('ZREM', 'limit-ends', name)
            if is_idle(name) and limit_of(name).counts_until <= now then
                write_string('limit:' .. name, nil)
                write('ZREM', 'limit-keys', name)
            end
        end
    end

    return counts
end
