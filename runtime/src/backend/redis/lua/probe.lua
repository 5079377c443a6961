-- Tries every command that the other scripts write with, on a key that nobody needs.
--
-- Answers the first refusal for want of rights, or nothing: with all rights at hand, no script is stopped halfway.
-- Keys: probe.
local probe = key('probe')
local commands = {
    { 'HSET', probe, 'f', 'v' },
    { 'HDEL', probe, 'f' },
    { 'HINCRBY', probe, 'f', 1 },
    { 'DEL', probe },
    { 'ZADD', probe, 0, 'm' },
    { 'ZREM', probe, 'm' },
    { 'ZPOPMIN', probe },
    { 'DEL', probe },
    { 'SADD', probe, 'm' },
    { 'SREM', probe, 'm' },
    { 'DEL', probe },
    { 'SET', probe, 'v', 'PX', 1 },
    { 'MSET', probe, 'v' },
    { 'DEL', probe },
    { 'PUBLISH', key('news'), '' },
}
for _, command in ipairs(commands) do
    local answer = redis.pcall(unpack(command))
    -- A server whose memory is full refuses other things, and is welcome all the same.
    if type(answer) == 'table' and answer.err and not answer.err:find('OOM') and not answer.err:find('MISCONF') then
        return { command[1], answer.err }
    end
end
return false
