//! Real keys that come, go, and are published meanwhile.

use postseal::keys::{PrivateKey, Record};
use postseal::mail::{Domain, Headers, KeyId, Selector, Timestamp};
use postseal::seal::arc::ChainStatus;
use postseal::seal::dkim::foreign::KeyTexts;
use postseal::seal::dkim::{NoAnswer, Signer};
use postseal::seal::verified::{Verified, key_names, verified};
use postseal::seal::{DomainSeal, Rules};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

/// The author of all mail.
pub const AUTHOR: &str = "author.example";

/// The keys of the author domain, and what the DNS says of them.
#[derive(Default)]
pub struct Keys(Mutex<State>);

#[derive(Default)]
struct State {
    made: usize,
    active: Option<Arc<Signer>>,
    ed25519: Option<Arc<Signer>>,
    retiring: Vec<KeyId>,
    /// By name; and since when it is gone, if it is.
    published: BTreeMap<Domain, (String, Option<Duration>)>,
}

impl Keys {
    pub fn new() -> Self {
        let keys = Self::default();
        keys.rotate();
        {
            let mut state = keys.0.lock().unwrap();
            let signer = state.publish("e1", &material()[RSA_KEYS], false);
            state.ed25519 = Some(signer);
        }
        keys
    }

    /// A new key signs; the one before stays published.
    pub fn rotate(&self) {
        let mut state = self.0.lock().unwrap();
        state.made += 1;
        let (selector, key) = (format!("s{}", state.made), &material()[state.made % RSA_KEYS]);
        let signer = state.publish(&selector, key, true);
        let old = state.active.replace(signer).map(|old| old.id.clone());
        state.retiring.extend(old);
    }

    /// Keys that sign no more are revoked, whatever waits under their signatures.
    pub fn revoke(&self, at: Duration) {
        let mut state = self.0.lock().unwrap();
        for id in std::mem::take(&mut state.retiring) {
            let name = id.to_string().parse::<Domain>().unwrap();
            state.published.get_mut(&name).into_iter().for_each(|(_, gone)| *gone = Some(at));
        }
    }

    /// What the relay signs with now.
    pub fn fill(&self, rules: &mut Rules) {
        let state = self.0.lock().unwrap();
        let seal = DomainSeal {
            rsa: state.active.iter().cloned().collect(),
            ed25519: state.ed25519.iter().cloned().collect(),
            ed25519_on: true,
            retiring: state.retiring.clone(),
            ..DomainSeal::default()
        };
        rules.domains.insert(AUTHOR.parse().unwrap(), seal);
    }

    /// Why a receiver would not trust this message, if it looked for keys as they were at `since`.
    pub fn fault(&self, message: &[u8], since: Duration, now: Timestamp) -> Option<String> {
        let Ok(headers) = Headers::parse(message) else { return Some("it does not parse".to_owned()) };
        let keys: KeyTexts = {
            let state = self.0.lock().unwrap();
            let text = |name: &Domain| match state.published.get(name) {
                Some((text, gone)) if gone.is_none_or(|gone| gone + ON_THE_WAY > since) => vec![text.clone()],
                _ => Vec::new(),
            };
            key_names(&headers, 10).into_iter().map(|name| (name.clone(), Ok::<_, NoAnswer>(text(&name)))).collect()
        };
        let Verified { dkim, chain } = verified(message, &headers, &keys, now, 10);
        let from = headers.named("From").next().map(|field| field.unfolded()).unwrap_or_default();
        if !from.contains(&format!("@{AUTHOR}")) {
            return Some(format!("it is from {from}"));
        }
        if let Some((signature, Err(fault))) = dkim.iter().find(|(_, outcome)| outcome.is_err()) {
            return Some(format!("{} of {:?}: {fault}", signature.selector, signature.domain));
        }
        let aligned = |signature: &postseal::seal::dkim::foreign::ForeignSignature| signature.domain.as_ref().is_some_and(|domain| domain.as_str() == AUTHOR);
        if !dkim.iter().any(|(signature, _)| aligned(signature)) {
            return Some("no aligned signature".to_owned());
        }
        (chain.status != ChainStatus::Pass).then(|| format!("its chain is {:?}: {}", chain.status, chain.why))
    }
}

impl State {
    fn publish(&mut self, selector: &str, key: &PrivateKey, is_rsa: bool) -> Arc<Signer> {
        let id = KeyId { domain: AUTHOR.parse().unwrap(), selector: Selector::new(selector) };
        self.published.insert(id.to_string().parse().unwrap(), (Record::of(key.public().clone()).to_string(), None));
        let signer = if is_rsa { Signer::rsa(id, key.der()) } else { Signer::ed25519(id, key.der()) };
        Arc::new(signer.unwrap())
    }
}

fn material() -> &'static [PrivateKey] {
    static KEYS: OnceLock<Vec<PrivateKey>> = OnceLock::new();
    KEYS.get_or_init(|| {
        let files: [&[u8]; RSA_KEYS + 1] = [
            include_bytes!("../prepare/keys/author.rsa.pem"),
            include_bytes!("../prepare/keys/list.rsa.pem"),
            include_bytes!("../prepare/keys/platform.rsa.pem"),
            include_bytes!("../prepare/keys/author.ed25519.pem"),
        ];
        files.map(|pem| PrivateKey::from_pem(pem).unwrap()).into()
    })
}

const RSA_KEYS: usize = 3;
/// How long what was sealed a moment before a key went may take to its next hop.
const ON_THE_WAY: Duration = Duration::from_mins(2);
