//! What is counted of sessions with next hops, and of endings.

use super::connection::Connection;
use super::ending::Conclusion;
use super::provider::Place;
use super::target::OpenFault;
use super::tls::TlsDemand;
use super::worker::{Shared, log};
use crate::events::meters::Deliver;
use crate::events::meters::words::{ConnectionStep, NoSession, Tls, TlsPolicy};
use crate::mail::Reason;
use crate::smtp::client::Stage;
use crate::spool::{How, Mail, Spool};

/// A session was opened. `demand` is what policy asked of TLS, whatever came of it.
pub(super) fn opened<S: Spool>(shared: &Shared<S>, place: &Place, demand: TlsDemand, connection: &Connection) {
    let took = connection.took();
    let steps = &shared.meters.steps;
    steps.of(ConnectionStep::Connect).took(took.connect);
    steps.of(ConnectionStep::Greet).took(took.greet);
    if let Some(tls) = took.tls {
        steps.of(ConnectionStep::Tls).took(tls);
    }
    let tls = match connection.tls().map(|session| session.version) {
        None => Tls::None,
        Some("TLSv1.3") => Tls::V13,
        Some(_) => Tls::V12,
    };
    shared.meters.of(&place.provider).sessions.of(policy(demand)).of(tls).one();
    if shared.failing().opened(&place.provider) {
        shared.meters.of(&place.provider).failing.set(0);
        log::provider_recovered(&place.provider);
    }
}

/// There is no session with an address.
pub(super) fn failed<S: Spool>(shared: &Shared<S>, place: &Place, fault: &OpenFault) {
    shared.meters.of(&place.provider).failures.of(why(fault)).one();
    let told = shared.failing().failed(&place.provider, shared.now());
    if let Some(failures) = told {
        shared.meters.of(&place.provider).failing.set(1);
        log::provider_failed(place, failures, fault);
    }
}

/// One recipient of one attempt.
pub(super) fn ended(meters: &Deliver, provider: &str, mail: &Mail, conclusion: &Conclusion) {
    let provider = meters.of(provider);
    let reason = conclusion.judged.map_or(Reason::NotUnderstood, |judged| judged.reason);
    match &conclusion.ending.how {
        How::Delivered(evidence) => {
            provider.delivered.one();
            provider.age.took(evidence.at.since(mail.accepted_at));
        }
        How::Deferred { evidence, .. } => {
            provider.deferred.of(reason).one();
            provider.unknown_ends.many(u64::from(evidence.unknown_end));
        }
        How::Failed(_) => provider.bounced.of(reason).one(),
        How::Kept { .. } => {
            provider.bounced.of(reason).one();
            meters.kept.one();
        }
        How::Cancelled(_) | How::Released { .. } => {}
    }
}

const fn policy(demand: TlsDemand) -> TlsPolicy {
    match demand {
        TlsDemand::None => TlsPolicy::None,
        TlsDemand::Opportunistic => TlsPolicy::Opportunistic,
        TlsDemand::Required => TlsPolicy::Required,
        TlsDemand::Verified => TlsPolicy::Verified,
    }
}

const fn why(fault: &OpenFault) -> NoSession {
    match fault {
        OpenFault::Connect(_) | OpenFault::Timeout(Stage::Connect) => NoSession::Connect,
        OpenFault::Greeting(_) | OpenFault::Ehlo(_) => NoSession::Greeting,
        OpenFault::StartTlsMissing | OpenFault::StartTlsRefused(_) => NoSession::TlsUnavailable,
        OpenFault::Handshake(_) | OpenFault::Timeout(Stage::StartTls) | OpenFault::Closed(Stage::StartTls, _) => NoSession::TlsHandshake,
        OpenFault::AuthMissing(_) | OpenFault::AuthInClear | OpenFault::AuthRefused(_) => NoSession::Authentication,
        OpenFault::Timeout(_) | OpenFault::Closed(..) => NoSession::Broken,
        OpenFault::Protocol(_) => NoSession::Protocol,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_of_tls_is_told_from_one_of_the_way() {
        let refused = || OpenFault::Connect(std::io::ErrorKind::ConnectionRefused.into());
        for (fault, word) in [
            (refused(), NoSession::Connect),
            (OpenFault::Timeout(Stage::Connect), NoSession::Connect),
            (OpenFault::Timeout(Stage::Greeting), NoSession::Broken),
            (OpenFault::Timeout(Stage::StartTls), NoSession::TlsHandshake),
            (OpenFault::Closed(Stage::StartTls, String::new()), NoSession::TlsHandshake),
            (OpenFault::Closed(Stage::Ehlo, String::new()), NoSession::Broken),
            (OpenFault::StartTlsMissing, NoSession::TlsUnavailable),
            (OpenFault::AuthInClear, NoSession::Authentication),
            (OpenFault::Protocol(String::new()), NoSession::Protocol),
        ] {
            assert_eq!(why(&fault), word, "{fault}");
        }
    }
}
