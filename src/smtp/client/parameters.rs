//! The command lines of a transaction with their parameters, each only where the next hop offered the extension.

use super::{Capabilities, Shape, Transaction, TransactionRecipient};
use crate::mail::{OriginalRecipient, Ret};
use std::fmt::Write;

/// `MAIL FROM` with SIZE (RFC 1870), BODY (RFC 6152), SMTPUTF8 (RFC 6531), RET and ENVID (RFC 3461).
pub(super) fn mail(transaction: &Transaction<'_>, shape: &Shape, smtputf8: bool, offered: &Capabilities) -> String {
    let mut line = format!("MAIL FROM:{}", transaction.reverse_path);
    if offered.size.is_some() {
        let _ = write!(line, " SIZE={}", shape.octets);
    }
    if shape.eight_bit && offered.eight_bit_mime {
        line.push_str(" BODY=8BITMIME");
    }
    if smtputf8 {
        line.push_str(" SMTPUTF8");
    }
    if offered.dsn {
        line.push_str(match transaction.ret {
            Some(Ret::Full) => " RET=FULL",
            Some(Ret::Headers) => " RET=HDRS",
            None => "",
        });
        if let Some(envid) = transaction.envid.and_then(xtext) {
            let _ = write!(line, " ENVID={envid}");
        }
    }
    line + "\r\n"
}

/// `RCPT TO` with NOTIFY and ORCPT (RFC 3461).
pub(super) fn rcpt(recipient: &TransactionRecipient<'_>, offered: &Capabilities) -> String {
    let mut line = format!("RCPT TO:<{}>", recipient.mailbox);
    if offered.dsn {
        if let Some(notify) = recipient.notify.wire() {
            let _ = write!(line, " NOTIFY={notify}");
        }
        if let Some(orcpt) = recipient.orcpt.and_then(orcpt) {
            let _ = write!(line, " ORCPT={orcpt}");
        }
    }
    line + "\r\n"
}

/// `addr-type;address`; `None` where it cannot be said, as for UTF-8 in an `rfc822` address, or is too long.
fn orcpt(original: &OriginalRecipient) -> Option<String> {
    let address = if original.address_type.eq_ignore_ascii_case("utf-8") { utf8_addr_xtext(&original.address) } else { xtext(&original.address)? };
    let type_is_atom = !original.address_type.is_empty() && original.address_type.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let value = format!("{};{address}", original.address_type);
    (type_is_atom && value.len() <= ORCPT_OCTETS_MAX).then_some(value)
}

/// RFC 3461 §4; `None` for what is not ASCII and so has no xtext.
fn xtext(text: &str) -> Option<String> {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'+' | b'=' | ..=b' ' | 0x7f => {
                let _ = write!(encoded, "+{byte:02X}");
            }
            b'!'..=b'~' => encoded.push(char::from(byte)),
            0x80.. => return None,
        }
    }
    (!encoded.is_empty()).then_some(encoded)
}

/// RFC 6533 §3 utf-8-addr-xtext: good for any next hop, with SMTPUTF8 or without.
fn utf8_addr_xtext(address: &str) -> String {
    let mut encoded = String::with_capacity(address.len());
    for c in address.chars() {
        if c.is_ascii_graphic() && !matches!(c, '+' | '=' | '\\') {
            encoded.push(c);
        } else {
            let _ = write!(encoded, "\\x{{{:02X}}}", u32::from(c));
        }
    }
    encoded
}

/// RFC 3461 §4.2: the value of ORCPT.
const ORCPT_OCTETS_MAX: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::{Mailbox, Notify, ReversePath};

    fn offering(dsn: bool) -> Capabilities {
        Capabilities { dsn, size: Some(0), eight_bit_mime: true, smtputf8: true, ..Capabilities::default() }
    }

    #[test]
    fn mail_carries_what_was_offered_and_is_needed() {
        let path = ReversePath::from(Mailbox::parse("\"a b\"@x.example").unwrap());
        let transaction =
            Transaction { reverse_path: &path, recipients: &[], envid: Some("a+b=c d"), ret: Some(Ret::Headers), header: b"", message: b"", as_it_is: false };
        let shape = |eight_bit| Shape { octets: 42, eight_bit, eight_bit_header: false };
        for (eight_bit, smtputf8, offered, expect) in [
            (false, false, Capabilities::default(), ""),
            (true, false, Capabilities::default(), ""),
            (false, false, offering(false), " SIZE=42"),
            (true, true, offering(false), " SIZE=42 BODY=8BITMIME SMTPUTF8"),
            (false, false, offering(true), " SIZE=42 RET=HDRS ENVID=a+2Bb+3Dc+20d"),
        ] {
            assert_eq!(mail(&transaction, &shape(eight_bit), smtputf8, &offered), format!("MAIL FROM:<\"a b\"@x.example>{expect}\r\n"));
        }
    }

    #[test]
    fn rcpt_carries_notify_and_orcpt_only_to_hops_that_know_them() {
        let mailbox = Mailbox::parse("b@y.example").unwrap();
        let notify = Notify::On { success: true, failure: true, delay: false };
        let line = |address_type: &str, address: &str, dsn| {
            let orcpt = OriginalRecipient { address_type: address_type.into(), address: address.into() };
            rcpt(&TransactionRecipient { mailbox: &mailbox, notify, orcpt: Some(&orcpt) }, &offering(dsn))
        };
        assert_eq!(line("rfc822", "b@y.example", false), "RCPT TO:<b@y.example>\r\n");
        for (address_type, address, expect) in [
            ("rfc822", "b+c=d@y.example", " ORCPT=rfc822;b+2Bc+3Dd@y.example"),
            ("rfc822", "b\r\nDATA@y.example", " ORCPT=rfc822;b+0D+0ADATA@y.example"),
            ("rfc822", "für@y.example", ""),
            ("utf-8", "f\\ür+@y.example", " ORCPT=utf-8;f\\x{5C}\\x{FC}r\\x{2B}@y.example"),
            ("rf c", "b@y.example", ""),
        ] {
            assert_eq!(line(address_type, address, true), format!("RCPT TO:<b@y.example> NOTIFY=SUCCESS,FAILURE{expect}\r\n"));
        }
        let longest = "x".repeat(ORCPT_OCTETS_MAX - "rfc822;".len());
        assert!(line("rfc822", &longest, true).contains("ORCPT"));
        assert!(!line("rfc822", &format!("{longest}x"), true).contains("ORCPT"));
    }
}
