//! rspamd: the module dkim_signing. Its domains become author domains; its keys are taken by `postseal key import`, which the draft names.

use super::Draft;
use crate::keys::import::rspamd;
use std::collections::BTreeSet;
use std::path::Path;

/// What becomes of a `dkim_signing.conf` at `path`.
///
/// # Errors
/// The text is not read, or names no key.
pub fn read(text: &str, path: &str) -> Result<Draft, Vec<String>> {
    let found = rspamd::configuration(text, Path::to_path_buf)?;
    let mut draft = Draft::default();
    let domains: BTreeSet<_> = found.keys.iter().map(|key| key.domain.as_str().to_owned()).collect();
    draft.list("identities.app", "author_domains", &domains, "the domains that have keys");
    draft.list("identities.app", "networks", ["127.0.0.0/8", "::1/128"], "a stand-in");
    draft.ask("list in identities.app.networks who may send: rspamd knows that from its options.inc (local_addrs) and from the mail server before it");
    draft.ask(format!("postseal key import --rspamd {path}"));
    found.notes.into_iter().for_each(|note| draft.leave(note));
    for line in text.lines().map(|line| line.split('#').next().unwrap_or_default().trim()) {
        let Some((name, value)) = line.split_once('=') else { continue };
        if let Some((name, why)) = LEFT.iter().find(|(left, _)| *left == name.trim()) {
            draft.leave(format!("{name} = {}: {why}", value.trim().trim_end_matches(';').trim()));
        }
    }
    Ok(draft)
}

const LEFT: [(&str, &str); 12] = [
    ("allow_hdrfrom_mismatch", "the author domain is that of From; the envelope sender is rewritten"),
    ("allow_hdrfrom_mismatch_sign_networks", "the author domain is that of From; the envelope sender is rewritten"),
    ("allow_username_mismatch", "which From an identity may use is its author_domains"),
    ("auth_only", "whoever may relay is signed for"),
    ("sign_authenticated", "whoever may relay is signed for"),
    ("sign_local", "whoever may relay is signed for"),
    ("sign_networks", "list these networks in identities.app.networks"),
    ("use_domain", "the author domain is that of From"),
    ("use_esld", "every author domain has a key of its own, or is at or below one in [domains]"),
    ("sign_headers", "which fields are signed and oversigned is decided by the software, to what receivers demand"),
    ("use_redis", "keys are files beside the configuration"),
    ("use_vault", "keys are files beside the configuration"),
];
