//! postseal: an outbound mail relay that makes what an application sends acceptable to Gmail, Yahoo and Outlook.
//!
//! This is the map. A mail's journey goes from left to right, and nothing turns back but answers:
//!
//! ```text
//! client ─▶ ingress ─▶ policy ─▶ normalise ─▶ readdress ─▶ seal ─▶ spool ─▶ deliver ─▶ next hop
//!   ▲      Submission  Permit    Normalised   Readdressed  Sealed    │         │
//!   │                  └───── prepare: one pure function ───────┘    │         │
//!   ├─── 250 ◀─────────────────────────────────────────── Receipt ◀──┘         │
//!   ├─── DSN, sealed and spooled as any mail ◀─────────────────────────────────┘
//!   └─── bounce, as it came ◀─ deliver ◀─ spool ◀─ returns ◀─ ingress ◀─ the world
//! ```
//!
//! The `250` of a message can be made of a [`Receipt`](mail::Receipt) only, and only [`spool::Spool::commit`] gives one: what is
//! promised is on disk. Before it everything may fail without harm, since the client still has the mail; behind it everything is
//! kept until each recipient has an outcome.
//!
//! # The rooms, in the order to read them
//!
//! | room | what happens there | what it does *not* know |
//! |---|---|---|
//! | [`mail`] | the vocabulary: domains, addresses, envelopes, messages, notices, outcomes | any other room |
//! | [`smtp`] | both dialogues as values: octets in, wishes out | sockets, clocks, who may do what |
//! | [`ingress`] | listeners, TLS, who a client is; a `Submission` | what becomes of it |
//! | [`policy`] | may this identity send this, as this author, this much, and by which route | keys, DNS |
//! | [`normalise`] | a message that survives every hop unchanged | who sent it and where it goes |
//! | [`readdress`] | a bounce address that leads back and cannot be forged | messages, routes' hosts |
//! | [`seal`] | DKIM signatures and an ARC set, made and checked | where keys are kept |
//! | [`prepare`](mod@prepare) | the four above, in this order, as one function that `serve`, `sign` and the tests share | sockets, disk, clock |
//! | [`spool`] | keeps mail until every recipient has an outcome; says what is due | how mail is made, when to retry |
//! | [`deliver`] | routes, pace, TLS demands, retries; every recipient's ending | how mail was made |
//! | | *beside the journey* | |
//! | [`keys`] | key files: made, read, guarded; what the DNS must say of them | messages, DNS servers |
//! | [`rotation`] | leads the keys of a domain through their life | queues, publishers |
//! | [`dns`] | questions and answers, bounded; the records that a domain needs, printed, compared and written | what follows from an answer |
//! | [`reasons`] | what a reply means: a table of rules, for delivery and for what comes back | who asks |
//! | [`returns`] | whose a message is that came back; what it says: bounce, delay, automatic reply, complaint, of whom and why; where it goes | sockets, DNS, whether what it says is true |
//! | [`verdict`] | what SPF, DKIM and alignment come to for DMARC and Gmail | how a message came about |
//! | [`doctor`] | what receivers demand of a domain and of the relay, held against what the world sees | configuration, messages |
//! | [`migrate`] | what other mail systems are configured with, and what of it becomes ours | the machine they run on |
//! | [`events`] | the catalogues of the log's lines and of the metrics, and how they look | what happens |
//! | [`clock`] | the present | |
//! | [`service`] | the service manager that started us: told of our state, asked for its sockets | what a relay is |
//! | [`admin`] | answers people, probes and programs about the running relay, over HTTP | configuration, who is behind a token |
//! | | *around it* | |
//! | [`config`] | what was written becomes the rooms' `Settings`, with all faults at once | what the rooms do with them |
//! | [`relay`] | joins the rooms; start, reload, drain | nothing: it sees every room |
//! | [`cli`] | one file a command | |
//!
//! # Rules of the house
//!
//! - Imports run down or upstream: any room may use [`mail`], and a station those that the mail passed before it. What it needs of
//!   later ones it asks through a trait of its own ([`ingress::Accept`], [`deliver::Notices`], [`deliver::Reseal`]), which
//!   [`relay`] joins.
//! - Decisions are pure: time and chance are arguments, and nothing is logged. Only *shells* touch socket, disk, clock, chance or log:
//!   [`relay`], [`cli`], [`clock`], the log's writer; in `ingress` listener, connection, door, TLS, PROXY protocol and SASL; in
//!   `deliver` worker, lane, pool, attempt, connection, network and TLS; the listener of `admin`; the resolver and the exchange of `dns`, the SQLite spool, `keys`, the
//!   driver of `rotation`; in `config` the
//!   reading of files; in `seal` the algorithms and the questions about foreign signatures, as in `verdict`.
//! - `tests/tidy.rs` holds both, and has the list of shells file by file.
//! - A standard is cited in one form, `RFC 6376 §3.4.4`, so that one search finds where a section is obeyed.
//! - Each room owns its `Settings`; `config/postseal.toml` names every knob with unit and default.
//!
//! # What is absent
//!
//! Rooms of the design that do not exist yet, so that nobody looks for them: MTA-STS, DANE, TLS-RPT and REQUIRETLS, the PostgreSQL spool,
//! reports (they are passed to a mailbox, not read) and the DMARC advisor.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod admin;
pub mod cli;
pub mod clock;
pub mod config;
pub mod deliver;
pub mod dns;
pub mod doctor;
pub mod events;
pub mod ingress;
pub mod keys;
pub mod mail;
pub mod migrate;
pub mod normalise;
pub mod policy;
pub mod prepare;
pub mod readdress;
pub mod reasons;
pub mod relay;
pub mod returns;
pub mod rotation;
pub mod seal;
pub mod service;
pub mod smtp;
pub mod spool;
pub mod verdict;
