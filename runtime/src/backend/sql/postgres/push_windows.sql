-- Pushes a job, from a trigger or from another language; it exists if and when the caller's transaction commits.
-- Answers the job's id, or that of the job that has the same unique key.
CREATE OR REPLACE FUNCTION taskwright_push(
    task text,
    payload jsonb DEFAULT '{}',
    queue text DEFAULT 'default',
    priority integer DEFAULT 0,
    due timestamptz DEFAULT clock_timestamp(),
    max_attempts integer DEFAULT 20,
    expires timestamptz DEFAULT NULL,
    timeout interval DEFAULT NULL,
    keep_result interval DEFAULT NULL,
    unique_key text DEFAULT NULL,
    headers jsonb DEFAULT '{}',
    tags text[] DEFAULT '{}'
) RETURNS uuid LANGUAGE plpgsql AS $taskwright$
#variable_conflict use_column
DECLARE
    this_moment CONSTANT timestamptz := clock_timestamp();
    bytes CONSTANT bytea := convert_to(push.payload::text, 'UTF8');
    times_out CONSTANT bigint := extract(epoch FROM push.timeout) * 1000000;
    keeps CONSTANT bigint := extract(epoch FROM push.keep_result) * 1000000;
    random bytea := uuid_send(gen_random_uuid());
    id uuid;
    holder uuid;
    held_until bigint;
    extras jsonb;
    home oid;
BEGIN
    IF push.task IS NULL OR push.task !~ '^[A-Za-z0-9._:-]{1,128}$' THEN
        RAISE EXCEPTION 'a job can''t be of task %', coalesce(quote_literal(left(push.task, 200)), 'NULL')
            USING ERRCODE = 'invalid_parameter_value', HINT = 'A name has 1 to 128 characters of A-Z a-z 0-9 . _ : -';
    ELSIF push.queue IS NULL OR push.queue !~ '^[A-Za-z0-9._:-]{1,128}$' THEN
        RAISE EXCEPTION 'a job can''t wait in queue %', coalesce(quote_literal(left(push.queue, 200)), 'NULL')
            USING ERRCODE = 'invalid_parameter_value', HINT = 'A name has 1 to 128 characters of A-Z a-z 0-9 . _ : -';
    ELSIF jsonb_typeof(push.payload) IS DISTINCT FROM 'object' THEN
        RAISE EXCEPTION 'the payload of a job is not a JSON object'
            USING ERRCODE = 'invalid_parameter_value',
            HINT = 'It holds the task''s parameters by name: jsonb_build_object(''order'', 42)';
    ELSIF octet_length(bytes) > 67108864 THEN
        RAISE EXCEPTION 'the payload of a job has % bytes, and the most are 67108864', octet_length(bytes)
            USING ERRCODE = 'program_limit_exceeded', HINT = 'Store it elsewhere, and put where it is into the payload.';
    ELSIF push.priority IS NULL OR push.priority NOT BETWEEN -32768 AND 32767 THEN
        RAISE EXCEPTION 'the priority % is out of range', coalesce(push.priority::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value', HINT = 'It is from -32768 to 32767; higher goes first.';
    ELSIF push.max_attempts IS NULL OR push.max_attempts < 1 THEN
        RAISE EXCEPTION 'a job can''t have % attempts', coalesce(push.max_attempts::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value', HINT = 'It has at least one.';
    ELSIF push.due IS NULL OR NOT isfinite(push.due) OR push.due > '9999-01-01' THEN
        RAISE EXCEPTION 'a job can''t be due at %', coalesce(push.due::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Name a moment before the year 9999.';
    ELSIF NOT isfinite(push.expires) OR push.expires > '9999-01-01' THEN
        RAISE EXCEPTION 'a job can''t expire at %', push.expires
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Leave it out for a job that never does.';
    ELSIF push.timeout <= interval '0' OR push.keep_result < interval '0' THEN
        RAISE EXCEPTION 'a job''s timeout is above zero, and its result is not kept for less than nothing'
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Leave it out for no timeout, or for no result.';
    ELSIF octet_length(push.unique_key) NOT BETWEEN 1 AND 512 THEN
        RAISE EXCEPTION 'a unique key has 1 to 512 bytes, and this one %', octet_length(push.unique_key)
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Leave it out for a job that is like no other.';
    ELSIF jsonb_typeof(push.headers) IS DISTINCT FROM 'object'
        OR EXISTS (SELECT FROM jsonb_each(push.headers) WHERE jsonb_typeof(value) <> 'string') THEN
        RAISE EXCEPTION 'the headers of a job are not a JSON object of texts'
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Write {"name": "text"}.';
    ELSIF push.tags IS NULL OR array_position(push.tags, NULL) IS NOT NULL THEN
        RAISE EXCEPTION 'the tags of a job are an array of texts without NULL'
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Leave it out for none.';
    END IF;

    -- A UUID of version 7 (RFC 9562): milliseconds since 1970, and random.
    random := overlay(random PLACING substring(int8send((extract(epoch FROM this_moment) * 1000)::bigint) FROM 3) FROM 1);
    random := set_byte(random, 6, (get_byte(random, 6) & 15) | 112);
    id := encode(random, 'hex')::uuid;

    IF push.unique_key IS NOT NULL THEN
        LOOP
            INSERT INTO taskwright_unique (unique_key, job) VALUES (push.unique_key, id) ON CONFLICT DO NOTHING;
            EXIT WHEN FOUND;
            SELECT job, until INTO holder, held_until FROM taskwright_unique AS taken
                WHERE taken.unique_key = push.unique_key;
            IF FOUND AND held_until <= (extract(epoch FROM this_moment) * 1000000)::bigint THEN
                -- Taken for a time, which has passed.
                DELETE FROM taskwright_unique AS taken
                    WHERE taken.unique_key = push.unique_key AND taken.until = held_until;
            ELSIF FOUND THEN
                RETURN holder;
            END IF;
        END LOOP;
    END IF;

    -- What few jobs have, as the programs read it.
    extras := jsonb_strip_nulls(jsonb_build_object(
        'timeout', CASE WHEN times_out IS NOT NULL THEN jsonb_build_object('secs', times_out / 1000000, 'nanos', times_out % 1000000 * 1000) END,
        'keep', CASE WHEN keeps IS NOT NULL THEN jsonb_build_object('secs', keeps / 1000000, 'nanos', keeps % 1000000 * 1000) END,
        'unique', CASE WHEN push.unique_key IS NOT NULL THEN jsonb_build_object('key', push.unique_key) END,
        'headers', nullif(push.headers, '{}'),
        'tags', CASE WHEN cardinality(push.tags) > 0 THEN to_jsonb(push.tags) END
    ));

    INSERT INTO taskwright_jobs AS jobs (
        id, due, expires, pushed, attempt, attempt_limit, crashes, priority, retry, codec, queue, task, payload, extras
    ) VALUES (
        id,
        (extract(epoch FROM push.due) * 1000000)::bigint,
        (extract(epoch FROM push.expires) * 1000000)::bigint,
        (extract(epoch FROM this_moment) * 1000000)::bigint,
        0, push.max_attempts, 0, push.priority, 0, 2, push.queue, push.task, bytes,
        CASE WHEN extras <> '{}' THEN convert_to(extras::text, 'UTF8') END
    ) RETURNING jobs.tableoid INTO home;

    -- Workers listen on a channel of the schema's name.
    PERFORM pg_notify(nspname, ' jobs=' || push.queue)
        FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace WHERE pg_class.oid = home;
    RETURN id;
END
$taskwright$
