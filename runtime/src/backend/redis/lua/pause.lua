-- Pauses a queue, or lets it run again.
--
-- ARGV[2]: the queue, [3]: `1` to pause it.
-- Keys: paused.
if ARGV[3] == '1' then
    write('SADD', 'paused', ARGV[2])
else
    write('SREM', 'paused', ARGV[2])
    tell_queue(ARGV[2])
end
control = true
commit()
return 1
