//! Every event that a line of the log can tell: what it means, and what an operator does about it.
//!
//! The relay reads nothing of this; it is for people, and `tests/operate/events.rs` holds the program to it: no event that is not
//! here, none here that is never told, no field or level beside those declared. To add an event, add its entry.
//!
//! | level | says | whose matter (`mail/outcome.rs`) |
//! |---|---|---|
//! | error | something is lost, damaged or broken | ourselves: see what it says, then report a defect |
//! | warn | the operator can mend it | the operator's |
//! | info | an outcome | the submitter's or the next hop's; nothing to do |
//! | debug | how a dialogue went | nobody's |
//!
//! A name is a noun and a verb in the past tense. What *failed* failed for a cause outside; what *broke* is a defect of postseal.

use super::log::Level::{self, Debug, Error, Info, Warn};

/// One kind of line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// `noun.verb`, the verb in the past tense.
    pub name: &'static str,
    /// The levels it is told at, the gravest first.
    pub levels: &'static [Level],
    /// The fields it may carry, of [`FIELDS`]; those with nothing to tell are left out of a line.
    pub fields: &'static [&'static str],
    /// What happened.
    pub means: &'static str,
    /// What an operator does, at the gravest level.
    pub remedy: &'static str,
}

/// A field and what it holds, in whatever event it stands.
pub type Field = (&'static str, &'static str);

/// All fields: one word has one meaning throughout the log. None ever holds a body, a credential or a private key.
pub const FIELDS: &[Field] = &[
    ("address", "an address with its port: of a listener, or of the next hop that was tried"),
    ("algorithm", "the kind of a key: `rsa` or `ed25519`"),
    ("attempts", "how often it was tried, this time included"),
    ("author_domain", "the domain whose keys seal the mail"),
    ("client", "the address of the client, as the proxy in front tells it where there is one"),
    ("commits", "transactions of the spool"),
    ("during", "what was asked of the spool"),
    ("error", "the cause, in words"),
    ("file", "the name of a file within the spool"),
    ("history", "rows of history that were erased"),
    ("host", "the next hop's name: an MX or a smart host"),
    ("hostname", "the relay's own name"),
    ("identity", "the identity that submits"),
    ("key", "a signing key, by the name of its record"),
    ("leases", "deliveries that were under way when the relay last stopped; each may have reached its next hop"),
    ("left", "recipients that could not be handed over"),
    ("listener", "the listener's name in the configuration"),
    ("mail_id", "the mail: stands in its `Received` line, and on every line of its way from `mail.accepted` on"),
    ("mails", "mails in the spool"),
    ("message_id", "the Message-ID of the header"),
    ("notice_id", "the mail id of a notice to a submitter"),
    ("octets", "a size"),
    ("octets_max", "the bound of that size"),
    ("orphans", "files of bodies that no mail names"),
    ("provider", "who stands behind the next hop, by `config/shaping.toml`; else the host or the route"),
    ("quarantined", "damaged mails, held"),
    ("queue", "route and recipient domain"),
    ("queues", "how many queues"),
    ("reason", "why: of an attempt one of the words that `config/reasons.toml` explains; of a key's step as its history has it"),
    ("recipient", "the address an attempt was for"),
    ("recipients", "how many recipients"),
    ("reply", "the SMTP reply: the next hop's own words in `attempt.*` and `provider.*`, else ours to the client"),
    ("rescheduled", "queues whose schedule was mended"),
    ("route", "the route of the recipients"),
    ("rule", "what the reply complains of, where an operator can mend it"),
    ("section", "the part of the configuration"),
    ("sender_id", "the number that stands for a sender in bounce addresses"),
    ("senders", "senders that were forgotten"),
    ("servers", "name servers, a comma between"),
    ("since", "when it began"),
    ("state", "where a key stands: `created`, `published`, `visible`, `active`, `retiring`, `revoked`"),
    ("status", "the enhanced status code (RFC 3463)"),
    ("stream", "the stream of the mail"),
    ("tls", "version and cipher towards the next hop; absent in clear text"),
    ("took_ms", "how long it took, in milliseconds"),
    ("track_id", "the id by which the application knows the mail"),
    ("unknown_end", "`true` where the connection broke after the final dot: the next hop may have the mail, and get it twice"),
    ("until", "the end of the pause"),
    ("version", "postseal's version"),
    ("warning", "what should be known, with its remedy"),
    ("within_ms", "how long it may take, in milliseconds"),
];

/// What the end of an attempt tells.
const ATTEMPT: &[&str] = &[
    "mail_id",
    "recipient",
    "queue",
    "provider",
    "host",
    "address",
    "author_domain",
    "stream",
    "status",
    "reply",
    "error",
    "tls",
    "attempts",
    "unknown_end",
    "reason",
    "rule",
];

/// What the step of a key tells.
const KEY: &[&str] = &["key", "author_domain", "algorithm", "reason"];

/// All events, along the journey of a mail.
pub const EVENTS: &[Event] = &[
    // The life of the relay.
    Event {
        name: "spool.opened",
        levels: &[Info],
        fields: &["took_ms", "mails", "leases", "quarantined", "orphans"],
        means: "The spool is open and, after a crash, recovered.",
        remedy: "Nothing; leases after an unclean end may lead to duplicates.",
    },
    Event {
        name: "commits.lost",
        levels: &[Error],
        fields: &["commits"],
        means: "The spool's disk has forgotten transactions that it had confirmed: mail answered with 250 may be gone.",
        remedy: "Look for a disk or file system that does not keep its promises (write cache, restored snapshot); tell the submitters.",
    },
    Event {
        name: "spool.warned",
        levels: &[Warn],
        fields: &["warning"],
        means: "Something about the spool should be known.",
        remedy: "Do what the warning says.",
    },
    Event {
        name: "spool.held",
        levels: &[Warn],
        fields: &["recipients", "since"],
        means: "The spool was restored from a backup, and its mail is held: some of it may have been sent after the backup was made. New mail flows.",
        remedy: "See what was sent since the backup (the log tells), cancel that, then `postseal spool release`.",
    },
    Event {
        name: "config.warned",
        levels: &[Warn],
        fields: &["warning", "section"],
        means: "The configuration is allowed, but may not be what was meant.",
        remedy: "Do what the warning says, then reload.",
    },
    Event {
        name: "config.reloaded",
        levels: &[Info],
        fields: &[],
        means: "SIGHUP: configuration, keys, certificates and users are those of the files now.",
        remedy: "Nothing.",
    },
    Event {
        name: "config.rejected",
        levels: &[Error],
        fields: &["error"],
        means: "SIGHUP: the files are faulty; one line a fault. The relay goes on as before.",
        remedy: "Mend the files (`postseal config check`), then reload: the next start would fail.",
    },
    // Keys that come and go.
    Event { name: "keys.reloaded", levels: &[Info], fields: &[], means: "Key files have changed and were read anew.", remedy: "Nothing." },
    Event {
        name: "keys.rejected",
        levels: &[Error],
        fields: &["error"],
        means: "Key files have changed and are faulty; one line a fault. The relay signs on with the keys it has.",
        remedy: "Mend the files; they are read again when they change. Until then no key is revoked that the relay signs with.",
    },
    Event { name: "key.created", levels: &[Info], fields: KEY, means: "The next key of a domain was made. It does not sign yet.", remedy: "Nothing." },
    Event {
        name: "key.published",
        levels: &[Info],
        fields: KEY,
        means: "The record of a key was written, or seen where it is written by hand.",
        remedy: "Nothing.",
    },
    Event {
        name: "key.shown",
        levels: &[Info],
        fields: KEY,
        means: "All servers that count show the record of a key; its soak has begun.",
        remedy: "Nothing.",
    },
    Event {
        name: "key.lost",
        levels: &[Info],
        fields: KEY,
        means: "A server shows the record of a key no more, before the key has signed: its soak will start anew.",
        remedy: "See whether the zone's servers lose records, if it happens again and again.",
    },
    Event { name: "key.activated", levels: &[Info], fields: KEY, means: "A key signs from now on.", remedy: "Nothing." },
    Event {
        name: "key.retired",
        levels: &[Info],
        fields: KEY,
        means: "A key signs no more; its record stays for mail that is on its way.",
        remedy: "Nothing.",
    },
    Event {
        name: "key.revoked",
        levels: &[Info],
        fields: KEY,
        means: "The record of an old key says that it is revoked: nothing that it signed can still be on its way.",
        remedy: "Nothing.",
    },
    Event {
        name: "key.removed",
        levels: &[Info],
        fields: KEY,
        means: "The record of a revoked key is withdrawn and its private half deleted.",
        remedy: "Nothing.",
    },
    Event {
        name: "key.delayed",
        levels: &[Warn, Info],
        fields: &["key", "author_domain", "state", "reason"],
        means: "A key waits before its next step; told when the reason changes. A warning where it may wait for a person.",
        remedy: "Do what the reason says: publish or remove a record, mend a server, the publisher or the resolver.",
    },
    Event {
        name: "rotation.failed",
        levels: &[Warn],
        fields: &["author_domain", "error"],
        means: "The keys of a domain could not be looked after; it is tried again.",
        remedy: "Mend what the error names: the ledger, its directory's owner, the clock.",
    },
    Event { name: "listener.opened", levels: &[Info], fields: &["listener", "address"], means: "The listener takes connections.", remedy: "Nothing." },
    Event {
        name: "listener.closed",
        levels: &[Info],
        fields: &["listener", "address"],
        means: "A reload removed or moved the listener; its open connections end in their own time.",
        remedy: "Nothing.",
    },
    Event {
        name: "relay.started",
        levels: &[Info],
        fields: &["hostname", "took_ms", "version"],
        means: "All listeners are open and delivery runs.",
        remedy: "Nothing.",
    },
    Event {
        name: "drain.started",
        levels: &[Info],
        fields: &["within_ms"],
        means: "SIGTERM: no new connections; dialogues and deliveries under way finish.",
        remedy: "Nothing; give it the time before a SIGKILL.",
    },
    Event {
        name: "drain.cut",
        levels: &[Warn],
        fields: &[],
        means: "A second SIGTERM or SIGINT came while the relay drained: it ends at once. What was accepted is in the spool; what was being delivered is tried again at the next start, and may arrive twice.",
        remedy: "Give the drain its time, unless somebody was in a hurry.",
    },
    Event {
        name: "queue.handed_over",
        levels: &[Error, Warn, Info],
        fields: &["route", "recipients", "left", "took_ms"],
        means: "At the end of the relay what waited was given to `server.upstream`. What is `left` stays in the spool; at error it is lost with the spool's disk.",
        remedy: "See why the upstream did not take it in time; raise `server.handover`, and the time that the pod is given, or give the spool a disk that stays.",
    },
    Event { name: "relay.stopped", levels: &[Info], fields: &[], means: "The spool is closed; nothing is under way.", remedy: "Nothing." },
    // Ingress: connections.
    Event {
        name: "accept.failed",
        levels: &[Warn],
        fields: &["listener", "error"],
        means: "The system gives no more connections: out of file descriptors or memory. It is tried again after a pause.",
        remedy: "Raise the limit of open files, or lower `connections_max`.",
    },
    Event {
        name: "proxy.refused",
        levels: &[Warn],
        fields: &["listener", "client", "error"],
        means: "A connection did not begin with a PROXY header of a trusted proxy.",
        remedy: "Let the proxy send it, or add its network to `proxies`; otherwise somebody goes around the proxy.",
    },
    Event {
        name: "connection.turned_away",
        levels: &[Info],
        fields: &["listener", "client"],
        means: "There are as many connections, altogether or of this client, as are allowed.",
        remedy: "If it lasts: raise `connections_max` or `connections_per_client_max`, or let the application keep fewer open.",
    },
    Event {
        name: "connection.refused",
        levels: &[Info],
        fields: &["listener", "client", "error"],
        means: "A client's connection did not come to a dialogue, mostly for want of a TLS handshake.",
        remedy: "See whether the client trusts the certificate and speaks TLS 1.2.",
    },
    Event { name: "connection.opened", levels: &[Debug], fields: &["listener", "client"], means: "A client connected.", remedy: "Nothing." },
    Event {
        name: "connection.closed",
        levels: &[Debug],
        fields: &["listener", "client"],
        means: "A client's connection ended as it should.",
        remedy: "Nothing.",
    },
    Event {
        name: "connection.lost",
        levels: &[Info],
        fields: &["listener", "client", "error"],
        means: "A client's connection broke. What was answered with 250 is kept, the rest is forgotten.",
        remedy: "Nothing, unless it is frequent.",
    },
    Event {
        name: "connections.cut",
        levels: &[Warn],
        fields: &["listener"],
        means: "Connections were still open when the time to drain was over.",
        remedy: "Raise `server.drain` if clients need longer to end their transactions.",
    },
    // Ingress: dialogues.
    Event {
        name: "client.authenticated",
        levels: &[Info],
        fields: &["listener", "client", "identity"],
        means: "A client proved by AUTH who it is.",
        remedy: "Nothing.",
    },
    Event {
        name: "command.refused",
        levels: &[Info],
        fields: &["listener", "client", "reply"],
        means: "A client got a reply of 400 or more.",
        remedy: "Nothing; the reply says what the client should do.",
    },
    Event {
        name: "mail.refused",
        levels: &[Error, Warn, Info],
        fields: &["identity", "client", "reply"],
        means: "A message was not accepted; the level says whose fault it is.",
        remedy: "warn: do what the reply says, mostly about a key. error: a defect of postseal.",
    },
    Event {
        name: "examination.failed",
        levels: &[Warn],
        fields: &["identity", "within_ms"],
        means: "The DNS did not say in time whether the signatures that a message came with verify; it was accepted and left as it is.",
        remedy: "See whether the name servers in `[resolver]` answer. If one identity does this often, ask what it signs with.",
    },
    Event {
        name: "preparation.broke",
        levels: &[Error],
        fields: &["error"],
        means: "The work on a message panicked; the client was told to try again later.",
        remedy: "Report a defect of postseal.",
    },
    Event {
        name: "submission.broke",
        levels: &[Error],
        fields: &["listener", "client", "error"],
        means: "The acceptance of a message panicked; the client was told to try again later.",
        remedy: "Report a defect of postseal.",
    },
    Event {
        name: "mail.accepted",
        levels: &[Info],
        fields: &["mail_id", "identity", "client", "listener", "author_domain", "stream", "route", "recipients", "octets", "message_id", "track_id"],
        means: "A mail is in the spool and promised: one line for each route that its recipients take.",
        remedy: "Nothing.",
    },
    Event {
        name: "mail.passed",
        levels: &[Info],
        fields: &["mail_id", "identity", "client", "listener", "author_domain", "stream", "route", "recipients", "octets", "message_id", "track_id", "took_ms"],
        means: "`through` mode: the next hop has taken the mail for all its recipients, and the client is told so. Nothing is kept here.",
        remedy: "Nothing.",
    },
    Event {
        name: "passage.failed",
        levels: &[Warn, Info],
        fields: &["mail_id", "route", "recipients", "unknown_end", "took_ms", "error"],
        means: "`through` mode: the next hop did not take the mail, and the client is told why. With `unknown_end` it may have it all the same, and get it twice when the client tries again.",
        remedy: "warn: see what the next hop says of our credentials, or why it answers so late; a longer `through.timeout` helps only as long as clients wait.",
    },
    Event {
        name: "receipt.unheard",
        levels: &[Warn],
        fields: &["mail_id", "listener", "client"],
        means: "The client was gone when its 250 was ready. The mail goes its way; a client that tries again sends it twice.",
        remedy: "If frequent: let the client wait longer for the answer to a message (RFC 5321 wants ten minutes).",
    },
    // Keys, as the DNS shows them.
    Event {
        name: "key.unobserved",
        levels: &[Debug],
        fields: &["key", "author_domain", "error"],
        means: "It could not be found out which servers to ask for the record of a key that signs. That proves nothing, and nothing follows from it.",
        remedy: "Nothing; if it goes on, see whether the name servers in `[resolver]` answer.",
    },
    Event {
        name: "key.doubted",
        levels: &[Info],
        fields: &["key", "author_domain", "servers", "error"],
        means: "A server of the zone shows no record, or another one, of a key that signs: seen for the first time, and looked at again soon.",
        remedy: "Nothing yet; `key.missed`, `key.differed` or `key.recovered` follows.",
    },
    Event {
        name: "key.missed",
        levels: &[Warn],
        fields: &["key", "author_domain", "servers", "error", "rule"],
        means: "Servers of the zone show, look after look, no record of a key that signs: receivers cannot verify its signatures.",
        remedy: "Publish the record again (`postseal dns records DOMAIN` prints it, `postseal doctor DOMAIN` looks), on every server that is named.",
    },
    Event {
        name: "key.differed",
        levels: &[Warn],
        fields: &["key", "author_domain", "servers", "error", "rule"],
        means: "Servers of the zone show, look after look, something else at the name of a key that signs: receivers cannot verify its signatures.",
        remedy: "Put the record right (`postseal dns records DOMAIN` prints it), and see who changed it: whoever has the key it shows signs as the domain.",
    },
    Event {
        name: "key.suspended",
        levels: &[Warn],
        fields: &["key", "author_domain", "rule"],
        means: "A key whose record is gone signs no more for now; other keys of the domain do, and waiting mail is sealed by them.",
        remedy: "As for the `key.missed` or `key.differed` before it; then it signs again by itself.",
    },
    Event {
        name: "key.recovered",
        levels: &[Info],
        fields: &["key", "author_domain"],
        means: "Every server shows the record of the key again, for as long as receivers may remember that it was gone; the key signs.",
        remedy: "Nothing.",
    },
    Event {
        name: "domain.held",
        levels: &[Warn],
        fields: &["author_domain", "error", "rule"],
        means: "No key of the domain could be verified, so its mail waits in the spool. Submissions are accepted; what grows too old is returned.",
        remedy: "As for the `key.missed` or `key.differed` before it; the mail goes by itself when the record is back and receivers have forgotten that it was not. To send it as it is: `lost_key = \"warn\"`, and reload.",
    },
    Event { name: "domain.released", levels: &[Info], fields: &["author_domain"], means: "The mail of the domain goes on.", remedy: "Nothing." },
    Event {
        name: "mail.held",
        levels: &[Info],
        fields: &["mail_id", "author_domain", "recipients", "error"],
        means: "A mail is due, but its domain is held: it was put back, without an attempt, and told again each time it is looked at.",
        remedy: "See `domain.held`.",
    },
    // Spool.
    Event {
        name: "spool.swept",
        levels: &[Info],
        fields: &["took_ms", "history", "senders", "queues", "rescheduled", "quarantined"],
        means: "What is too old to be kept was removed, and rows, index and schedule were compared.",
        remedy: "Nothing, unless something was quarantined or rescheduled: then look at the disk.",
    },
    Event {
        name: "spool.stalled",
        levels: &[Warn],
        fields: &["during", "error"],
        means: "The spool could not answer for a moment: too many open files, or a reader in the way. It is asked again.",
        remedy: "If it goes on, raise the limit of open files.",
    },
    Event {
        name: "spool.refused",
        levels: &[Error, Warn, Info],
        fields: &["during", "error", "attempts"],
        means: "The spool did not do what it was asked. A submission was told to try again later; a delivery or a sweep is tried again.",
        remedy: "warn: make room on the disk or raise the bound it names; see who else uses the spool. error: see `spool.failed`.",
    },
    Event {
        name: "spool.failed",
        levels: &[Error],
        fields: &["error"],
        means: "A write to the spool's disk failed. Nothing more is accepted or delivered until a restart; what was promised is kept.",
        remedy: "Mend the disk, then restart: recovery reads what is really there.",
    },
    Event {
        name: "spool.closed_unclean",
        levels: &[Warn],
        fields: &["error"],
        means: "At the end the write-ahead log could not be folded into the database. Nothing is lost; the next start reads it.",
        remedy: "Look at the disk; copy the spool's folder as a whole only.",
    },
    Event {
        name: "disk.ran_low",
        levels: &[Warn],
        fields: &["error"],
        means: "Less room than `spool.reserve_octets` is free: clients are told to try again later. Deliveries go on.",
        remedy: "Make room.",
    },
    Event { name: "disk.recovered", levels: &[Info], fields: &[], means: "There is room again; mail is accepted.", remedy: "Nothing." },
    Event {
        name: "wal.grew",
        levels: &[Warn],
        fields: &["octets", "octets_max"],
        means: "The write-ahead log passed its bound and was truncated while commits waited.",
        remedy: "If frequent: look for a slow disk, or for a program that keeps the database open.",
    },
    Event {
        name: "counter.fell_behind",
        levels: &[Warn],
        fields: &["error"],
        means: "The witness of commits beside the write-ahead log could not be written; the next commit tries again.",
        remedy: "Look at the disk.",
    },
    Event {
        name: "body.left_behind",
        levels: &[Warn],
        fields: &["file", "error"],
        means: "The body of an ended mail could not be removed; the next start removes it.",
        remedy: "See who owns the spool's files.",
    },
    Event {
        name: "mail.quarantined",
        levels: &[Error],
        fields: &["mail_id", "queue", "during", "error"],
        means: "A stored mail does not match its checksum. It is held and not sent: what is damaged may be its recipient.",
        remedy: "Look for failing memory or disks; tell the submitter.",
    },
    Event {
        name: "sender.damaged",
        levels: &[Error],
        fields: &["sender_id"],
        means: "A row of the table of senders does not match its checksum; it is written anew at the sender's next mail.",
        remedy: "Look for failing memory or disks.",
    },
    Event {
        name: "index.mended",
        levels: &[Error],
        fields: &["recipients"],
        means: "Recipients were missing from the index of what is due; it was rebuilt.",
        remedy: "Look for failing memory or disks; their mail may have waited too long.",
    },
    Event {
        name: "schedule.mended",
        levels: &[Error],
        fields: &["queues"],
        means: "Queues stood at a wrong time in the schedule; it was rebuilt.",
        remedy: "Look for failing memory or disks; their mail may have waited too long.",
    },
    Event {
        name: "lease.lost",
        levels: &[Warn],
        fields: &["mail_id", "during", "error"],
        means: "An attempt took longer than its lease, so another may have begun: the mail may arrive twice.",
        remedy: "If frequent: look for a stopped or overloaded machine.",
    },
    // Deliver.
    Event {
        name: "mail.sealed_again",
        levels: &[Info],
        fields: &["mail_id", "author_domain"],
        means: "A key of the mail's seal is no longer in use, or its signature would expire: it got a fresh seal before this attempt.",
        remedy: "Nothing.",
    },
    Event {
        name: "resealing.failed",
        levels: &[Warn],
        fields: &["mail_id", "author_domain", "error"],
        means: "The mail needs a fresh seal and there is none to be had. It goes out with its old one while that verifies; a notice, and mail under no_key = \"pass\", goes out unsigned else. Other mail is held until a key is active, see mail.held.",
        remedy: "See that the domain has an active key (`postseal key list`), then reload.",
    },
    Event {
        name: "connection.failed",
        levels: &[Warn, Info],
        fields: &["mail_id", "provider", "host", "address", "error"],
        means: "There was no session with this address of a next hop; others are tried.",
        remedy: "warn: mend the credentials or the source address that the configuration names.",
    },
    Event {
        name: "connection.fell_back",
        levels: &[Warn],
        fields: &["provider", "host", "address", "error"],
        means: "The TLS handshake failed and no policy demands TLS: this mail goes in clear text.",
        remedy: "Where that must not be, demand TLS for the route.",
    },
    Event {
        name: "provider.slowed",
        levels: &[Warn],
        fields: &["provider", "host", "reply", "until"],
        means: "The provider asked to slow down. It gets a pause, then fewer connections, and recovers by itself.",
        remedy: "If frequent: read the reply, and lower the limits of the provider in the shaping file.",
    },
    Event { name: "attempt.delivered", levels: &[Info], fields: ATTEMPT, means: "The next hop took the mail for one recipient.", remedy: "Nothing." },
    Event {
        name: "attempt.deferred",
        levels: &[Warn, Info],
        fields: ATTEMPT,
        means: "Not now: one recipient is tried again later.",
        remedy: "warn: the reply complains of what `rule` names, such as a DNS record or a certificate; mend it before the mail expires.",
    },
    Event {
        name: "attempt.failed",
        levels: &[Warn, Info],
        fields: ATTEMPT,
        means: "Never: one recipient is given up, and the submitter is told where it wants to be.",
        remedy: "warn: the reply complains of what `rule` names, such as a DNS record; mend it, more mail will fail.",
    },
    Event {
        name: "delivery.broke",
        levels: &[Error],
        fields: &["error"],
        means: "The dispatcher of all queues panicked; it was begun anew.",
        remedy: "Report a defect of postseal.",
    },
    Event {
        name: "attempt.broke",
        levels: &[Error],
        fields: &["queue", "error"],
        means: "The work on a queue panicked; its mail falls back to due and is tried again.",
        remedy: "Report a defect of postseal.",
    },
    Event {
        name: "notice.made",
        levels: &[Info],
        fields: &["mail_id", "notice_id", "recipients"],
        means: "A notice (RFC 3464) about the mail is on its way to the submitter.",
        remedy: "Nothing.",
    },
    Event {
        name: "notice.broke",
        levels: &[Error],
        fields: &["mail_id", "error"],
        means: "A notice about the mail could not be made; the submitter is not told.",
        remedy: "Report a defect of postseal.",
    },
];

/// The entry of an event.
pub fn find(name: &str) -> Option<&'static Event> {
    EVENTS.iter().find(|event| event.name == name)
}
