//! From a connection to a session: greeting, EHLO or HELO, STARTTLS, EHLO again (RFC 5321 §3.1, §3.2, RFC 3207 §4).
//!
//! ```text
//! Greeting ─220→ Ehlo ─250→ Ready            no TLS wanted, or it is there already, or not offered and not demanded
//!                 │ └─5xx→ Helo ─250→ Ready       (never with LHLO, RFC 2033 §4.1)
//!                 └─250→ StartTls ─220→ (handshake) ─→ Ehlo again, all that was offered forgotten
//! ```

use super::{Capabilities, Stage, is_positive};
use crate::mail::RemoteReply;

/// A session being opened. The shell performs [`Step`]s and gives back the replies.
#[derive(Debug)]
pub struct Opening {
    ehlo_name: String,
    lmtp: bool,
    tls: Tls,
    state: State,
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Send this, if anything, then read one reply and give it to [`Opening::reply`].
    Ask(Vec<u8>, Stage),
    /// The 220 to STARTTLS came. If anything at all follows it in clear, end the connection; otherwise shake hands and call
    /// [`Opening::tls_started`].
    StartTls,
    /// The session is open.
    Ready(Capabilities),
    /// There is no session.
    Fault(OpeningFault),
}

/// Why there is no session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpeningFault {
    /// No 220 (RFC 5321 §3.1: 554 means no mail is taken here).
    Greeting(RemoteReply),
    /// Neither EHLO nor HELO was taken.
    Ehlo(RemoteReply),
    /// TLS is demanded and not offered.
    StartTlsMissing,
    /// STARTTLS was offered and refused.
    StartTlsRefused(RemoteReply),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tls {
    /// Not wanted, or already there.
    Settled,
    Wanted,
    Demanded,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Greeting,
    Ehlo,
    Helo,
    StartTls,
}

impl Opening {
    /// A session to open on a fresh connection, by this name of ours. `tls_wanted` takes STARTTLS where it is offered, `tls_demanded`
    /// goes on only with it; with implicit TLS neither.
    #[must_use]
    pub fn new(ehlo_name: impl Into<String>, tls_wanted: bool, tls_demanded: bool) -> Self {
        let tls = match (tls_wanted, tls_demanded) {
            (_, true) => Tls::Demanded,
            (true, false) => Tls::Wanted,
            (false, false) => Tls::Settled,
        };
        Self { ehlo_name: ehlo_name.into(), lmtp: false, tls, state: State::Greeting }
    }

    /// The same by LMTP: with LHLO (RFC 2033 §4.1).
    #[must_use]
    pub fn lmtp(self) -> Self {
        Self { lmtp: true, ..self }
    }

    /// The first step: the server speaks first.
    #[must_use]
    pub fn begin(&self) -> Step {
        Step::Ask(Vec::new(), Stage::Greeting)
    }

    /// The reply to what was asked last.
    pub fn reply(&mut self, reply: RemoteReply) -> Step {
        match (self.state, is_positive(&reply)) {
            (State::Greeting, true) => self.hello(State::Ehlo),
            (State::Greeting, false) => Step::Fault(OpeningFault::Greeting(reply)),
            (State::Ehlo, true) => self.offered(Capabilities { lmtp: self.lmtp, ..Capabilities::of_ehlo(&reply) }),
            (State::Ehlo, false) if may_know_helo(&reply) && !self.lmtp => self.hello(State::Helo),
            (State::Helo, true) => self.offered(Capabilities::of_helo(&reply)),
            (State::Ehlo | State::Helo, false) => Step::Fault(OpeningFault::Ehlo(reply)),
            (State::StartTls, _) if reply.code == 220 => Step::StartTls,
            (State::StartTls, _) => Step::Fault(OpeningFault::StartTlsRefused(reply)),
        }
    }

    /// The handshake is done; nothing said before it counts (RFC 3207 §4.2).
    pub fn tls_started(&mut self) -> Step {
        self.tls = Tls::Settled;
        self.hello(State::Ehlo)
    }

    fn hello(&mut self, state: State) -> Step {
        self.state = state;
        let verb = match (state, self.lmtp) {
            (State::Helo, _) => "HELO",
            (_, true) => "LHLO",
            (_, false) => "EHLO",
        };
        Step::Ask(format!("{verb} {}\r\n", self.ehlo_name).into_bytes(), Stage::Ehlo)
    }

    fn offered(&mut self, capabilities: Capabilities) -> Step {
        match (self.tls, capabilities.starttls) {
            (Tls::Wanted | Tls::Demanded, true) => {
                self.state = State::StartTls;
                Step::Ask(b"STARTTLS\r\n".to_vec(), Stage::StartTls)
            }
            (Tls::Demanded, false) => Step::Fault(OpeningFault::StartTlsMissing),
            (Tls::Wanted, false) | (Tls::Settled, _) => Step::Ready(capabilities),
        }
    }
}

/// A refusal of EHLO as a command (RFC 5321 §3.2), not of us.
const fn may_know_helo(reply: &RemoteReply) -> bool {
    matches!(reply.code, 500..=504)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::client::ReplyReader;

    /// Plays the server's replies, the handshake done where it is asked for; prints what we said and how it ended.
    fn play(wanted: bool, demanded: bool, server: &[&str]) -> String {
        let mut opening = Opening::new("relay.example", wanted, demanded);
        let mut said = String::new();
        let mut replies = server.iter();
        let mut step = opening.begin();
        loop {
            step = match step {
                Step::Ask(octets, _) => {
                    said.push_str(&String::from_utf8(octets).unwrap().replace("\r\n", " / "));
                    let mut reader = ReplyReader::default();
                    reader.feed(replies.next().expect("a reply").as_bytes());
                    opening.reply(reader.next_reply().unwrap().unwrap())
                }
                Step::StartTls => {
                    said.push_str("(handshake) / ");
                    opening.tls_started()
                }
                Step::Ready(capabilities) => return format!("{said}ready, size {:?}", capabilities.size),
                Step::Fault(fault) => return format!("{said}{}", format!("{fault:?}").split('(').next().unwrap()),
            };
        }
    }

    #[test]
    fn a_delivery_agent_is_greeted_by_lhlo_and_nothing_else() {
        let replies = |texts: &[&str]| {
            let mut reader = ReplyReader::default();
            for text in texts {
                reader.feed(text.as_bytes());
            }
            reader
        };
        let next = |reader: &mut ReplyReader| reader.next_reply().unwrap().unwrap();
        let mut reader = replies(&["220 lmtp\r\n", "250-lmtp\r\n250 PIPELINING\r\n"]);
        let mut opening = Opening::new("relay.example", false, false).lmtp();
        assert_eq!(opening.reply(next(&mut reader)), Step::Ask(b"LHLO relay.example\r\n".to_vec(), Stage::Ehlo));
        let Step::Ready(offered) = opening.reply(next(&mut reader)) else { panic!("no session") };
        assert!(offered.lmtp && offered.pipelining);
        let mut reader = replies(&["220 smtp\r\n", "502 what\r\n"]);
        let mut opening = Opening::new("relay.example", false, false).lmtp();
        opening.reply(next(&mut reader));
        assert!(matches!(opening.reply(next(&mut reader)), Step::Fault(OpeningFault::Ehlo(_))), "HELO means SMTP");
    }

    #[test]
    fn opens_as_the_server_allows() {
        const HI: &str = "220 mx\r\n";
        const TLS: &str = "250-mx\r\n250-SIZE 1\r\n250 STARTTLS\r\n";
        const PLAIN: &str = "250-mx\r\n250 SIZE 2\r\n";
        for (wanted, demanded, server, expect) in [
            (false, false, &[HI, TLS][..], "EHLO relay.example / ready, size Some(1)"),
            (true, false, &[HI, PLAIN], "EHLO relay.example / ready, size Some(2)"),
            (true, false, &[HI, TLS, "220 go\r\n", PLAIN], "EHLO relay.example / STARTTLS / (handshake) / EHLO relay.example / ready, size Some(2)"),
            // The offer is repeated inside TLS by some; it means nothing there.
            (true, true, &[HI, TLS, "220 go\r\n", TLS], "EHLO relay.example / STARTTLS / (handshake) / EHLO relay.example / ready, size Some(1)"),
            (true, true, &[HI, PLAIN], "EHLO relay.example / StartTlsMissing"),
            (true, false, &[HI, TLS, "454 no\r\n"], "EHLO relay.example / STARTTLS / StartTlsRefused"),
            (true, false, &[HI, TLS, "250 what\r\n"], "EHLO relay.example / STARTTLS / StartTlsRefused"),
            (false, false, &[HI, "502 what\r\n", "250 mx\r\n"], "EHLO relay.example / HELO relay.example / ready, size None"),
            (true, true, &[HI, "500 what\r\n", "250 mx\r\n"], "EHLO relay.example / HELO relay.example / StartTlsMissing"),
            (false, false, &[HI, "502 what\r\n", "550 no\r\n"], "EHLO relay.example / HELO relay.example / Ehlo"),
            (false, false, &[HI, "550 not you\r\n"], "EHLO relay.example / Ehlo"),
            (false, false, &[HI, "421 later\r\n"], "EHLO relay.example / Ehlo"),
            (false, false, &["554 no mail here\r\n"], "Greeting"),
            (false, false, &["421 too many\r\n"], "Greeting"),
        ] {
            assert_eq!(play(wanted, demanded, server), expect);
        }
    }
}
