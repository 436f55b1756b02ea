//! Real peers on loopback: programs that others wrote submit mail to the relay, take mail from it and judge what it made.
//!
//! | file | peers |
//! |---|---|
//! | `api.rs` | schemathesis calls the API of a relay with mail in it as its OpenAPI document says, and as it does not |
//! | `authority.rs` | a pair of BIND is asked directly |
//! | `clients.rs` | swaks, Python's smtplib, curl, Postfix submit |
//! | `disks.rs` | the kernel's tmpfs, overlay and bind mounts hold a spool, or a backup |
//! | `homecoming.rs` | Postfix bounces mail in each of its ways, Dovecot and Postfix have it at the sender's address; dkimpy signs complaints |
//! | `keys.rs` | opendkim-genkey, rspamadm, OpenSSL make keys that are imported, and read exported ones |
//! | `metrics.rs` | Prometheus scrapes, evaluates the alert rules and answers the dashboard |
//! | `next_hops.rs` | Postfix and smtp-sink receive, by MX from BIND; refuse, greylist, fail |
//! | `page.rs` | Chromium looks at the page, html5lib reads it |
//! | `rotation.rs` | BIND shows keys while they rotate under load; dkimpy verifies every message |
//! | `publishing.rs` | BIND takes, or refuses, dynamic updates; named-checkzone reads what is printed |
//! | `verdicts.rs` | dkimpy, Mail::DKIM, OpenDKIM, rspamd judge DKIM, ARC, SPF and DMARC |
//! | `scanners.rs` | nmap looks for an open relay, testssl.sh for weak TLS |
//! | `schemas.rs` | jsonschema holds what `check` and `doctor` print against the schemas they print |
//! | `shells.rs` | bash, zsh and fish read completions, mandoc and groff the manual pages |
//! | `systemd.rs` | systemd reads the units, scores the sandbox, makes user and folders, passes a socket |
//! | `traces.rs` | opentelemetry-proto reads the spans that are posted |
//! | `spf_suite.rs` | the test suite of RFC 7208 is evaluated |
//! | `webhooks.rs` | the library of Standard Webhooks for Python verifies what a receiver got, and jsonschema its events |
//!
//! Every peer runs on free loopback ports with folders of its own and ends with its test. A test whose peer is missing says so and
//! passes; with `CI=true` it fails. `tests/run` installs them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod api;
mod authority;
mod clients;
mod disks;
mod homecoming;
mod keys;
mod metrics;
mod next_hops;
mod page;
mod publishing;
mod rotation;
mod scanners;
mod schemas;
mod shells;
mod spf_suite;
mod support;
mod systemd;
mod traces;
mod verdicts;
mod webhooks;
