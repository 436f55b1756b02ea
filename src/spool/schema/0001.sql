-- Step 1: the tables of a spool.
--
-- Written for two engines. In PostgreSQL, INTEGER reads BIGINT, BLOB reads BYTEA and WITHOUT ROWID falls away; nothing else differs.
-- Times are milliseconds since 1970-01-01T00:00:00Z, sums are CRC-32C (RFC 9260 appendix A), addresses are in their wire form, '' is the null path.

-- The spool itself: one row, rewritten by every durable transaction.
CREATE TABLE spool (
    one         INTEGER PRIMARY KEY CHECK (one = 1),
    version     INTEGER NOT NULL,           -- number of the last step of this folder that was made
    commits     INTEGER NOT NULL,           -- durable transactions so far; the file `commits` beside the WAL holds the same number
    openings    INTEGER NOT NULL,           -- how often it was opened: no two body files share a name
    fence       INTEGER NOT NULL,           -- number of the last claim
    mails       INTEGER NOT NULL,           -- running totals, see spool::Counts
    recipients  INTEGER NOT NULL,
    quarantined INTEGER NOT NULL,
    senders     INTEGER NOT NULL
);
INSERT INTO spool VALUES (1, 1, 0, 0, 0, 0, 0, 0, 0);

-- A message with a recipient that is not settled, or one set aside as damaged.
CREATE TABLE messages (
    id                    INTEGER PRIMARY KEY, -- MailId
    state                 INTEGER NOT NULL,    -- 0 waiting, 1 quarantined
    damage                TEXT,                -- why it was quarantined
    waiting               INTEGER NOT NULL,    -- recipients without a final outcome
    sum                   INTEGER NOT NULL,    -- over id and everything below
    recipients            INTEGER NOT NULL,
    accepted_at           INTEGER NOT NULL,
    expires_at            INTEGER NOT NULL,
    identity              TEXT NOT NULL,
    kind                  INTEGER NOT NULL,    -- 0 submission, 1 notice
    signing_domain        TEXT NOT NULL,
    stream                TEXT NOT NULL,
    route                 TEXT NOT NULL,
    original_reverse_path TEXT NOT NULL,
    envid                 TEXT,
    ret                   INTEGER NOT NULL,    -- 0 not given, 1 FULL, 2 HDRS
    needs                 INTEGER NOT NULL,    -- bit 0 8BITMIME, bit 1 SMTPUTF8
    message_id            TEXT NOT NULL,
    track_id              TEXT,
    tag                   TEXT,
    seal                  TEXT NOT NULL,       -- JSON
    body_octets           INTEGER NOT NULL,
    body_sum              INTEGER NOT NULL,
    body_file             TEXT                 -- name below bodies/; none: a row of bodies
);
CREATE UNIQUE INDEX messages_by_file ON messages (body_file) WHERE body_file IS NOT NULL;

-- The octets below the seal, apart from the message's row so that a change of that row does not rewrite them.
CREATE TABLE bodies (
    message INTEGER PRIMARY KEY,
    octets  BLOB NOT NULL
);

-- Who gets what. next_at is due time and lease in one: a leased recipient is due again when its lease runs out.
CREATE TABLE recipients (
    message      INTEGER NOT NULL,
    number       INTEGER NOT NULL,  -- from 0
    state        INTEGER NOT NULL,  -- 0 waiting, 1 delivered, 2 failed, 3 held (its message is quarantined)
    queue        TEXT NOT NULL,
    next_at      INTEGER NOT NULL,
    fence        INTEGER NOT NULL,  -- the claim that leased it; 0: not leased
    attempts     INTEGER NOT NULL,
    unknown_ends INTEGER NOT NULL,
    delay_told   INTEGER NOT NULL,
    evidence     TEXT,              -- JSON: how the last attempt ended
    sum          INTEGER NOT NULL,  -- over message, number and everything below
    mailbox      TEXT NOT NULL,
    notify       INTEGER NOT NULL,  -- 0 not given, 1 NEVER, else 16 + 2 SUCCESS + 4 FAILURE + 8 DELAY
    orcpt_type   TEXT,
    orcpt        TEXT,
    reverse_path TEXT NOT NULL,
    PRIMARY KEY (message, number)
) WITHOUT ROWID;
CREATE INDEX recipients_by_due ON recipients (queue, next_at, message, number) WHERE state = 0;
CREATE INDEX recipients_leased ON recipients (fence) WHERE state = 0 AND fence <> 0;

-- The cold schedule: when each queue has something to do. A million recipients are as many rows here as they have domains.
CREATE TABLE queues (
    queue        TEXT PRIMARY KEY,
    next_at      INTEGER,           -- never before parked_until; none: nobody waits
    parked_until INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX queues_by_due ON queues (next_at) WHERE next_at IS NOT NULL;

-- The original reverse-paths behind the sender ids of bounce tokens.
CREATE TABLE senders (
    id            INTEGER PRIMARY KEY,
    mailbox       TEXT NOT NULL,
    last_used_day INTEGER NOT NULL, -- since 1970-01-01
    sum           INTEGER NOT NULL  -- over id and mailbox
);
CREATE INDEX senders_by_day ON senders (last_used_day);

-- What became of a message, for as long as a bounce of it may come home.
CREATE TABLE history (
    id                    INTEGER PRIMARY KEY,
    closed_at             INTEGER NOT NULL,
    accepted_at           INTEGER NOT NULL,
    stream                TEXT NOT NULL,
    original_reverse_path TEXT NOT NULL,
    message_id            TEXT NOT NULL,
    track_id              TEXT,
    tag                   TEXT,
    recipients            TEXT NOT NULL -- JSON: mailbox, outcome and evidence of each
);
CREATE INDEX history_by_close ON history (closed_at);
