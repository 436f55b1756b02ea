//! What the end of an attempt means: why, and whether an operator can mend it. Asked of the table of reasons, which notices that come
//! back are judged by too.
//!
//! Pure. Whether waiting helps is not decided here: that is the first digit of the basic code alone (RFC 5321 §4.2.1).

use crate::mail::Evidence;
use crate::reasons::{Judgement, Said, Table};

/// What an ending means that is no success. `provider` as the log names it.
#[must_use]
pub fn judge(reasons: &Table, provider: &str, evidence: &Evidence) -> Judgement {
    let host = evidence.remote.as_ref().map(|remote| remote.host.as_str()).unwrap_or_default();
    match evidence.reply.as_ref().filter(|reply| reply.code >= 400) {
        Some(reply) => {
            let judged = reasons.judge_reply(provider, host, reply);
            // Given up at an answer that says nothing: that it waited too long is all that is known.
            let expired = || reasons.judge(&Said { status: Some(evidence.status), ..Said::default() });
            if judged.reason == crate::mail::Reason::NotUnderstood && evidence.status.subject_and_detail() == EXPIRED { expired() } else { judged }
        }
        // Our own finding, by our own words and codes.
        None => {
            Judgement { doctor: None, ..reasons.judge(&Said { provider: None, host: "", code: None, status: Some(evidence.status), text: &evidence.text }) }
        }
    }
}

/// RFC 3463 §3.5, X.4.7.
const EXPIRED: (u16, u16) = (4, 7);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::{Reason, RemoteReply, Timestamp};

    fn evidence(status: &str, text: &str, reply: Option<RemoteReply>) -> Evidence {
        Evidence { status: status.parse().unwrap(), reply, text: text.to_owned(), remote: None, tls: None, unknown_end: false, at: Timestamp::EPOCH }
    }

    #[test]
    fn the_same_code_means_what_its_provider_means() {
        let reply = |code, enhanced: &str, text: &str| RemoteReply { code, enhanced: enhanced.parse().ok(), lines: vec![text.to_owned()] };
        let table = Table::default();
        for (provider, reply, reason, rule) in [
            ("google", reply(550, "5.7.27", "SPF"), Reason::Authentication, Some("spf")),
            ("other", reply(550, "5.7.27", "sender has null MX"), Reason::NotUnderstood, None),
            ("google", reply(421, "4.7.28", "rate"), Reason::RateLimited, None),
            ("google", reply(421, "4.7.29", "no TLS"), Reason::Policy, Some("tls")),
            ("google", reply(550, "5.7.30", "dkim"), Reason::Authentication, Some("dkim")),
            ("google", reply(550, "5.7.40", "no record"), Reason::Authentication, Some("dmarc")),
            ("google", reply(421, "5.7.32", "from"), Reason::Authentication, Some("alignment")),
            ("google", reply(550, "5.1.1", "gone"), Reason::UserUnknown, None),
            (
                "microsoft",
                reply(550, "5.7.515", "Access denied, sending domain X does not meet the required authentication level"),
                Reason::Authentication,
                Some("auth"),
            ),
            ("microsoft", reply(421, "", "RP-001 rate limit exceeded"), Reason::RateLimited, None),
            ("yahoo", reply(421, "4.7.0", "[TSS04] temporarily deferred"), Reason::RateLimited, None),
            ("other", reply(550, "5.7.26", "DMARC says no"), Reason::Authentication, Some("auth")),
            ("mx.one.example", reply(550, "5.1.1", "no such user"), Reason::UserUnknown, None),
            ("other", reply(550, "", "User unknown"), Reason::UserUnknown, None),
            ("other", reply(552, "5.2.2", "full"), Reason::MailboxFull, None),
            ("other", reply(450, "", "hello"), Reason::NotUnderstood, None),
        ] {
            let judged = judge(&table, provider, &evidence("5.0.0", "", Some(reply.clone())));
            assert_eq!((judged.reason, judged.doctor), (reason, rule), "{provider} {reply}");
            assert_eq!(judged.permanent, reply.code >= 500, "{reply}");
        }
    }

    #[test]
    fn our_own_findings_have_reasons_too() {
        let table = Table::default();
        for (status, text, reason, permanent) in [
            ("5.1.2", "the domain \"gone.example\" does not exist", Reason::DomainNotFound, true),
            ("5.1.10", "the domain \"x.example\" accepts no mail: its MX is \".\" (RFC 7505)", Reason::DomainNotFound, true),
            ("4.4.3", "no name server answered", Reason::Network, false),
            ("4.4.1", "connect: Connection refused", Reason::Network, false),
            ("4.4.7", "given up after 120 hours", Reason::Expired, false),
            ("4.4.7", "given up after 120 hours; connect: Connection refused", Reason::Network, false),
        ] {
            let judged = judge(&table, "other", &evidence(status, text, None));
            assert_eq!((judged.reason, judged.permanent, judged.doctor), (reason, permanent, None), "{status} {text}");
        }
        let silent = RemoteReply { code: 450, enhanced: None, lines: vec!["hello".to_owned()] };
        assert_eq!(judge(&table, "other", &evidence("4.4.7", "given up after 120 hours", Some(silent))).reason, Reason::Expired);
    }
}
