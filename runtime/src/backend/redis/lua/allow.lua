-- Sets what a limit allows.
--
-- ARGV[2]: its key, [3]: who says so, `by_hand` or `configured`, [4]: what, as JSON.
-- Keys: limit:NAME, limit-keys, limit-ends, waits:KEY, line:QUEUE.
local counts = counting()
counts.set(ARGV[2], ARGV[3], counts.allowance_of(cjson.decode(ARGV[4])))
counts.close()
commit()
return 1
