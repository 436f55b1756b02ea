-- Step 3: what comes home, and the suppression list in use.
--
-- Read for PostgreSQL as step 1.

-- Returned mail that is not passed on (a stranger's, or one that nobody took) is held, and forgotten then; set only in messages of kind 2.
-- Not under the row's sum: it is looked at only where every recipient that is left is held.
ALTER TABLE messages ADD COLUMN keep_until INTEGER;
CREATE INDEX messages_kept ON messages (keep_until) WHERE keep_until IS NOT NULL;

-- Whose mail it was: a late bounce tells it to events and to the suppression list. None: closed by an older program.
ALTER TABLE history ADD COLUMN signing_domain TEXT;
ALTER TABLE history ADD COLUMN identity TEXT;
ALTER TABLE history ADD COLUMN envid TEXT;

-- homecomings.token, which step 2 described otherwise and nobody wrote yet, is the number of the bounce token: its MAC.

-- What was told once of a recipient of a message, so that a notice that comes again tells nothing new.
CREATE TABLE findings (
    message   INTEGER NOT NULL,                -- MailId
    recipient TEXT COLLATE NOCASE NOT NULL,
    kind      TEXT NOT NULL,                   -- as in events; behind it ' proven' where it is
    at        INTEGER NOT NULL,
    PRIMARY KEY (message, recipient, kind)
) WITHOUT ROWID;
CREATE INDEX findings_by_time ON findings (at);

ALTER TABLE spool ADD COLUMN suppressions INTEGER NOT NULL DEFAULT 0; -- running total, as those of step 1
UPDATE spool SET suppressions = (SELECT count(*) FROM suppressions);

-- "Is this address on the list?", asked by a person who does not know for whom.
CREATE INDEX suppressions_by_recipient ON suppressions (recipient, scope);
