//! Every metric: what it counts, which words its labels may hold, and what an operator does when it moves.
//!
//! `tests/operate/meters.rs` holds a running relay to it: no metric, label or word on its page that is not here, none here that is not
//! on the page; and the alert rules and the dashboard in `docker/` use no others. To add a metric, add its entry and register it.
//!
//! A name is `postseal_<noun>_<unit>[_total]`, in the base units that Prometheus asks for: seconds and bytes. Those of the process
//! keep the names that they have in every program.

use super::words::{
    Authenticated, CameBack, ConnectionStep, DnsResult, KeptFor, KeyRecord, ListenerTls, MailKind, NoSession, QueueState, Refused, RefusedAt, Reload,
    ReturnRefused, Signature, SpoolState, SubmissionStep, SuppressedFor, Tls, TlsPolicy, all,
};
use crate::mail::Reason;

/// One metric.
#[derive(Debug, Clone, Copy)]
pub struct Meter {
    /// Its name.
    pub name: &'static str,
    /// What kind of number it is.
    pub kind: Kind,
    /// Its labels, in the order in which they are written.
    pub labels: &'static [Label],
    /// What it says. The `HELP` of the page.
    pub means: &'static str,
    /// What an operator does when it moves.
    pub remedy: &'static str,
}

/// What kind of number a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; begins at 0 with each start.
    Counter,
    /// Goes up and down.
    Gauge,
    /// How many took how long.
    Histogram,
}

/// One label.
#[derive(Debug, Clone, Copy)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// What it may hold.
    pub set: Set,
}

/// What a label may hold: always a closed set.
#[derive(Debug, Clone, Copy)]
pub enum Set {
    /// These words.
    Words(fn() -> Vec<&'static str>),
    /// The shaping file's providers, the smart hosts' routes, and `other`.
    Providers,
    /// The configured author domains, at most [`DOMAINS_MAX`](super::DOMAINS_MAX), and `other`.
    AuthorDomains,
    /// The algorithms of keys.
    Algorithms,
    /// postseal's version.
    Version,
}

const PROVIDER: Label = Label { name: "provider", set: Set::Providers };
const AUTHOR_DOMAIN: Label = Label { name: "author_domain", set: Set::AuthorDomains };
const ALGORITHM: Label = Label { name: "algorithm", set: Set::Algorithms };
const REASON: Label = Label { name: "reason", set: Set::Words(all::<Reason>) };
const TLS: Label = Label { name: "tls", set: Set::Words(all::<Tls>) };

macro_rules! meters {
    ($($(#[$doc:meta])* $place:ident = $kind:ident $name:literal [$($label:expr),*] $means:literal => $remedy:literal;)+) => {
        $(
            #[doc = $means]
            pub static $place: Meter = Meter { name: $name, kind: Kind::$kind, labels: &[$($label),*], means: $means, remedy: $remedy };
        )+

        /// All metrics, along the journey of a mail; the page has them in this order.
        pub static METERS: &[&Meter] = &[$(&$place),+];
    };
}

const fn words(name: &'static str, words: fn() -> Vec<&'static str>) -> Label {
    Label { name, set: Set::Words(words) }
}

meters! {
    // The relay.
    BUILD = Gauge "postseal_build_info" [Label { name: "version", set: Set::Version }]
        "Always 1; the label says which version runs."
        => "Nothing; it marks upgrades on a chart.";
    READY = Gauge "postseal_ready_state" []
        "1 while the relay can accept mail: it is not draining, its spool works and has room, and an author domain has a key."
        => "At 0 for longer than a restart takes: ask /readyz, whose body names what is missing.";
    RELOADS = Counter "postseal_reloads_total" [words("result", all::<Reload>)]
        "Reloads of the configuration."
        => "When `rejected` grows: `postseal config check` names the faults; the next start would fail over them.";
    UNCLEAN_LEASES = Gauge "postseal_start_leases_ended" []
        "Deliveries that were under way when the relay last stopped without finishing them; each may arrive twice."
        => "Above 0: the last stop was a crash or a drain that was cut. Give it more time (server.drain, the container's grace period).";

    // Ingress.
    CLIENTS = Gauge "postseal_client_connections" []
        "Clients connected now."
        => "Near the listeners' connections_max: see which client opens so many, or raise the limit.";
    SESSIONS = Counter "postseal_client_sessions_total" [words("policy", all::<ListenerTls>), TLS]
        "Client connections that ended, by the TLS that the listener asks for and the TLS they had."
        => "When `failed` grows: clients do not trust the certificate, or speak TLS 1.1. When `none` grows under `starttls`: passwords are refused there, mail goes in clear text.";
    AUTHENTICATIONS = Counter "postseal_authentications_total" [words("result", all::<Authenticated>)]
        "Authentications of clients."
        => "When `refused` grows: a password has changed, or somebody guesses; the log names the addresses.";
    REFUSALS = Counter "postseal_refusals_total" [words("at", all::<RefusedAt>), words("reason", all::<Refused>)]
        "Refusals to clients, by what they were doing and why."
        => "`key`, `storage`, `configuration` and `local-error` are the relay's own: see the log. The others are told to the clients; when one grows, ask the application's owner.";
    ACCEPTED = Counter "postseal_accepted_messages_total" []
        "Messages answered with 250."
        => "When it stands still though applications send: see postseal_refusals_total and postseal_ready_state.";
    ACCEPTED_RECIPIENTS = Counter "postseal_accepted_recipients_total" []
        "Recipients of messages answered with 250."
        => "A jump beside an even number of messages: an application writes to many at once.";
    ACCEPTED_BYTES = Counter "postseal_accepted_message_bytes_total" []
        "Octets of messages answered with 250, as they were submitted."
        => "Nothing; it sizes the disk.";
    SUBMISSION = Histogram "postseal_submission_seconds" []
        "From the last octet of a message to the write of its 250."
        => "When it grows: postseal_submission_step_seconds says which step.";
    SUBMISSION_STEPS = Histogram "postseal_submission_step_seconds" [words("step", all::<SubmissionStep>)]
        "Steps between the last octet of a message and its 250."
        => "`examine`: the DNS is slow. `wait`, `prepare`: the cores are busy. `commit`: the disk is slow, see postseal_spool_busy_seconds_total.";

    // Seal and spool.
    SIGNATURES = Counter "postseal_signatures_total" [words("signature", all::<Signature>)]
        "Signatures made, at acceptance, for notices and when mail is sealed again."
        => "When one stops growing while mail is accepted: a key was lost or switched off.";
    UNSEALED = Counter "postseal_unsealed_mails_total" []
        "Mails that went into the spool, or out of it, without any signature."
        => "Above 0: no_key = \"pass\" lets mail through that receivers refuse; see that the domain has a key.";
    SPOOLED = Counter "postseal_spooled_mails_total" [words("kind", all::<MailKind>)]
        "Mails made durable: one for each route of a submission, and notices."
        => "When `notice` grows: many submitters are told of failures; see postseal_bounced_recipients_total.";
    SUPPRESSED = Counter "postseal_suppressed_recipients_total" [words("reason", all::<SuppressedFor>)]
        "Recipients of submissions that were not written to, being on the suppression list, by what put them there."
        => "When it grows: an application's list is old; give its owner the notices, or the events `mail.suppressed`. When an address works again: `postseal suppression remove`.";
    SUPPRESSIONS = Gauge "postseal_suppression_entries" []
        "Entries of the suppression list."
        => "A jump: many addresses failed at once; see postseal_bounced_recipients_total and `postseal suppression list` for the cause before it is believed.";
    SUPPRESSIONS_MAX = Gauge "postseal_suppression_limit_entries" []
        "Entries that the suppression list may have (suppression.entries_max)."
        => "Nothing; it is what postseal_suppression_entries is held against.";
    SPOOL = Gauge "postseal_spool_state" [words("state", all::<SpoolState>)]
        "1 for the state that the spool is in."
        => "`full`: make room on its disk. `failed`: a write failed, nothing is accepted or sent; see the log for `spool.failed`, mend the disk, restart.";
    TRANSACTIONS = Counter "postseal_spool_transactions_total" []
        "Transactions that the spool has committed."
        => "Nothing; beside postseal_spool_jobs_total it says how many commits share an fsync.";
    JOBS = Counter "postseal_spool_jobs_total" []
        "Commits, claims, settlements and the like that went into those transactions."
        => "Nothing; see postseal_spool_transactions_total.";
    SPOOL_BUSY = Counter "postseal_spool_busy_seconds_total" []
        "Time that the spool's one writer has worked, waits for the disk included."
        => "When its rate comes near 1: the disk is the bottleneck; move the spool to a faster one.";
    WAL = Gauge "postseal_spool_wal_bytes" []
        "Size of the spool's log at the last look."
        => "Above spool.wal_octets_max: the disk is too slow for checkpoints.";
    COMMITS_LOST = Gauge "postseal_spool_commits_lost" []
        "Transactions that the disk had confirmed and that were gone at the last start: mail answered with 250 may be lost."
        => "Above 0: the disk or its file system does not keep its promises, or an old copy was restored. Tell the submitters.";
    QUARANTINED = Gauge "postseal_quarantined_mails" []
        "Mails set aside because they do not fit their checksum."
        => "Above 0: the disk or the memory corrupts data. `postseal queue list` shows them; copy the spool, then decide on each.";
    DISK_FREE = Gauge "postseal_disk_free_bytes" []
        "Room on the spool's disk."
        => "Near postseal_disk_reserve_bytes: make room; below it nothing is accepted.";
    DISK_RESERVE = Gauge "postseal_disk_reserve_bytes" []
        "Room on the spool's disk that must stay free (spool.reserve_octets)."
        => "Nothing; it is what postseal_disk_free_bytes is held against.";

    // The queue.
    QUEUE = Gauge "postseal_queue_recipients" [PROVIDER, words("state", all::<QueueState>)]
        "Recipients without an outcome. A queue whose hosts were not looked up since the start counts as `other`. As old as postseal_queue_observed_timestamp_seconds says."
        => "When `due` grows: there is more mail than the provider takes; see postseal_deferred_recipients_total for its reasons.";
    QUEUE_OLDEST = Gauge "postseal_queue_oldest_seconds" [PROVIDER]
        "Age of the oldest mail that waits; 0 where none does."
        => "When it grows without end: the provider defers everything; read its replies in the log and see whether they name a remedy.";
    HELD = Gauge "postseal_held_recipients" []
        "Recipients that a person holds; they are not tried, and not among postseal_queue_recipients."
        => "Above 0 for longer than somebody meant: `postseal queue release`.";
    QUEUES = Gauge "postseal_queues" []
        "Queues with a recipient that waits: domains on their way to their MX, and smart hosts."
        => "Nothing; it says whether one domain or many are behind a growing queue.";
    QUEUE_OBSERVED = Gauge "postseal_queue_observed_timestamp_seconds" []
        "When the queue was last counted."
        => "Older than some minutes: the spool is not read; see postseal_spool_state.";

    // Deliver.
    DELIVERED = Counter "postseal_delivered_recipients_total" [PROVIDER]
        "Recipients whose next hop took the mail."
        => "When it stands still for one provider: see its deferrals and its connections.";
    DEFERRED = Counter "postseal_deferred_recipients_total" [PROVIDER, REASON]
        "Attempts that ended with \"not now\", by recipient and reason."
        => "`authentication`: a record is wrong, run `postseal doctor`. `rate-limited`, `reputation`: send less, or slower. `network`: the DNS or the way there.";
    BOUNCED = Counter "postseal_bounced_recipients_total" [PROVIDER, REASON]
        "Recipients given up."
        => "`authentication`, `reputation`, `policy`: stop the stream that causes it and run `postseal doctor`. `user-unknown`: the application's list is old.";
    UNKNOWN_ENDS = Counter "postseal_unknown_ends_total" [PROVIDER]
        "Attempts that broke after the final dot: the mail may have arrived, and be sent again."
        => "When it grows: the way there breaks connections (a firewall with short time-outs), or the provider is in trouble.";
    LIFE = Histogram "postseal_delivery_age_seconds" [PROVIDER]
        "Age of mail when its next hop took it."
        => "When it grows: see postseal_deferred_recipients_total of the provider.";
    HOP_CONNECTIONS = Gauge "postseal_next_hop_connections" [PROVIDER]
        "Connections to next hops, open or being opened."
        => "At the provider's limit of the shaping file with a growing queue: more are not allowed.";
    HOP_OPENED = Counter "postseal_next_hop_sessions_total" [PROVIDER, words("policy", all::<TlsPolicy>), TLS]
        "Sessions opened with next hops, by what was asked of TLS and what came of it."
        => "When `none` grows under `opportunistic`: mail goes in clear text; demand TLS for the route if it must not.";
    HOP_FAILED = Counter "postseal_next_hop_failures_total" [PROVIDER, words("reason", all::<NoSession>)]
        "Tries to open a session that failed, one for each address."
        => "With no session opened meanwhile: the whole provider cannot be reached. `tls-handshake`, `tls-unavailable`: the log has the cause. `connect`: see whether port 25 is open.";
    HOP_IN_CLEAR = Counter "postseal_next_hop_fallbacks_total" [PROVIDER]
        "Sessions without TLS after a failed handshake, where TLS was a courtesy."
        => "When it grows: demand TLS for the route if mail must not go in clear text.";
    HOP_SLOWED = Counter "postseal_provider_slowdowns_total" [PROVIDER]
        "Replies that asked to slow down, and were heeded."
        => "When it grows again and again: lower the limits of the provider in the shaping file.";
    HOP_STEPS = Histogram "postseal_next_hop_step_seconds" [words("step", all::<ConnectionStep>)]
        "Steps towards a session with a next hop."
        => "When it grows for all: the network. `greet` grows by itself where receivers make strangers wait.";
    TRANSACTION = Histogram "postseal_transaction_seconds" [PROVIDER]
        "From MAIL to the reply to the final dot."
        => "When it grows: the provider is slow; nothing but patience, or more connections where it allows them.";
    PROVIDER_FAILING = Gauge "postseal_provider_failing_state" [PROVIDER]
        "1 while no session with the provider can be opened, whichever host is tried; never told of `other`, who are many."
        => "At 1: read `connection.failed` in the log; the cause is ours (firewall, source address, certificates) or the provider's.";

    // What comes home.
    RETURNED = Counter "postseal_returned_messages_total" [words("kind", all::<CameBack>)]
        "Messages that came back to bounce addresses and were taken."
        => "When `bounce` or `complaint` grows faster than what is sent: lists have grown old, or somebody sends what nobody wants; `postseal events` names whom.";
    RETURNED_RECIPIENTS = Counter "postseal_returned_recipients_total" [REASON]
        "Recipients that notices which came back call failed, each once."
        => "When `authentication`, `reputation` or `policy` grow: see what receivers demand (`postseal doctor`).";
    RETURN_REFUSALS = Counter "postseal_return_refusals_total" [words("why", all::<ReturnRefused>)]
        "Recipients and messages that listeners for bounces refused."
        => "`unknown` is the noise of the internet. When `expired` grows: raise readdress.token_age_days_max. `full`: somebody sends one bounce again and again.";
    RETURNS_KEPT = Counter "postseal_returns_kept_mails_total" [words("why", all::<KeptFor>)]
        "Returned mails that are held for a person."
        => "When `undelivered` grows: the mailboxes behind returns.route refuse bounces; mend it, then `postseal queue release`. `unknown-sender`: the table of senders is not that of the relay that sent.";

    // Keys and the DNS.
    KEY_AGE = Gauge "postseal_key_age_seconds" [AUTHOR_DOMAIN, ALGORITHM]
        "How long the oldest key that signs for the domain has been signing."
        => "Above a year: rotate it (`postseal key rotate`), or set rotation.rotate_every.";
    KEY_RECORDS = Gauge "postseal_key_records" [AUTHOR_DOMAIN, words("record", all::<KeyRecord>)]
        "Keys that sign for the domain, by what the DNS shows of them."
        => "When `missing` or `different` is above 0: receivers reject what the key signs; publish the record again (`postseal dns records`).";
    DOMAIN_HELD = Gauge "postseal_domain_held_state" [AUTHOR_DOMAIN]
        "1 while mail of the domain is held because no key of it can be verified."
        => "At 1: publish the records of its keys (`postseal dns records`); held mail goes by itself then.";
    CERTIFICATE = Gauge "postseal_certificate_expiry_timestamp_seconds" []
        "When the first of the listeners' certificates expires; 0 without any."
        => "Near: renew it and reload; clients refuse to connect afterwards.";
    DNS = Counter "postseal_dns_lookups_total" [words("result", all::<DnsResult>)]
        "Questions to the DNS, by their end; those about the signatures of others are not among them."
        => "When `servfail` or `timeout` grow beside the others: the resolver, or the way to it. `bogus`: somebody's zone, or somebody in between.";
    DNS_SECONDS = Histogram "postseal_dns_lookup_seconds" []
        "How long questions to the DNS took, those answered from memory included."
        => "When it grows: the resolver is slow; run one on the same host.";

    // The process.
    CPU = Counter "process_cpu_seconds_total" []
        "Time on the processor, of the program and of the system for it."
        => "When its rate comes near the number of cores: sealing is the bottleneck.";
    MEMORY = Gauge "process_resident_memory_bytes" []
        "Memory in use."
        => "When it grows without end at an even load: report a defect of postseal.";
    DESCRIPTORS = Gauge "process_open_fds" []
        "File descriptors in use."
        => "Near process_max_fds: raise the limit; see postseal_client_connections.";
    DESCRIPTORS_MAX = Gauge "process_max_fds" []
        "File descriptors that the process may use."
        => "Nothing; see process_open_fds.";
    THREADS = Gauge "process_threads" []
        "Threads."
        => "When it grows without end: the disk does not answer.";
    STARTED = Gauge "process_start_time_seconds" []
        "When the process started."
        => "A jump is a restart: see whether anybody meant it.";
}

/// The entry of a metric.
pub fn find(name: &str) -> Option<&'static Meter> {
    METERS.iter().find(|meter| meter.name == name).copied()
}
