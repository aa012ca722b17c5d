-- All SQL of the SQLite storage. A line `-- name --` begins a statement; the lines of comment under
-- it say what it is for. Times are ISO texts in UTC with six decimals, so that their order as text
-- is their order in time; payloads, labels and intents are JSON texts. Values have names, but where
-- many are given on the way of every step.

-- migration_1 --
-- The first schema. `fixed` is a table of its own because every save writes the whole row of
-- `instances` anew. `last_signal` is the greatest number in the inbox. An instance is due at the end
-- of its lease or, at rest, at `wake_at`; ended ones are mostly due never and not in that index.
CREATE TABLE instances (
    id TEXT NOT NULL PRIMARY KEY,
    workflow TEXT NOT NULL,
    version TEXT NOT NULL,
    status TEXT NOT NULL,
    revision INTEGER NOT NULL,
    owner TEXT,
    lease_until TEXT,
    wake_at TEXT,
    last_signal INTEGER NOT NULL DEFAULT 0,
    labels TEXT NOT NULL,
    unique_key TEXT,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    ended_at TEXT,
    intent TEXT NOT NULL,
    payload TEXT NOT NULL
);
CREATE TABLE fixed (
    id TEXT NOT NULL PRIMARY KEY,
    body TEXT NOT NULL
);
CREATE TABLE history (
    id TEXT NOT NULL,
    number INTEGER NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (id, number)
);
CREATE TABLE inbox (
    id TEXT NOT NULL,
    number INTEGER NOT NULL,
    name TEXT NOT NULL,
    payload TEXT NOT NULL,
    sent_at TEXT NOT NULL,
    signal_id TEXT,
    consumed_by TEXT,
    PRIMARY KEY (id, number)
);
CREATE TABLE labels (
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    id TEXT NOT NULL,
    PRIMARY KEY (name, value, id)
) WITHOUT ROWID;
CREATE INDEX instances_by_age ON instances (created_at, id);
CREATE INDEX instances_by_workflow ON instances (workflow, created_at, id);
CREATE INDEX instances_by_status ON instances (status, created_at, id);
CREATE INDEX instances_due ON instances (coalesce(lease_until, wake_at), id)
    WHERE coalesce(lease_until, wake_at) IS NOT NULL;
CREATE UNIQUE INDEX instances_live_key ON instances (unique_key)
    WHERE ended_at IS NULL AND unique_key IS NOT NULL;
CREATE UNIQUE INDEX inbox_signal_id ON inbox (id, signal_id) WHERE signal_id IS NOT NULL;

-- migration_2 --
-- Values that all workflows share; those without `expires_at` stay for ever.
CREATE TABLE shared_values (
    key TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL,
    expires_at TEXT
);
CREATE INDEX shared_values_by_expiry ON shared_values (expires_at) WHERE expires_at IS NOT NULL;

-- tables --
SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name;

-- create --
INSERT INTO instances (
    id, workflow, version, status, revision, owner, lease_until, wake_at, labels, unique_key,
    created_at, updated_at, ended_at, intent, payload
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO NOTHING;

-- create_fixed --
INSERT INTO fixed (id, body) VALUES (?, ?);

-- create_label --
INSERT INTO labels (name, value, id) VALUES (:name, :value, :id);

-- created_before --
-- Whether a repeated `create` finds what it made itself.
SELECT 1 FROM instances WHERE id = :id AND owner = :owner AND revision = 1;

-- save_and_go_on --
-- The compare-and-set of a driver that keeps an instance as it is, most of all saves. SQLite touches
-- every index on a column that is set, even to the value that it has, so only what moves is set.
UPDATE instances SET
    revision = revision + 1,
    lease_until = ?,
    updated_at = ?,
    intent = ?,
    payload = ?
WHERE id = ? AND revision = ? AND owner = ? AND last_signal = ? AND status = ?
    AND wake_at IS NULL AND ended_at IS NULL;

-- save --
-- The compare-and-set of any other save.
UPDATE instances SET
    revision = revision + 1,
    status = ?,
    lease_until = ?,
    wake_at = ?,
    updated_at = ?,
    ended_at = ?,
    intent = ?,
    payload = ?
WHERE id = ? AND revision = ? AND owner = ? AND last_signal = ?;

-- unsaved --
-- The last signal of the head that a `save` expects.
SELECT last_signal FROM instances WHERE id = :id AND revision = :expected AND owner = :owner;

-- saved_before --
-- What a repeated `save` finds if it was done the first time.
SELECT last_signal FROM instances
WHERE id = :id AND revision = :expected + 1 AND owner = :owner;

-- save_entry --
INSERT INTO history (id, number, body) VALUES (?, ?, ?)
ON CONFLICT (id, number) DO UPDATE SET body = excluded.body;

-- consume --
UPDATE inbox SET consumed_by = :taker WHERE id = :id AND number = :number;

-- key_holder --
-- The live instance that holds a unique key.
SELECT id FROM instances
WHERE unique_key = :unique_key AND ended_at IS NULL AND unique_key IS NOT NULL;

-- key_of --
SELECT unique_key FROM instances WHERE id = :id;

-- load --
SELECT
    id, workflow, version, status, revision, owner, lease_until, wake_at, labels, unique_key,
    created_at, updated_at, ended_at, intent, payload, last_signal,
    (SELECT body FROM fixed WHERE fixed.id = instances.id)
FROM instances WHERE id = :id;

-- load_history --
SELECT number, body FROM history WHERE id = :id ORDER BY number;

-- claim --
UPDATE instances SET revision = revision + 1, owner = :owner, lease_until = :lease_until
WHERE id = :id AND (lease_until IS NULL OR lease_until <= :now OR owner = :held)
RETURNING
    id, workflow, version, status, revision, owner, lease_until, wake_at, labels, unique_key,
    created_at, updated_at, ended_at, intent, payload, last_signal,
    (SELECT body FROM fixed WHERE fixed.id = instances.id);

-- due --
SELECT id FROM instances
WHERE coalesce(lease_until, wake_at) <= :now
ORDER BY coalesce(lease_until, wake_at), id
LIMIT :limit;

-- due_of_workflows --
-- The plus keeps SQLite from looking through all instances of the workflows.
SELECT id FROM instances
WHERE coalesce(lease_until, wake_at) <= :now
    AND +workflow IN (SELECT value FROM json_each(:workflows))
ORDER BY coalesce(lease_until, wake_at), id
LIMIT :limit;

-- next_due --
SELECT coalesce(lease_until, wake_at) FROM instances
WHERE coalesce(lease_until, wake_at) > :now
ORDER BY coalesce(lease_until, wake_at), id
LIMIT 1;

-- next_due_of_workflows --
SELECT coalesce(lease_until, wake_at) FROM instances
WHERE coalesce(lease_until, wake_at) > :now
    AND +workflow IN (SELECT value FROM json_each(:workflows))
ORDER BY coalesce(lease_until, wake_at), id
LIMIT 1;

-- renew --
UPDATE instances SET lease_until = :lease_until
WHERE id = :id AND owner = :owner AND lease_until IS NOT NULL
RETURNING last_signal;

-- release --
UPDATE instances SET
    lease_until = NULL,
    wake_at = CASE
        WHEN last_signal > :seen THEN min(coalesce(:wake_at, wake_at, :now), :now)
        ELSE coalesce(:wake_at, wake_at)
    END
WHERE id = :id AND owner = :owner AND lease_until IS NOT NULL;

-- inbox_of --
SELECT status, last_signal FROM instances WHERE id = :id;

-- known_signal --
SELECT number, name, payload, sent_at, signal_id, consumed_by FROM inbox
WHERE id = :id AND signal_id = :signal_id;

-- add_signal --
INSERT INTO inbox (id, number, name, payload, sent_at, signal_id)
VALUES (:id, :number, :name, :payload, :sent_at, :signal_id);

-- announce_signal --
-- The wake-up that must not be lost: whoever is at rest is due, in the transaction of the signal.
UPDATE instances SET
    last_signal = :number,
    wake_at = CASE
        WHEN lease_until IS NULL THEN min(coalesce(wake_at, :now), :now)
        ELSE wake_at
    END
WHERE id = :id;

-- signals --
SELECT number, name, payload, sent_at, signal_id, consumed_by FROM inbox
WHERE id = :id AND number > :after ORDER BY number;

-- delete --
DELETE FROM instances WHERE id = :id AND revision = :revision AND lease_until IS NULL
RETURNING labels;

-- delete_fixed --
DELETE FROM fixed WHERE id = :id;

-- delete_history --
DELETE FROM history WHERE id = :id;

-- delete_inbox --
DELETE FROM inbox WHERE id = :id;

-- delete_label --
DELETE FROM labels WHERE name = :name AND value = :value AND id = :id;

-- get_value --
SELECT value FROM shared_values
WHERE key = :key AND (expires_at IS NULL OR expires_at > :now);

-- set_value --
INSERT INTO shared_values (key, value, expires_at) VALUES (:key, :value, :expires_at)
ON CONFLICT (key) DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at;

-- set_absent_value --
-- One that has expired is absent.
INSERT INTO shared_values (key, value, expires_at) VALUES (:key, :value, :expires_at)
ON CONFLICT (key) DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at
WHERE shared_values.expires_at <= :now;

-- set_equal_value --
UPDATE shared_values SET value = :value, expires_at = :expires_at
WHERE key = :key AND value = :expected AND (expires_at IS NULL OR expires_at > :now);

-- delete_value --
DELETE FROM shared_values WHERE key = :key AND (expires_at IS NULL OR expires_at > :now);

-- sweep_values --
DELETE FROM shared_values WHERE key IN (
    SELECT key FROM shared_values WHERE expires_at <= :now ORDER BY expires_at LIMIT :limit
);

-- list --
-- A listing is put together from here on: `list` or `count`, one of the two sources, the conditions
-- that the filter asks for, and for `list` a page.
SELECT id, workflow, version, status, intent, labels, created_at, updated_at, ended_at

-- count --
SELECT count(*)

-- from_all --
FROM instances WHERE TRUE

-- from_label --
-- CROSS JOIN makes SQLite begin with the label, which few instances share.
FROM labels CROSS JOIN instances USING (id) WHERE labels.name = ? AND labels.value = ?

-- and_label --
AND id IN (SELECT id FROM labels WHERE name = ? AND value = ?)

-- and_workflow --
AND workflow = ?

-- and_status --
AND status = ?

-- and_statuses --
AND status IN (SELECT value FROM json_each(?))

-- and_ended_before --
AND ended_at < ?

-- and_after --
AND (created_at, id) < (SELECT created_at, id FROM instances WHERE id = ?)

-- page --
ORDER BY created_at DESC, id DESC LIMIT ? OFFSET ?
