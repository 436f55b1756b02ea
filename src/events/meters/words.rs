//! The closed sets that labels come from: a label never holds what a stranger chose.
//!
//! | set | its words |
//! |---|---|
//! | [`Word`]s | known when postseal is compiled |
//! | [`Providers`](super::catalogue::Set::Providers) | the shaping file's providers and the smart hosts' routes; all others count as `other` |
//! | [`AuthorDomains`](super::catalogue::Set::AuthorDomains) | those configured, at most [`DOMAINS_MAX`]; the rest counts as `other` |

use crate::mail::Reason;
use std::sync::OnceLock;

/// One set of words.
pub trait Word: Copy + 'static {
    /// All of them.
    const ALL: &'static [Self];

    /// As the label has it.
    fn word(self) -> &'static str;

    /// Its place in [`Word::ALL`].
    fn place(self) -> usize;
}

/// The words of a set.
pub fn all<W: Word>() -> Vec<&'static str> {
    W::ALL.iter().map(|word| word.word()).collect()
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$about:meta])* $word:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $($(#[$about])* $word,)+
        }

        impl Word for $name {
            const ALL: &'static [Self] = &[$(Self::$word,)+];

            fn word(self) -> &'static str {
                match self {
                    $(Self::$word => $text,)+
                }
            }

            fn place(self) -> usize {
                self as usize
            }
        }
    };
}

words! {
    /// What a client was doing when it was refused.
    RefusedAt {
        /// It connected.
        Connection = "connection",
        /// Any command of the dialogue, RCPT for instance, or the octets of a message.
        Command = "command",
        /// A whole message, at its end.
        Message = "message",
    }
}

words! {
    /// Why a client was refused, by the reply's enhanced status code.
    Refused {
        /// A command that is malformed, misplaced or not offered.
        Syntax = "syntax",
        /// Who are you? Missing or wrong credentials.
        Authentication = "authentication",
        /// A rule: relaying, the author domain, the reverse-path.
        Policy = "policy",
        /// The author domain has no key to seal with.
        Key = "key",
        /// The recipient's address.
        Recipient = "recipient",
        /// More recipients than a transaction may have.
        TooManyRecipients = "too-many-recipients",
        /// The message is too large.
        Size = "size",
        /// The message is malformed, or cannot be made to survive its way.
        Content = "content",
        /// Above the ceiling of its identity.
        Rate = "rate",
        /// Too many connections, errors or messages.
        Limit = "limit",
        /// The spool or the memory for messages is full.
        Storage = "storage",
        /// The message has come round in a circle.
        Loop = "loop",
        /// The client took too long.
        Timeout = "timeout",
        /// The relay goes down.
        GoingDown = "going-down",
        /// The configuration does not allow what it should.
        Configuration = "configuration",
        /// A failure of ours.
        LocalError = "local-error",
        /// Anything else.
        Other = "other",
    }
}

words! {
    /// What put a recipient on the suppression list.
    SuppressedFor {
        /// No such address.
        UserUnknown = "user-unknown",
        /// The account is disabled.
        Suspended = "suspended",
        /// The mailbox is full.
        MailboxFull = "mailbox-full",
        /// Its domain does not exist or takes no mail.
        DomainNotFound = "domain-not-found",
        /// A complaint.
        Complaint = "complaint",
        /// A person.
        Manual = "manual",
        /// Anything else, as an imported entry may say.
        Other = "other",
    }
}

words! {
    /// TLS of a session.
    Tls {
        /// Clear text.
        None = "none",
        /// TLS 1.2.
        V12 = "TLSv1.2",
        /// TLS 1.3.
        V13 = "TLSv1.3",
        /// The handshake did not come about.
        Failed = "failed",
    }
}

words! {
    /// When a listener begins TLS.
    ListenerTls {
        /// With the first octet.
        Implicit = "implicit",
        /// When the client asks.
        StartTls = "starttls",
        /// When the client asks, which it must.
        StartTlsRequired = "starttls-required",
        /// Never.
        None = "none",
    }
}

words! {
    /// What is asked of TLS towards a next hop.
    TlsPolicy {
        /// Clear text, even where TLS is offered.
        None = "none",
        /// TLS where it is offered.
        Opportunistic = "opportunistic",
        /// TLS, with whatever certificate.
        Required = "required",
        /// TLS with a certificate that proves the host's name.
        Verified = "verified",
    }
}

words! {
    /// How an authentication ended.
    Authenticated {
        /// The client is who it says.
        Accepted = "accepted",
        /// It is not, or could not be asked.
        Refused = "refused",
    }
}

words! {
    /// A step between the last octet of a message and its `250`.
    SubmissionStep {
        /// Signatures of others are looked up.
        Examine = "examine",
        /// A core is waited for.
        Wait = "wait",
        /// Policy, normalisation, readdressing and the seal.
        Prepare = "prepare",
        /// The spool makes it durable.
        Commit = "commit",
    }
}

words! {
    /// What a signature is for.
    Signature {
        /// DKIM of the author domain, RSA.
        AuthorRsa = "author-rsa",
        /// DKIM of the author domain, Ed25519.
        AuthorEd25519 = "author-ed25519",
        /// DKIM of the platform.
        ThirdParty = "third-party",
        /// A field of an ARC set: two for each set.
        Arc = "arc",
    }
}

words! {
    /// What is in the spool.
    MailKind {
        /// An application's mail.
        Submission = "submission",
        /// A notice of ours to a submitter.
        Notice = "notice",
        /// What came back, on its way to the original sender.
        Returned = "returned",
    }
}

words! {
    /// What came back.
    CameBack {
        /// A notice of failure.
        Bounce = "bounce",
        /// A notice of delay.
        Delayed = "delayed",
        /// A notice of success.
        Delivered = "delivered",
        /// A program answered for a person.
        AutoReply = "auto-reply",
        /// The sender is to prove to be a person.
        ChallengeResponse = "challenge-response",
        /// A complaint.
        Complaint = "complaint",
        /// Mail of a stranger, or to an address that is told to the world.
        Other = "other",
    }
}

words! {
    /// Why something that came back was not taken.
    ReturnRefused {
        /// Nobody has the address: made up, altered, of a day to come.
        Unknown = "unknown",
        /// The bounce address is too old.
        Expired = "expired",
        /// Its client has tried too many addresses, or sends too fast.
        Source = "source",
        /// Its bounce address has had its fill.
        Full = "full",
        /// It goes round in circles.
        Loop = "loop",
        /// It is a complaint, and the DNS said nothing of the key of the feedback loop's signature.
        Unchecked = "unchecked",
        /// The spool could not take it.
        Storage = "storage",
    }
}

words! {
    /// Why returned mail is kept for a person.
    KeptFor {
        /// A stranger wrote to a bounce address.
        Stranger = "stranger",
        /// Nobody remembers whose the bounce address is.
        UnknownSender = "unknown-sender",
        /// Nobody takes it.
        Undelivered = "undelivered",
    }
}

words! {
    /// A step towards a session with a next hop.
    ConnectionStep {
        /// TCP.
        Connect = "connect",
        /// Greeting, EHLO and AUTH.
        Greet = "greet",
        /// The TLS handshake.
        Tls = "tls",
    }
}

words! {
    /// Why there is no session with a next hop.
    NoSession {
        /// No TCP connection, or none in time.
        Connect = "connect",
        /// The greeting or EHLO was no welcome.
        Greeting = "greeting",
        /// TLS is demanded and not offered, or STARTTLS was refused.
        TlsUnavailable = "tls-unavailable",
        /// The handshake failed: versions, ciphers, or a certificate where one is demanded.
        TlsHandshake = "tls-handshake",
        /// Our credentials.
        Authentication = "authentication",
        /// The connection broke, or an answer did not come in time.
        Broken = "broken",
        /// What was said is not SMTP.
        Protocol = "protocol",
    }
}

words! {
    /// How a question to the DNS ended.
    DnsResult {
        /// With records.
        Records = "records",
        /// The name exists and has no such record.
        NoRecords = "no-records",
        /// There is no such name.
        NoSuchName = "nxdomain",
        /// A server answered that it cannot say.
        ServerFailure = "servfail",
        /// No server answered in time.
        Timeout = "timeout",
        /// The signatures on the answer are wrong.
        Bogus = "bogus",
        /// Anything else.
        Failed = "failed",
    }
}

words! {
    /// Where a recipient stands that has no outcome yet.
    QueueState {
        /// Its next attempt is later.
        Waiting = "waiting",
        /// It may be tried now.
        Due = "due",
        /// It is being tried.
        Leased = "leased",
    }
}

words! {
    /// What the DNS shows of a key that signs.
    KeyRecord {
        /// Not looked at yet, or nobody could say.
        Unknown = "unknown",
        /// The record is there and right.
        Shown = "shown",
        /// It is gone, for longer than a server's hiccup.
        Missing = "missing",
        /// Something else stands there.
        Different = "different",
    }
}

words! {
    /// Whether the spool works.
    SpoolState {
        /// It does.
        Working = "working",
        /// Less than the reserve is free on its disk.
        Full = "full",
        /// A write failed.
        Failed = "failed",
        /// It was closed.
        Closed = "closed",
    }
}

words! {
    /// What became of a reload.
    Reload {
        /// The files are in force.
        Taken = "taken",
        /// The files are faulty; the relay goes on as before.
        Rejected = "rejected",
    }
}

impl Word for Reason {
    const ALL: &'static [Self] = &Self::ALL;

    fn word(self) -> &'static str {
        self.as_str()
    }

    fn place(self) -> usize {
        self as usize
    }
}

/// Of a provider, where it is known; names that come later get further places, none is ever given up: a counter must not begin anew.
#[derive(Debug)]
pub struct ProviderNames {
    names: [OnceLock<Box<str>>; PROVIDERS_MAX],
}

/// Providers that are told apart, `other` among them.
pub const PROVIDERS_MAX: usize = 64;

/// Author domains that are told apart; those behind them, by name, count as `other`.
pub const DOMAINS_MAX: usize = 200;

/// What everybody else counts as.
pub const OTHER: &str = "other";

impl Default for ProviderNames {
    fn default() -> Self {
        let names = Self { names: [const { OnceLock::new() }; PROVIDERS_MAX] };
        names.know(OTHER);
        names
    }
}

impl ProviderNames {
    /// Gives a name its place; where all are taken it counts as `other`.
    pub fn know(&self, name: &str) {
        for place in &self.names {
            if **place.get_or_init(|| name.into()) == *name {
                return;
            }
        }
    }

    /// The place of a name. `other` stands at 0.
    pub fn place(&self, name: &str) -> usize {
        self.iter().position(|known| known == name).unwrap_or(0)
    }

    /// All that are known, in the order of their places.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map_while(|name| name.get().map(|name| &**name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_keeps_its_place_and_one_too_many_is_other() {
        let names = ProviderNames::default();
        names.know("google");
        names.know("yahoo");
        names.know("google");
        assert_eq!((names.place("other"), names.place("google"), names.place("yahoo"), names.place("mx.stranger.example")), (0, 1, 2, 0));
        for number in 3..PROVIDERS_MAX {
            names.know(&format!("p{number}"));
        }
        names.know("one-too-many");
        assert_eq!(names.iter().count(), PROVIDERS_MAX);
        assert_eq!((names.place(&format!("p{}", PROVIDERS_MAX - 1)), names.place("one-too-many"), names.place("google")), (PROVIDERS_MAX - 1, 0, 1));
    }

    #[test]
    fn places_are_those_of_the_list() {
        fn check<W: Word>() {
            assert!(W::ALL.iter().enumerate().all(|(place, word)| word.place() == place), "{:?}", all::<W>());
        }
        check::<Reason>();
        check::<Refused>();
        check::<NoSession>();
        check::<DnsResult>();
    }
}
