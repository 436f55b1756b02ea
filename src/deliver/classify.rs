//! What a next hop's reply says: for good or not, and what it is about, so that an operator is pointed at the right remedy.
//!
//! Pure. The first digit of the basic code alone decides whether waiting helps (RFC 5321 §4.2.1): large receivers use enhanced codes
//! against their IANA meaning, so what a reply is *about* is read from provider, basic code, enhanced code and text together.

use crate::mail::RemoteReply;

/// What a reply is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Topic {
    /// SPF of the bounce domain, or of the EHLO name.
    Spf,
    /// A DKIM signature or its key record.
    Dkim,
    /// Neither passed.
    Authentication,
    /// The DMARC record of the author domain.
    Dmarc,
    /// The author domain is not aligned with what passed.
    Alignment,
    /// Reverse DNS of our address.
    Ptr,
    /// TLS was missing.
    Tls,
    /// Too much, too fast.
    Rate,
    /// Our address or domain is not trusted.
    Reputation,
    /// The message's form.
    Format,
    /// The message is too large.
    Size,
    /// There is no such recipient.
    Recipient,
    /// The recipient's mailbox is full or closed.
    Mailbox,
    /// Anything else.
    Other,
}

impl Topic {
    /// The `doctor` rule whose remedy belongs to it, where it is the operator's to mend.
    #[must_use]
    pub const fn rule(self) -> Option<&'static str> {
        Some(match self {
            Self::Spf => "spf",
            Self::Dkim => "dkim",
            Self::Authentication => "auth",
            Self::Dmarc => "dmarc",
            Self::Alignment => "alignment",
            Self::Ptr => "ptr",
            Self::Tls => "tls",
            Self::Reputation => "reputation",
            Self::Rate | Self::Format | Self::Size | Self::Recipient | Self::Mailbox | Self::Other => return None,
        })
    }
}

/// What a reply of this provider is about.
#[must_use]
pub fn topic(provider: &str, reply: &RemoteReply) -> Topic {
    let subject = reply.enhanced.map(crate::mail::EnhancedCode::subject_and_detail);
    let text = reply.text().to_ascii_lowercase();
    let own = match provider {
        "google" => subject.and_then(google),
        "microsoft" | "microsoft365" => microsoft(&text),
        "yahoo" => yahoo(&text),
        _ => None,
    };
    own.or_else(|| subject.and_then(standard)).or_else(|| by_text(&text)).unwrap_or(Topic::Other)
}

/// Gmail's table (page of 2026-06-18), which contradicts IANA for x.7.27, x.7.29, x.7.30.
const fn google(subject: (u16, u16)) -> Option<Topic> {
    Some(match subject {
        (7, 23 | 25) => Topic::Ptr,
        (7, 24 | 27) => Topic::Spf,
        (7, 26) => Topic::Authentication,
        (7, 28) | (2, 1) => Topic::Rate,
        (7, 29) => Topic::Tls,
        (7, 30) => Topic::Dkim,
        (7, 31 | 40) => Topic::Dmarc,
        (7, 32) => Topic::Alignment,
        _ => return None,
    })
}

fn microsoft(text: &str) -> Option<Topic> {
    let table = [
        ("rp-00", Topic::Rate),
        ("5.7.515", Topic::Authentication),
        ("sc-00", Topic::Reputation),
        ("dy-00", Topic::Reputation),
        ("ou-00", Topic::Reputation),
        ("required authentication level", Topic::Authentication),
    ];
    table.iter().find(|(words, _)| text.contains(words)).map(|(_, topic)| *topic)
}

fn yahoo(text: &str) -> Option<Topic> {
    let table = [("[ts", Topic::Rate), ("[ph", Topic::Reputation), ("[bl", Topic::Reputation)];
    table.iter().find(|(words, _)| text.contains(words)).map(|(_, topic)| *topic)
}

/// RFC 3463, RFC 7372, RFC 7505 and the IANA registry of enhanced codes.
const fn standard(subject: (u16, u16)) -> Option<Topic> {
    Some(match subject {
        (1, 1..=3 | 6 | 10) => Topic::Recipient,
        (2, 1 | 2) => Topic::Mailbox,
        (2 | 3, 3 | 4) => Topic::Size,
        (6, _) => Topic::Format,
        (7, 20..=22) => Topic::Dkim,
        (7, 23 | 24) => Topic::Spf,
        (7, 25) => Topic::Ptr,
        (7, 26) => Topic::Authentication,
        (7, 28) => Topic::Rate,
        (7, 10 | 30) => Topic::Tls,
        _ => return None,
    })
}

fn by_text(text: &str) -> Option<Topic> {
    let table = [
        ("dmarc", Topic::Dmarc),
        ("dkim", Topic::Dkim),
        ("spf", Topic::Spf),
        ("reverse dns", Topic::Ptr),
        ("ptr record", Topic::Ptr),
        ("rate limit", Topic::Rate),
        ("too many", Topic::Rate),
        ("starttls", Topic::Tls),
        ("block list", Topic::Reputation),
        ("blocklist", Topic::Reputation),
        ("blacklist", Topic::Reputation),
        ("spamhaus", Topic::Reputation),
        ("user unknown", Topic::Recipient),
        ("no such user", Topic::Recipient),
        ("mailbox full", Topic::Mailbox),
        ("over quota", Topic::Mailbox),
    ];
    table.iter().find(|(words, _)| text.contains(words)).map(|(_, topic)| *topic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_code_means_what_its_provider_means() {
        let reply = |code, enhanced: &str, text: &str| RemoteReply { code, enhanced: enhanced.parse().ok(), lines: vec![text.to_owned()] };
        for (provider, reply, expect) in [
            ("google", reply(550, "5.7.27", "SPF"), Topic::Spf),
            ("other", reply(550, "5.7.27", "sender has null MX"), Topic::Other),
            ("google", reply(421, "4.7.28", "rate"), Topic::Rate),
            ("google", reply(421, "4.7.29", "no TLS"), Topic::Tls),
            ("google", reply(550, "5.7.30", "dkim"), Topic::Dkim),
            ("google", reply(550, "5.7.40", "no record"), Topic::Dmarc),
            ("google", reply(421, "5.7.32", "from"), Topic::Alignment),
            ("google", reply(550, "5.1.1", "gone"), Topic::Recipient),
            ("microsoft", reply(550, "5.7.515", "Access denied, sending domain X does not meet the required authentication level"), Topic::Authentication),
            ("microsoft", reply(421, "", "RP-001 rate limit exceeded"), Topic::Rate),
            ("yahoo", reply(421, "4.7.0", "[TSS04] temporarily deferred"), Topic::Rate),
            ("other", reply(550, "5.1.1", "no such user"), Topic::Recipient),
            ("other", reply(550, "", "User unknown"), Topic::Recipient),
            ("other", reply(552, "5.2.2", "full"), Topic::Mailbox),
            ("other", reply(450, "", "hello"), Topic::Other),
        ] {
            assert_eq!(topic(provider, &reply), expect, "{provider} {reply}");
        }
        assert_eq!(Topic::Spf.rule(), Some("spf"));
        assert_eq!(Topic::Recipient.rule(), None);
    }
}
