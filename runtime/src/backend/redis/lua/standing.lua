-- Shows limits in the order of their keys.
--
-- ARGV[2]: the key to begin after, or nothing, [3]: the most limits.
-- Answers the present, and of each limit its key and how it stands.
-- Keys: limit-keys, limit:NAME.
local from = ARGV[2] == '' and '-' or '(' .. ARGV[2]
local names = call('ZRANGEBYLEX', key('limit-keys'), from, '+', 'LIMIT', 0, tonumber(ARGV[3]))
local shown = {}
local keys = {}
for index, name in ipairs(names) do
    keys[index] = 'limit:' .. name
end
for index, limit in ipairs(strings(keys)) do
    shown[#shown + 1] = names[index]
    shown[#shown + 1] = limit or ''
end
return { now, shown }
