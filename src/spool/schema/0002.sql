-- Step 2: what operating a relay adds: holds, events, suppression, what came home.
--
-- Read for PostgreSQL as step 1. Two columns of step 1 take further values: recipients.state 4 is held by a person, 5 cancelled by one;
-- messages.kind 2 is a bounce or the like on its way home.

ALTER TABLE spool ADD COLUMN held INTEGER NOT NULL DEFAULT 0;   -- when it was restored: recipients with this held_at wait for a release; 0: never
ALTER TABLE spool ADD COLUMN events INTEGER NOT NULL DEFAULT 0; -- number of the last event

-- W3C trace context of the submission. Not under the row's sum: a wrong one misleads a chart, nobody's mail.
ALTER TABLE messages ADD COLUMN trace TEXT;

-- What a person decided of a recipient. `route` is under the row's sum where there is one.
ALTER TABLE recipients ADD COLUMN route TEXT;      -- none: its message's
ALTER TABLE recipients ADD COLUMN held_at INTEGER; -- set in state 4 and in no other: one flipped bit holds and releases nobody
CREATE INDEX recipients_aside ON recipients (state) WHERE state IN (3, 4);

-- What happened to mail, written in the transaction that made it so: the outbox of the webhooks and the journey of a message.
CREATE TABLE events (
    number    INTEGER PRIMARY KEY,  -- rises by one
    at        INTEGER NOT NULL,
    kind      TEXT NOT NULL,        -- as in the catalogue of events: mail.accepted, mail.delivered …
    message   INTEGER NOT NULL,     -- MailId
    recipient TEXT COLLATE NOCASE,  -- in its wire form; PostgreSQL: an index over lower(recipient)
    about     TEXT NOT NULL         -- JSON: everything else
);
CREATE INDEX events_by_message ON events (message, number);
CREATE INDEX events_by_recipient ON events (recipient, number) WHERE recipient IS NOT NULL;

-- How far each webhook has got.
CREATE TABLE webhooks (
    name   TEXT PRIMARY KEY,
    number INTEGER NOT NULL         -- of the last event that its endpoint confirmed, or that was given up
) WITHOUT ROWID;

-- Addresses that are not written to any more.
CREATE TABLE suppressions (
    scope      TEXT NOT NULL,       -- author domain, or author domain and stream
    recipient  TEXT NOT NULL,       -- lower case
    reason     TEXT NOT NULL,       -- of config/reasons.toml, 'complaint', or 'manual'
    since      INTEGER NOT NULL,
    expires_at INTEGER,             -- none: until a person removes it
    message    INTEGER,             -- the mail that led to it
    detail     TEXT NOT NULL,       -- the words of the receiver or of the person
    sum        INTEGER NOT NULL,    -- over everything above
    PRIMARY KEY (scope, recipient)
) WITHOUT ROWID;
CREATE INDEX suppressions_by_end ON suppressions (expires_at) WHERE expires_at IS NOT NULL;

-- How much came back to the bounce address of each message.
CREATE TABLE homecomings (
    token  INTEGER PRIMARY KEY,     -- MailId in the token, with its recipient check
    count  INTEGER NOT NULL,
    octets INTEGER NOT NULL,
    last   INTEGER NOT NULL
);
CREATE INDEX homecomings_by_last ON homecomings (last);
