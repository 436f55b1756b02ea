//! Why a client was refused, for the count: read from the reply, so that no refusal can be forgotten. RFC 3463 §3.

use crate::events::meters::words::Refused;
use crate::mail::EnhancedCode;

/// The word for a reply of 400 and above.
pub(super) fn reason_of(code: u16, enhanced: Option<EnhancedCode>) -> Refused {
    let Some(enhanced) = enhanced else { return Refused::Other };
    match (enhanced.class(), enhanced.subject_and_detail(), code) {
        (_, (1, _), _) => Refused::Recipient,
        (_, (3, 0), _) => Refused::LocalError,
        (_, (3, 1), _) => Refused::Storage,
        (_, (3, 2), _) => Refused::GoingDown,
        (_, (3, 4), _) => Refused::Size,
        (_, (3, 5), _) => Refused::Configuration,
        (_, (4, 2), _) => Refused::Timeout,
        (_, (4, 6), _) => Refused::Loop,
        (_, (5, 3), _) => Refused::TooManyRecipients,
        (_, (5, _), 421) | (4, (7, 0), 421) => Refused::Limit,
        (_, (5, _), _) => Refused::Syntax,
        (_, (6, _), _) => Refused::Content,
        (4, (7, 0), 450) => Refused::Rate,
        (5, (7, 0), 550) => Refused::Key,
        (_, (7, 0 | 8 | 11), _) => Refused::Authentication,
        (_, (7, _), _) => Refused::Policy,
        _ => Refused::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_lead_to_reasons() {
        for (code, enhanced, reason) in [
            (550, "5.1.2", Refused::Recipient),
            (451, "4.3.0", Refused::LocalError),
            (452, "4.3.1", Refused::Storage),
            (421, "4.3.2", Refused::GoingDown),
            (552, "5.3.4", Refused::Size),
            (421, "4.4.2", Refused::Timeout),
            (452, "4.5.3", Refused::TooManyRecipients),
            (503, "5.5.1", Refused::Syntax),
            (421, "4.5.0", Refused::Limit),
            (550, "5.6.0", Refused::Content),
            (421, "4.7.0", Refused::Limit),
            (450, "4.7.0", Refused::Rate),
            (454, "4.7.0", Refused::Authentication),
            (550, "5.7.0", Refused::Key),
            (530, "5.7.0", Refused::Authentication),
            (535, "5.7.8", Refused::Authentication),
            (554, "5.7.1", Refused::Policy),
        ] {
            assert_eq!(reason_of(code, enhanced.parse().ok()), reason, "{code} {enhanced}");
        }
        assert_eq!(reason_of(500, None), Refused::Other);
    }
}
