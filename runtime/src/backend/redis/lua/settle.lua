-- Ends claims, each only if its lease is the one that is named.
--
-- ARGV[2]: `held`, or `lapsed` to end a lease only if it has lapsed. Then for each job: id, token, kind, unique key
-- that is free now or nothing, and by kind
--   x (forgotten): nothing more;
--   w (waits again): due, expires or nothing, the record's tail;
--   f (finished): due, expires or nothing, when it ends, the record's tail.
-- Answers for each 1 (done), 0 (the lease is lost), or why the job was called off, which must then not wait again.
-- Keys: leases, lapses, calledoff, unique, unstarted; progress, running, jobs, ids, ready:QUEUE, later:QUEUE,
-- retry:QUEUE, lane:LANE, line:QUEUE, expiring, queues, done:LETTER, stamp; limit:NAME, limit-keys,
-- limit-ends, waits:KEY.
local LENGTH = { x = 4, w = 7, f = 8 }
local lapsed_only = ARGV[2] == 'lapsed'

local ids, places = {}, {}
local at = 3
local count, arguments = 0, #ARGV
while at <= arguments do
    count = count + 1
    ids[count], places[count] = ARGV[at], at
    at = at + LENGTH[ARGV[at + 2]]
end
local leases = gather('HMGET', 'leases', ids)
local reasons = call('EXISTS', key('calledoff')) == 1 and gather('HMGET', 'calledoff', ids) or {}

local function expires_at(place)
    return ARGV[place] == '' and 0 or moment(ARGV[place])
end

must_be('hash', 'running')
local answers, ended, claims = {}, {}, {}
local gone, gone_count, forgotten, forgotten_count = {}, 0, {}, 0

-- What leases of one claim that count against the same have in common, as they are the same text.
local function claim_of(lease)
    claims[lease] = claims[lease] or { token = sub(lease, 1, 8), counted = counted_by(lease), ended = 0 }
    return claims[lease]
end

for index, id in ipairs(ids) do
    local place = places[index]
    local kind, unique = ARGV[place + 2], ARGV[place + 3]
    local lease = leases[index]
    local claim = lease and claim_of(lease)
    if not claim or claim.token ~= ARGV[place + 1] or ended[id] then
        answers[index] = 0
    elseif lapsed_only and (tonumber(call('ZSCORE', key('lapses'), id)) or 0) > now then
        answers[index] = 0
    elseif kind == 'w' and reasons[index] then
        answers[index] = reasons[index]
    else
        answers[index] = 1
        ended[id] = true
        claim.ended = claim.ended + 1
        gone_count = gone_count + 1
        gone[gone_count] = id
        if kind == 'w' then
            lay_waiting(id, moment(ARGV[place + 4]), expires_at(place + 5), ARGV[place + 6])
        else
            free_unique(unique, id)
            if kind == 'f' then
                lay_finished(id, moment(ARGV[place + 4]), expires_at(place + 5), moment(ARGV[place + 6]), ARGV[place + 7])
            else
                forgotten_count = forgotten_count + 1
                forgotten[forgotten_count] = id
            end
        end
    end
end
if #gone > 0 then
    write_all('HDEL', 'leases', gone)
    write_all('ZREM', 'lapses', gone)
    for _, name in ipairs({ 'progress', 'calledoff' }) do
        if call('EXISTS', key(name)) == 1 then
            write_all('HDEL', name, gone)
        end
    end
end
if #forgotten > 0 then
    write_all('HDEL', 'jobs', forgotten)
    write_all('ZREM', 'ids', forgotten)
end
local ended_of, released = {}, {}
for _, claim in pairs(claims) do
    if claim.ended > 0 then
        local queue, holds = queue_and_holds(claim.counted)
        ended_of[queue] = (ended_of[queue] or 0) + claim.ended
        if #holds > 0 then
            released[#released + 1] = { holds = holds, leases = claim.ended }
        end
    end
end
if #released > 0 then
    local counts = counting()
    counts.release(released)
    counts.close()
end
commit()
for queue, count in pairs(ended_of) do
    if call('HINCRBY', key('running'), queue, -count) <= 0 then
        call('HDEL', key('running'), queue)
    end
end
return answers
