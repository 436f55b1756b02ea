//! Feedback reports: a recipient pressed "this is spam" (RFC 5965; RFC 6449 for how it is meant).

use super::arrived::{Arrived, Returnee};
use crate::mail::Headers;

/// What a feedback report says. Nothing of it is proven: that the reporter is who it says is for whoever verifies its signature.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Complaint {
    /// `Feedback-Type`, lower case: `abuse`, `fraud`, `virus`, `opt-out`, `not-spam`, `auth-failure`, …
    pub feedback_type: String,
    /// `User-Agent`.
    pub user_agent: Option<String>,
    /// `Original-Mail-From`, without angle brackets.
    pub mail_from: Option<String>,
    /// `Original-Rcpt-To` or `Removal-Recipient`, without angle brackets; else whom the message itself names. Many reporters black it out.
    pub recipients: Vec<String>,
    /// `Source-IP`, as it stands.
    pub source_ip: Option<String>,
    /// `Arrival-Date` or `Received-Date`, as it stands.
    pub arrived: Option<String>,
    /// `Reported-Domain`.
    pub domains: Vec<String>,
    /// `Incidents`; 1 where it is not said.
    pub incidents: u32,
}

impl Complaint {
    /// Whether it is a person's complaint: `auth-failure` (RFC 6591) and `dmarc` tell of something else, `not-spam` of the contrary.
    #[must_use]
    pub fn counts(&self) -> bool {
        !matches!(self.feedback_type.as_str(), "not-spam" | "auth-failure" | "dmarc")
    }
}

/// `None` where it is no feedback report.
#[must_use]
pub fn read(arrived: &Arrived) -> Option<Complaint> {
    let mut complaint = match &arrived.feedback {
        Some(part) => of_report(part),
        None if is_jmrp(arrived) => Complaint { feedback_type: "abuse".to_owned(), incidents: 1, ..Complaint::default() },
        None => return None,
    };
    if complaint.recipients.is_empty() {
        complaint.recipients.extend(arrived.original.as_ref().and_then(named_in));
    }
    Some(complaint)
}

fn of_report(part: &[u8]) -> Complaint {
    let text = String::from_utf8_lossy(part);
    let mut lines = String::new();
    for line in text.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
        let is_field = line.split_once(':').is_some_and(|(name, _)| !name.is_empty() && name.bytes().all(|b| (b'!'..=b'~').contains(&b)));
        if is_field || line.starts_with([' ', '\t']) && !lines.is_empty() {
            lines.push_str(line);
            lines.push_str("\r\n");
        }
    }
    let Ok(fields) = Headers::parse(lines.as_bytes()) else { return Complaint { incidents: 1, ..Complaint::default() } };
    let all = |name: &str| {
        fields
            .named(name)
            .map(|field| super::one_line(&field.unfolded(), VALUE_OCTETS_MAX))
            .filter(|value| !value.is_empty())
            .take(VALUES_MAX)
            .collect::<Vec<_>>()
    };
    let one = |name: &str| all(name).into_iter().next();
    let bare = |value: String| value.trim_matches(['<', '>', ' ']).to_owned();
    let recipients = all("Original-Rcpt-To").into_iter().chain(all("Removal-Recipient")).map(bare).filter(|address| address.contains('@')).collect();
    Complaint {
        feedback_type: one("Feedback-Type").unwrap_or_default().to_ascii_lowercase(),
        user_agent: one("User-Agent"),
        mail_from: one("Original-Mail-From").map(bare),
        recipients,
        source_ip: one("Source-IP"),
        arrived: one("Arrival-Date").or_else(|| one("Received-Date")),
        domains: all("Reported-Domain"),
        incidents: one("Incidents").and_then(|text| text.parse().ok()).unwrap_or(1),
    }
}

/// Outlook.com's Junk Mail Reporting Program sends the message as an attachment, with no report.
fn is_jmrp(arrived: &Arrived) -> bool {
    let of_microsoft = ["@hotmail.com", "@outlook.com", "@microsoft.com"].iter().any(|end| arrived.from.1.ends_with(end));
    let named = |name: &str| arrived.original.as_ref().is_some_and(|original| original.value(name).is_some());
    arrived.from.1 == "staff@hotmail.com" && arrived.original.is_some()
        || of_microsoft && (named("x-hmxmroriginalrecipient") || named("x-hmxmroriginalrecipients"))
}

fn named_in(original: &Returnee) -> Option<String> {
    let jmrp = original.value("x-hmxmroriginalrecipient").map(|value| value.trim_matches(['<', '>', ' ']).to_owned());
    let only = || match original.to.as_slice() {
        [one] => Some(one.clone()),
        _ => None,
    };
    jmrp.or_else(only).filter(|address| address.contains('@') && !address.starts_with("undisclosed"))
}

const VALUE_OCTETS_MAX: usize = 1024;
const VALUES_MAX: usize = 100;
