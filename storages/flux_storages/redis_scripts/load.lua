-- The head of an instance and its entries, each as one list of names and values; both are empty if
-- there is none.
-- id, `1` for the entries or `0` for none of them.

return {
    redis.call('HGETALL', head_of(ARGV[2])),
    ARGV[3] == '1' and redis.call('HGETALL', history_of(ARGV[2])) or {},
}
