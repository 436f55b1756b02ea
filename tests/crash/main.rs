//! What survives: the real program under real load and under what breaks machines, with a ledger of every message.
//!
//! | file | what breaks |
//! |---|---|
//! | `kills.rs` | the process: `kill -9` at random moments of accepting, delivering, draining, reloading, starting and recovering |
//! | `power.rs` | the machine's power: writes that no fsync covered are dropped, torn or kept, as a disk may |
//! | `order.rs` | nothing: strace shows that the `250` follows the fsync |
//! | `full.rs` | the disk, filled to its last octet and freed |
//! | `scarce.rs` | file descriptors; memory, by a limit of the process and by a cgroup |
//! | `read_only.rs` | the right to write: before the start, and in the middle of a load |
//! | `flips.rs` | one octet of any file of the spool |
//!
//! and what they share: `rig.rs` is a relay between load and sink, `letters.rs` what is sent, `clients.rs` who sends it, `sink.rs` who
//! takes it, `ledger.rs` the account, `disk.rs` what is on a disk after a power cut, `volume.rs` a small disk for one spool, `recorder.c` how that is known, `table.rs` the table
//! that is published.
//!
//! By itself each takes seconds; `POSTSEAL_CRASH=long` has each do many rounds, another number that many. A failure prints its seed, which `POSTSEAL_SEED` repeats as
//! far as threads and processes can be repeated, and keeps the folder with configuration, keys and spool.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "a test may stop where it stands")]

mod clients;
mod disk;
mod flips;
mod full;
mod kills;
mod ledger;
mod letters;
mod order;
mod power;
mod read_only;
mod rig;
mod scarce;
mod sink;
mod table;
mod volume;

#[path = "../support/ports.rs"]
mod ports;
#[path = "../support/relay_process.rs"]
mod relay_process;
#[path = "../support/smtp_client.rs"]
mod smtp_client;
