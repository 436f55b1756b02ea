//! What the page shows when no relay stands behind it: a quiet day, a busy one, one on which everybody is hostile, one that is too much.

#![allow(dead_code, reason = "each test binary uses its part")]

use postseal::admin::page::matters::{self, Complaint, Facts, Matter, Paused};
use postseal::admin::page::view::{
    Act, DomainStanding, DomainView, DomainsView, Examination, FindingView, Found, Frame, Grade, Group, GroupView, Journey, KeyView, Mishap, Now, Outlook,
    QueueView, Span, Stage, Standing, Step, SuppressedEntry, SuppressedView, Trip, TripState, Trouble, Waiting, Words,
};
use postseal::events::traffic::{Beat, Counts, Series, Traffic};
use postseal::mail::{MailId, Reason, Timestamp};
use postseal::spool::control::State;
use std::sync::Mutex;
use std::time::Duration;

/// A day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Day {
    Quiet,
    Busy,
    Hostile,
    TooMuch,
    /// The spool does not answer.
    Broken,
}

/// An outlook on it.
pub struct Scene {
    pub day: Day,
    /// What was done to mail.
    pub done: Mutex<Vec<(MailId, &'static str)>>,
}

/// What its forms carry.
pub const FORM_TOKEN: &str = "a-token";

/// What others might write to be taken for a part of the page.
pub const EVIL: &str = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>&amp;{{7*7}}\u{202e}";

impl Scene {
    pub fn of(day: Day) -> Self {
        Self { day, done: Mutex::default() }
    }

    fn text(&self, usual: &str) -> String {
        if self.day == Day::Hostile { format!("{EVIL}{usual}") } else { usual.to_owned() }
    }

    fn whole(&self) -> Result<(), Trouble> {
        if self.day == Day::Broken { Err(Trouble("the spool cannot be asked right now: too many open files".to_owned())) } else { Ok(()) }
    }

    fn words(&self, reply: &str, reason: Reason, host: &str) -> Words {
        Words { reply: self.text(reply), ours: String::new(), reason: Some(reason), host: self.text(host) }
    }

    fn traffic(&self) -> Traffic {
        let traffic = Traffic::default();
        if self.day == Day::Quiet {
            return traffic;
        }
        for minute in 0..24 * 60_u64 {
            let at = now() - Duration::from_secs((24 * 60 - 1 - minute) * 60 + 20);
            let wave = 90 + (minute * 37 % 41) + (minute % 97) / 2 + if minute % 60 == 30 { 60 } else { 0 };
            traffic.note(Beat::Accepted, wave, at);
            traffic.note(Beat::Delivered, wave.saturating_sub(minute % 7), at);
            traffic.note(Beat::Deferred, if minute % 60 > 38 { minute % 11 } else { u64::from(minute % 9 == 0) }, at);
            traffic.note(Beat::Refused, u64::from(minute % 17 == 4), at);
            traffic.note(Beat::Failed, u64::from(minute % 29 == 4), at);
        }
        traffic
    }

    fn groups(&self) -> Vec<Group> {
        let group = |name: &str, recipients, minutes: u64, paused: bool, words: Option<Words>, domains: &[(&str, u64)]| Group {
            name: self.text(name),
            recipients,
            oldest: Some(ago(minutes)),
            next_at: Some(now() + Duration::from_secs(140)),
            paused_until: paused.then(|| now() + Duration::from_secs(527)),
            connections: u32::from(!paused) * 2,
            words_at: words.as_ref().map(|_| ago(2)),
            words,
            domains: domains.iter().map(|(name, count)| (self.text(name), *count)).collect(),
        };
        let slow = "421 4.7.28 Gmail has detected an unusual rate of unsolicited mail originating from your DKIM domain [example.com 35]. To protect our users from spam, mail has been temporarily rate limited. For more information, go to https://support.google.com/mail/?p=UnsolicitedRateLimitError a640c23a62f3a-afeb48b5d3bsi312";
        match self.day {
            Day::Quiet | Day::Broken => Vec::new(),
            Day::TooMuch => (0..10_000).map(|number| group(&format!("provider-{number}"), 10_000 - number, 12, false, None, &[])).collect(),
            Day::Busy | Day::Hostile => vec![
                group(
                    "google",
                    1284,
                    42,
                    true,
                    Some(self.words(slow, Reason::RateLimited, "gmail-smtp-in.l.google.com")),
                    &[("gmail.com", 1190), ("kaffeehaus-am-markt.example", 61), ("googlemail.com", 33)],
                ),
                group(
                    "microsoft365",
                    96,
                    7,
                    false,
                    Some(self.words(
                        "451 4.7.500 Server busy. Please try again later from [192.0.2.25]. (S77714)",
                        Reason::RateLimited,
                        "contoso-com.mail.protection.outlook.com",
                    )),
                    &[("contoso.example", 58), ("fabrikam.example", 38)],
                ),
                group(
                    "mx.kleinstadt.example",
                    3,
                    190,
                    false,
                    Some(Words {
                        reply: String::new(),
                        ours: self.text("no connection: the host did not answer within 30 s"),
                        reason: Some(Reason::Network),
                        host: self.text("mx.kleinstadt.example"),
                    }),
                    &[("kleinstadt.example", 3)],
                ),
                group("yahoo", 2, 1, false, None, &[("yahoo.com", 2)]),
            ],
        }
    }

    fn facts(&self) -> Facts {
        let words =
            self.words("550 5.7.26 Your email has been blocked because the sender is unauthenticated.", Reason::Authentication, "gmail-smtp-in.l.google.com");
        match self.day {
            Day::Quiet | Day::Broken => Facts::default(),
            Day::TooMuch => Facts {
                warnings: (0..10_000).map(|number| format!("warning {number}")).collect(),
                domains_without_key: (0..10_000).map(|number| format!("d{number}.example")).collect(),
                ..Facts::default()
            },
            Day::Busy | Day::Hostile => Facts {
                domains_held: vec![(
                    self.text("news.example.com"),
                    self.text("the DNS does not show the DKIM key ps202609a._domainkey.news.example.com: ns2.example.net shows no record"),
                )],
                complaints: vec![Complaint { rule: "dkim".to_owned(), domain: self.text("news.example.com"), provider: self.text("google"), words }],
                keys_waiting: vec![(
                    self.text("ps202611b._domainkey.shop.example"),
                    self.text("its record is to be pasted by hand: postseal dns records shop.example"),
                )],
                certificates: vec![(self.text("/etc/postseal/tls/mx1.pem"), Ok(now() + Duration::from_hours(9 * 24)))],
                paused: vec![Paused { provider: self.text("google"), until: now() + Duration::from_secs(527), waiting: 1284, words: None }],
                held: 2,
                warnings: vec![self.text("listener \"submission\" offers AUTH without TLS to 10.0.0.0/8; is that network yours alone?")],
                ..Facts::default()
            },
        }
    }

    fn examination(&self, bad: bool) -> Examination {
        let bad_finding = FindingView {
            rule: "dkim".to_owned(),
            grade: Grade::Bad,
            about: self.text("ps202609a._domainkey.news.example.com"),
            seen: self.text("no record is there, though mail is signed with this key"),
            why: self.text("Receivers cannot verify a signature without its record."),
            remedy: self.text("publish it"),
            records: vec![self.text("ps202609a._domainkey.news.example.com. IN TXT \"v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAw3zPpJm1V4kKCrtDqLq5lCr8nYF0SYkX0R4bTdHfo9pIXGvY7kA1xZPz3GZbX0cQFbT9\" \"6h1zVn2IDAQAB\"")],
        };
        let warning = FindingView {
            rule: "dmarc".to_owned(),
            grade: Grade::Warning,
            about: self.text("_dmarc.example.com"),
            seen: self.text("p=none: receivers report, but let forged mail pass"),
            why: self.text("A policy of none protects nobody."),
            remedy: self.text("once reports show no source of yours failing, go on to quarantine"),
            records: Vec::new(),
        };
        let verdict = |name: &str, bad: bool| {
            if bad { (name.to_owned(), Grade::Bad, "1 to mend".to_owned()) } else { (name.to_owned(), Grade::Good, "ready".to_owned()) }
        };
        Examination {
            at: ago(38),
            providers: vec![verdict("Gmail", bad), verdict("Yahoo", bad), verdict("Microsoft", bad), verdict("Apple", false)],
            findings: if bad { vec![bad_finding, warning] } else { vec![warning] },
            met: if bad { 17 } else { 19 },
        }
    }

    fn domain(&self, name: &str, standing: DomainStanding, dmarc: Stage, days: u64) -> DomainView {
        let key = |selector: &str, algorithm: &str, state: &str, days: u64, dns: Option<(bool, &str)>, next: &str| KeyView {
            selector: self.text(selector),
            algorithm: algorithm.to_owned(),
            state: state.to_owned(),
            since: ago(days * 1440),
            born: ago(days * 1440 + 200),
            dns: dns.map(|(good, text)| (good, self.text(text))),
            next: self.text(next),
        };
        let bad = matches!(standing, DomainStanding::Held(_));
        DomainView {
            name: self.text(name),
            bounce_domain: self.text(&format!("bounce.{name}")),
            keys: vec![
                key(
                    "ps202609a",
                    "rsa",
                    "active",
                    days,
                    Some(if bad { (false, "ns2.example.net shows no record") } else { (true, "shown by all 3 servers") }),
                    "rotates in 4 months",
                ),
                key("ps202609e", "ed25519", "active", days, Some((true, "shown by all 3 servers")), "rotates in 4 months"),
                key("ps202603a", "rsa", "retiring", 180, None, "revoked in 6 days, once no queued mail names it"),
            ],
            standing,
            dmarc,
            rotated_at: Some(ago(days * 1440)),
            rotate_every: Some(Duration::from_hours(180 * 24)),
            examination: Some(self.examination(bad)),
        }
    }

    fn series(&self, span: Span) -> Series {
        match span {
            Span::Hour => self.traffic().minutes(now()),
            Span::Day => self.traffic().hours(now()),
        }
    }

    fn mishaps(&self) -> Vec<Mishap> {
        let mishap = |minutes, recipient: &str, failed, words| Mishap { at: ago(minutes), mail: mail(), recipient: self.text(recipient), failed, words };
        match self.day {
            Day::Quiet | Day::Broken => Vec::new(),
            _ => vec![
                mishap(0, "m.hoffmann@gmail.com", false, self.words("421 4.7.28 Gmail has detected an unusual rate of unsolicited mail originating from your DKIM domain [example.com 35]. To protect our users from spam, mail has been temporarily rate limited.", Reason::RateLimited, "gmail-smtp-in.l.google.com")),
                mishap(3, "old.account@fabrikam.example", true, self.words("550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient old.account@fabrikam.example not found by SMTP address lookup", Reason::UserUnknown, "fabrikam-example.mail.protection.outlook.com")),
                mishap(11, "rathaus@kleinstadt.example", false, Words { reply: String::new(), ours: self.text("no connection: the host did not answer within 30 s"), reason: Some(Reason::Network), host: self.text("mx.kleinstadt.example") }),
            ],
        }
    }
}

impl Outlook for Scene {
    async fn frame(&self) -> Frame {
        let matters = matters::matters(&self.facts(), now()).iter().filter(|matter| matter.urgency.needs_a_person()).count();
        Frame { hostname: "mx1.example.com".to_owned(), at: now(), started_at: ago(12 * 1440), matters, form_token: self.text(FORM_TOKEN) }
    }

    async fn now(&self, span: Span) -> Result<Now, Trouble> {
        self.whole()?;
        let groups = self.groups();
        Ok(Now {
            last_minute: self
                .traffic()
                .seconds(now())
                .counts
                .iter()
                .fold(Counts::default(), |sum, counts| Beat::ALL.into_iter().fold(sum, |sum, beat| sum.with(beat, counts.of(beat)))),
            series: self.series(span),
            span,
            standing: Standing::Accepting,
            waiting: groups.iter().map(|group| group.recipients).sum(),
            oldest: groups.iter().filter_map(|group| group.oldest).min(),
            groups,
            matters: matters::matters(&self.facts(), now()),
            mishaps: self.mishaps(),
        })
    }

    async fn queue(&self) -> Result<QueueView, Trouble> {
        self.whole()?;
        let groups = self.groups();
        let recipients = groups.iter().map(|group| group.recipients).sum();
        Ok(QueueView {
            groups_all: groups.len() as u64,
            recipients,
            mails: recipients,
            quarantined: 0,
            held: 2 * u64::from(!groups.is_empty()),
            in_part: self.day == Day::TooMuch,
            groups,
        })
    }

    async fn group(&self, name: &str) -> Result<Option<GroupView>, Trouble> {
        self.whole()?;
        let Some(group) = self.groups().into_iter().find(|group| group.name == self.text(name) || group.name == name) else { return Ok(None) };
        let waiting = |number: u64| Waiting {
            mail: mail(),
            recipient: self.text(&format!("reader{number}@gmail.com")),
            from: if number == 2 { String::new() } else { self.text("news@news.example.com") },
            accepted_at: ago(42 + number),
            next_at: (number != 3).then(|| now() + Duration::from_secs(527)),
            state: if number == 3 { State::Held } else { State::Waiting },
            attempts: 2,
            words: Some(self.words(
                "421 4.7.28 Gmail has detected an unusual rate of unsolicited mail originating from your DKIM domain [example.com 35].",
                Reason::RateLimited,
                "gmail-smtp-in.l.google.com",
            )),
        };
        let many = if self.day == Day::TooMuch { 10_000 } else { 8 };
        Ok(Some(GroupView { group, waiting: (0..many).map(waiting).collect() }))
    }

    async fn domains(&self) -> Result<DomainsView, Trouble> {
        self.whole()?;
        let held = DomainStanding::Held(self.text("the DNS does not show the DKIM key ps202609a._domainkey.news.example.com: ns2.example.net shows no record"));
        let domains = match self.day {
            Day::TooMuch => (0..10_000).map(|number| self.domain(&format!("d{number}.example"), DomainStanding::Signing, Stage::None, 30)).collect(),
            Day::Quiet | Day::Broken => vec![self.domain("example.com", DomainStanding::Signing, Stage::Reject, 41)],
            _ => vec![
                self.domain("news.example.com", held, Stage::None, 12),
                self.domain("example.com", DomainStanding::Signing, Stage::Quarantine, 41),
                DomainView {
                    keys: Vec::new(),
                    examination: None,
                    rotated_at: None,
                    rotate_every: None,
                    ..self.domain("shop.example", DomainStanding::NoKey, Stage::Reject, 3)
                },
            ],
        };
        Ok(DomainsView { all: domains.len(), domains, relay: Some(self.examination(false)), examining: false })
    }

    async fn journey(&self, id: MailId) -> Result<Option<Journey>, Trouble> {
        self.whole()?;
        if id != mail() {
            return Ok(None);
        }
        let step = |minutes, grade, title: &str, text: &str, words, facts: Vec<(&'static str, String)>| Step {
            at: ago(minutes),
            grade,
            title: title.to_owned(),
            text: self.text(text),
            words,
            facts,
        };
        let here = vec![
            step(
                43,
                Grade::Good,
                "Accepted",
                "From the client shop at 10.4.2.17, in 48 kB, for 2 recipients.",
                None,
                vec![("listener", self.text("submission"))],
            ),
            step(43, Grade::Good, "Sealed", "Signed for example.com.", None, vec![("rsa", self.text("ps202609a")), ("ed25519", self.text("ps202609e"))]),
        ];
        let deferred = |minutes| {
            step(
                minutes,
                Grade::Warning,
                "Deferred",
                "",
                Some(self.words(
                    "421 4.7.28 Gmail has detected an unusual rate of unsolicited mail originating from your DKIM domain [example.com 35].",
                    Reason::RateLimited,
                    "gmail-smtp-in.l.google.com",
                )),
                vec![("attempt", "1".to_owned()), ("address", "142.250.102.27:25".to_owned()), ("TLS", "1.3 TLS_AES_256_GCM_SHA384".to_owned())],
            )
        };
        let delivered = step(
            42,
            Grade::Good,
            "Delivered",
            "",
            Some(Words {
                reply: self.text("250 2.0.0 OK  1795331560 a640c23a62f3a-afeb48b5d3bsi312 - gsmtp"),
                host: self.text("aspmx.l.google.com"),
                ..Words::default()
            }),
            vec![("attempt", "1".to_owned()), ("TLS", "1.3".to_owned())],
        );
        let mut recipients = vec![
            Trip {
                recipient: self.text("m.hoffmann@gmail.com"),
                state: TripState::Waiting,
                steps: vec![deferred(42), deferred(27)],
                next_at: Some(now() + Duration::from_secs(527)),
            },
            Trip { recipient: self.text("office@kaffeehaus-am-markt.example"), state: TripState::Delivered, steps: vec![delivered], next_at: None },
        ];
        if self.day == Day::TooMuch {
            recipients = (0..10_000).map(|number| Trip { recipient: format!("r{number}@example.net"), ..recipients[0].clone() }).collect();
        }
        Ok(Some(Journey {
            id,
            accepted_at: ago(43),
            expires_at: Some(now() + Duration::from_hours(5 * 24)),
            from: self.text("orders@example.com"),
            facts: vec![
                ("Message-ID", self.text("<20261122083412.7f3a@shop.example.com>")),
                ("Stream", self.text("transactional")),
                ("Track id", self.text("order-88213")),
                ("Route", self.text("mx")),
                ("Size", "48.2 kB".to_owned()),
            ],
            steps: here,
            recipients_all: recipients.len(),
            recipients,
            acts: vec![Act::Retry, Act::Hold, Act::Cancel],
        }))
    }

    async fn find(&self, recipient: &str) -> Result<Vec<Found>, Trouble> {
        self.whole()?;
        let found = |minutes, title: &str, grade| Found { mail: mail(), recipient: recipient.to_owned(), at: ago(minutes), title: self.text(title), grade };
        if recipient.starts_with("nobody") {
            return Ok(Vec::new());
        }
        Ok(vec![found(27, "Deferred", Grade::Warning), found(1500, "Delivered", Grade::Good), found(4000, "Failed", Grade::Bad)])
    }

    async fn suppressed(&self, recipient: &str) -> Result<SuppressedView, Trouble> {
        self.whole()?;
        let entry = SuppressedEntry {
            scope: self.text("example.com"),
            why: self.text("mail to it was refused, as there is no such address"),
            since: ago(4000),
            until: None,
            said: self.text("550 5.1.1 no such user"),
            command: self.text("postseal suppression remove someone@example.net --scope example.com"),
        };
        Ok(SuppressedView { entries: 17, of_address: if recipient.starts_with("gone") { vec![entry] } else { Vec::new() } })
    }

    async fn matters(&self) -> Result<Vec<Matter>, Trouble> {
        self.whole()?;
        Ok(matters::matters(&self.facts(), now()))
    }

    async fn act(&self, id: MailId, act: Act) -> Result<u64, Trouble> {
        self.whole()?;
        self.done.lock().unwrap().push((id, act.name()));
        Ok(2)
    }

    fn is_own_form(&self, token: &str) -> bool {
        token == FORM_TOKEN
    }

    fn examine(&self) {
        self.done.lock().unwrap().push((mail(), "examine"));
    }
}

/// 2026-11-22T09:12:07Z.
pub fn now() -> Timestamp {
    Timestamp::from_unix_seconds(1_795_338_727)
}

/// The one mail there is.
pub fn mail() -> MailId {
    "0v5rgk04qa".parse().unwrap()
}

fn ago(minutes: u64) -> Timestamp {
    now() - Duration::from_secs(minutes * 60)
}
