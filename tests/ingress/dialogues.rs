//! Runs every `*.txt` of this folder.
//!
//! ```text
//! # a remark
//! = knob value          a setting, before the first line of the dialogue
//! C: EHLO app.example   the client says this and CR LF; lines in a row arrive together
//! c: a\nb\x00           the client sends these octets, without a line end
//! S: 250 ok             the server says exactly this; a line that ends in … says what it begins with
//! ! wait 300s           an event: wait, tls, drain
//! ```

use super::world::{World, peer, tls};
use postseal::mail::{IdentityName, Proof};
use postseal::smtp::line::BareLf;
use postseal::smtp::server::Input;
use postseal::smtp::settings::{Settings, StartTls};
use std::collections::VecDeque;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

#[allow(clippy::struct_excessive_bools, reason = "each is a knob of the script")]
pub struct Script {
    pub name: String,
    pub settings: Settings,
    pub known: bool,
    pub tls_first: bool,
    pub certificate: bool,
    /// What the client may send depends on when it arrives: not for the test that cuts it at will.
    pub timing: bool,
    pub turns: Vec<Turn>,
}

pub enum Turn {
    Client(Vec<u8>),
    Server(String),
    Event(String),
}

#[test]
fn dialogues_go_as_written() {
    for script in scripts() {
        script.run(&mut |world, octets| world.client_sends(octets));
    }
}

pub fn scripts() -> Vec<Script> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/ingress");
    let mut paths: Vec<_> =
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "txt")).collect();
    paths.sort();
    assert!(!paths.is_empty(), "no dialogues in {}", folder.display());
    paths.iter().map(|path| Script::read(path.file_stem().unwrap().to_str().unwrap(), &fs::read_to_string(path).unwrap())).collect()
}

impl Script {
    pub fn read(name: &str, text: &str) -> Self {
        let settings = Settings { hostname: "relay.example".into(), ..Settings::default() };
        let mut script = Self { name: name.into(), settings, known: true, tls_first: false, certificate: false, timing: false, turns: Vec::new() };
        for line in text.lines() {
            match line.split_at_checked(2) {
                _ if line.is_empty() || line.starts_with('#') => {}
                Some(("= ", setting)) => script.set(setting),
                Some(("C:", said)) => script.client([&unescape(said.strip_prefix(' ').unwrap_or(said))[..], b"\r\n"].concat()),
                Some(("c:", sent)) => script.client(unescape(sent.strip_prefix(' ').unwrap_or(sent))),
                Some(("S:", said)) => script.turns.push(Turn::Server(said.trim_start().into())),
                Some(("! ", event)) => script.turns.push(Turn::Event(event.into())),
                _ => panic!("{name}: cannot read {line:?}"),
            }
        }
        assert!(script.turns.iter().any(|turn| matches!(turn, Turn::Server(_))), "{name}: the server never speaks");
        script
    }

    fn client(&mut self, octets: Vec<u8>) {
        match self.turns.last_mut() {
            Some(Turn::Client(before)) => before.extend(octets),
            _ => self.turns.push(Turn::Client(octets)),
        }
    }

    fn set(&mut self, setting: &str) {
        let (knob, value) = setting.split_once(' ').unwrap_or((setting, ""));
        let settings = &mut self.settings;
        match knob {
            "starttls" => settings.starttls = if value == "required" { StartTls::Required } else { StartTls::Offered },
            "sasl" => settings.sasl_mechanisms = value.split(' ').map(str::to_owned).collect(),
            "auth_without_tls" => settings.auth_without_tls = true,
            "repair" => settings.bare_lf = BareLf::Repair,
            "mend" => settings.bare_lf = BareLf::Mend,
            "message_octets_max" => settings.message_octets_max = value.parse().unwrap(),
            "line_octets_max" => settings.line_octets_max = value.parse().unwrap(),
            "recipients_max" => settings.recipients_max = value.parse().unwrap(),
            "mails_max" => settings.mails_max = Some(value.parse().unwrap()),
            "errors_max" => settings.errors_max = value.parse().unwrap(),
            "refusals_max" => settings.refusals_max = value.parse().unwrap(),
            "idle_commands_max" => settings.idle_commands_max = value.parse().unwrap(),
            "auth_attempts_max" => settings.auth_attempts_max = value.parse().unwrap(),
            "unknown_client" => self.known = false,
            "tls_first" => self.tls_first = true,
            "certificate" => self.certificate = true,
            "timing" => self.timing = true,
            _ => panic!("{}: no knob {knob:?}", self.name),
        }
    }

    pub fn world(&self) -> World {
        let mut peer = peer(self.known);
        peer.tls = self.tls_first.then(tls);
        let mut world = World::new(self.settings.clone(), peer);
        if self.certificate {
            world.known_after_tls = Some((IdentityName::new("app"), Proof::Certificate { name: "app.example".into() }));
        }
        world
    }

    /// Holds the dialogue against the script, `send` carrying what the client says.
    #[track_caller]
    pub fn run(&self, send: &mut dyn FnMut(&mut World, &[u8])) -> World {
        let mut world = self.world();
        let mut heard: VecDeque<String> = world.said.drain(..).collect();
        for turn in &self.turns {
            if let Turn::Server(expected) = turn {
                let said = heard.pop_front().unwrap_or_else(|| "(silence)".into());
                let fits = expected.strip_suffix('…').map_or(said == *expected, |start| said.starts_with(start));
                assert!(fits, "{}:\nexpected {expected}\n   heard {said}\n   then {heard:?}", self.name);
                continue;
            }
            assert!(heard.is_empty(), "{}: not expected: {heard:?}", self.name);
            match turn {
                Turn::Client(octets) => send(&mut world, octets),
                Turn::Event(event) => happen(&mut world, event),
                Turn::Server(_) => {}
            }
            heard.extend(world.said.drain(..));
        }
        assert!(heard.is_empty(), "{}: not expected at the end: {heard:?}", self.name);
        world
    }
}

fn happen(world: &mut World, event: &str) {
    let seconds = |text: &str| Duration::from_secs(text.trim_end_matches('s').parse().unwrap());
    match event.split_once(' ') {
        None if event == "tls" => world.give(Input::TlsStarted(tls(), world.known_after_tls.clone())),
        Some(("wait", time)) => {
            world.now = world.now + seconds(time);
            world.give(Input::Tick);
        }
        Some(("drain", time)) => world.give(Input::Drain(world.now + seconds(time))),
        _ => panic!("no event {event:?}"),
    }
}

/// `\r`, `\n`, `\\`, `\xHH`, and `{512*a}` for a character many times.
fn unescape(text: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let (piece, used) = match c {
            '\\' => match &rest[1..2] {
                "r" => (vec![b'\r'], 2),
                "n" => (vec![b'\n'], 2),
                "x" => (vec![u8::from_str_radix(&rest[2..4], 16).unwrap()], 4),
                other => (other.as_bytes().to_vec(), 2),
            },
            '{' if rest.contains('*') && rest.contains('}') => {
                let end = rest.find('}').unwrap();
                let (count, what) = rest[1..end].split_once('*').unwrap();
                (unescape(what).repeat(count.parse().unwrap()), end + 1)
            }
            c => (c.to_string().into_bytes(), c.len_utf8()),
        };
        octets.extend(piece);
        rest = &rest[used..];
    }
    octets
}

#[test]
fn the_runner_fails_where_the_server_says_something_else() {
    let wrong = ["S: 221 no", "S: 220 relay…\nC: NOOP", "S: 220 relay…\nC: NOOP\nS: 250 2.0.0 ok\nS: 250 2.0.0 ok"];
    for text in wrong {
        let run = std::panic::catch_unwind(|| Script::read("wrong", text).run(&mut |world, octets| world.client_sends(octets)));
        assert!(run.is_err(), "{text:?} passed");
    }
}
