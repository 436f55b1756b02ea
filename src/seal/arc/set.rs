//! The set that we add: ARC-Authentication-Results, ARC-Message-Signature, ARC-Seal (RFC 8617 §4.1, §5.1).

use super::chain::Chain;
use crate::mail::{Field, Headers, Timestamp};
use crate::seal::dkim::profile::covered_by_arc;
use crate::seal::dkim::signature::Covered;
use crate::seal::dkim::{BodyHash, FieldName, SignatureField, Signer, canonical, signature};
use crate::seal::{ArcPlan, FieldKind, SealError, SealField};

/// Makes the set for a header that has everything `below` it already (our own DKIM-Signature fields too), top to bottom. Each field
/// is verified against the public half of its key.
///
/// # Errors
/// The library failed, or what it made does not verify.
pub fn make(plan: &ArcPlan, below: &[Field<'_>], body: BodyHash, unsigned: &[String], signer: &Signer, now: Timestamp) -> Result<[SealField; 3], SealError> {
    let failed = |_| SealError::Sign(signer.id.clone());
    let wrong = || SealError::Unconfirmed(signer.id.clone());

    let results = results(plan.instance, &plan.results);

    let names = covered_by_arc(below, unsigned);
    let covered = canonical::select(below, &names);
    let message = SignatureField::over_message(Some(plan.instance), signer, body, &names, now, None).sign(&covered, signer.key()).map_err(failed)?;
    if !signature::confirms(&message, signer.key(), &Covered::Message { below, body }) {
        return Err(wrong());
    }

    let own = format!("{message}{results}");
    let own = Headers::parse(own.as_bytes()).map_err(|_| wrong())?;
    // RFC 8617 §5.1.2: a failed chain is not covered, the set stands alone.
    let mut sealed = if plan.cv == "fail" { Vec::new() } else { Chain::fields(below, u32::from(plan.instance) - 1) };
    sealed.extend(own.iter().rev());
    let seal = SignatureField::new(FieldName::ArcSeal).tag("i", &plan.instance.to_string()).tag("a", signer.algorithm().as_str());
    let seal = seal.tag("t", &now.unix_seconds().to_string()).tag("cv", &plan.cv).signer(signer);
    let seal = seal.sign(&sealed, signer.key()).map_err(failed)?;
    if !signature::confirms(&seal, signer.key(), &Covered::Fields(&sealed)) {
        return Err(wrong());
    }

    let key = Some(signer.id.to_string());
    Ok([
        SealField { kind: FieldKind::ArcSeal, key: key.clone(), text: seal },
        SealField { kind: FieldKind::ArcMessageSignature, key, text: message },
        SealField { kind: FieldKind::ArcAuthenticationResults, key: None, text: results },
    ])
}

/// `ARC-Authentication-Results: i=1; mx.example.com; auth=pass`, folded at spaces outside quotes.
fn results(instance: u8, payload: &str) -> String {
    let mut text = format!("ARC-Authentication-Results: i={instance};");
    let mut column = text.len();
    for word in words(payload) {
        if column + 1 + word.len() > COLUMNS_MAX {
            text.push_str("\r\n ");
            column = 1;
        } else {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += word.len();
    }
    text + "\r\n"
}

/// The parts between spaces; a quoted string is one part.
fn words(payload: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    payload
        .split(move |c| {
            match c {
                _ if escaped => escaped = false,
                '\\' if quoted => escaped = true,
                '"' => quoted = !quoted,
                _ => {}
            }
            c == ' ' && !quoted
        })
        .filter(|word| !word.is_empty())
}

/// Columns of a line (RFC 5322 §2.1.1); a longer word stands alone.
const COLUMNS_MAX: usize = 78;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_fold_between_words() {
        let payload = "mx.example.com; dkim=pass reason=\"a good signature\" header.d=example.com header.s=selector; spf=pass smtp.mailfrom=example.net";
        assert_eq!(
            results(1, payload),
            "ARC-Authentication-Results: i=1; mx.example.com; dkim=pass\r\n reason=\"a good signature\" header.d=example.com header.s=selector; spf=pass\r\n smtp.mailfrom=example.net\r\n"
        );
    }
}
