-- Shows a part of all jobs in the order of their ids.
--
-- ARGV[2]: the id to begin after, or nothing, [3]: `newest` or `oldest` first, [4]: how many ids to look at, [5]: the
-- most bytes of records, [6]: the letters of the states that are wanted (`l`: leased), or nothing for all, [7]: the
-- queue, or nothing for all.
-- Answers the present, the last id that was looked at (nothing when there are no more), and of each job that may be
-- wanted its id, record, lease (false: it has none) and progress.
-- Keys: ids, jobs, leases, progress.
local after, newest, count, most_bytes = ARGV[2], ARGV[3] == 'newest', tonumber(ARGV[4]), tonumber(ARGV[5])
local letters, queue = ARGV[6], ARGV[7]

local from = after == '' and (newest and '+' or '-') or '(' .. after
local ids
if newest then
    ids = call('ZREVRANGEBYLEX', key('ids'), from, '-', 'LIMIT', 0, count)
else
    ids = call('ZRANGEBYLEX', key('ids'), from, '+', 'LIMIT', 0, count)
end
local leases = gather('HMGET', 'leases', ids)

local shown, bytes, last = {}, 0, ''
for index, id in ipairs(ids) do
    last = id
    local record = call('HGET', key('jobs'), id)
    if record then
        local letter = leases[index] and 'l' or letter_of(record)
        local wanted = letters == '' or letters:find(letter, 1, true) or not ('wrcdxe'):find(letter, 1, true)
        if wanted and (queue == '' or queue == queue_of(record)) then
            bytes = bytes + #record
            for _, part in ipairs({ id, record, leases[index] or '', call('HGET', key('progress'), id) or '' }) do
                shown[#shown + 1] = part
            end
            if bytes > most_bytes then
                break
            end
        end
    end
end
return { now, last, shown }
