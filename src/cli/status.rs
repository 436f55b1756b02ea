//! `postseal status`: the running relay on one screen.

use super::paint::{Ink, Paint};
use super::remote::Place;
use crate::keys::lifecycle::span;
use serde_json::Value;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

/// What was typed.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Print JSON, as /api/v1/status gives it
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let status = args.place.find()?.get("/api/v1/status", &[])?;
    if args.json {
        println!("{status:#}");
    } else {
        print!("{}", told(&status, Paint::of_stdout()));
    }
    Ok(if status["ready"] == true { ExitCode::SUCCESS } else { ExitCode::from(NOT_READY) })
}

/// For a person.
#[must_use]
pub fn told(status: &Value, paint: Paint) -> String {
    let mut told = String::new();
    let mut line = |name: &str, text: &str| {
        let _ = writeln!(told, "{}  {text}", paint.ink(Ink::Dim, &format!("{name:>9}")));
    };
    line("relay", &format!("{}  {}", paint.ink(Ink::Bold, text(&status["hostname"])), paint.ink(Ink::Dim, &about(status))));
    line("mail", &taking(status, paint));
    for reason in status["reasons"].as_array().into_iter().flatten() {
        line("", &format!("{} {}", paint.ink(Ink::Red, text(&reason["code"])), text(&reason["message"])));
    }
    for (nth, listener) in status["listeners"].as_array().into_iter().flatten().enumerate() {
        let open = if listener["open"] == true { paint.ink(Ink::Green, "open") } else { paint.ink(Ink::Red, "closed") };
        line(if nth == 0 { "listens" } else { "" }, &format!("{open}  {}  {}", text(&listener["address"]), text(&listener["name"])));
    }
    line("waiting", &waiting(&status["spool"], paint));
    if let Some(held) = status["held"].as_str() {
        line("held", &paint.ink(Ink::Yellow, held));
    }
    line("disk", &disk(&status["disk"], paint));
    told
}

fn about(status: &Value) -> String {
    format!("postseal {}, up {}", text(&status["version"]), span(seconds(&status["uptime_seconds"])))
}

fn taking(status: &Value, paint: Paint) -> String {
    match (status["ready"] == true, status["draining"] == true) {
        (true, _) => paint.ink(Ink::Green, "is taken"),
        (false, true) => paint.ink(Ink::Yellow, "is taken no more: the relay is ending"),
        (false, false) => paint.ink(Ink::Red, "is not taken"),
    }
}

fn waiting(spool: &Value, paint: Paint) -> String {
    let (mails, recipients) = (number(&spool["mails"]), number(&spool["recipients"]));
    let mut told = match mails {
        0 => "nothing".to_owned(),
        _ => format!("{mails} {} for {recipients} {}", plural(mails, "mail", "mails"), plural(recipients, "recipient", "recipients")),
    };
    if spool["oldest_seconds"].is_u64() {
        let _ = write!(told, ", the oldest {}", span(seconds(&spool["oldest_seconds"])));
    }
    let quarantined = number(&spool["quarantined"]);
    if quarantined > 0 {
        let _ = write!(told, "  {}", paint.ink(Ink::Red, &format!("{quarantined} damaged")));
    }
    told
}

fn disk(disk: &Value, paint: Paint) -> String {
    if let Some(error) = disk["error"].as_str() {
        return paint.ink(Ink::Red, error);
    }
    let (free, reserve) = (number(&disk["free_octets"]), number(&disk["reserve_octets"]));
    let ink = if free < reserve { Ink::Red } else { Ink::Green };
    format!("{} free, {} of it in reserve", paint.ink(ink, &size(free)), size(reserve))
}

/// Three figures or fewer, as in `64 MiB` and `1.5 GiB`.
fn size(octets: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let Some((bits, unit)) = units.into_iter().find(|(bits, _)| octets >= 1 << bits) else { return format!("{octets} octets") };
    let tenths = (u128::from(octets) * 10) >> bits;
    if tenths < 100 && tenths % 10 > 0 { format!("{}.{} {unit}", tenths / 10, tenths % 10) } else { format!("{} {unit}", tenths / 10) }
}

const fn plural(count: u64, one: &'static str, many: &'static str) -> &'static str {
    if count == 1 { one } else { many }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

fn seconds(value: &Value) -> Duration {
    Duration::from_secs(number(value))
}

/// It runs, but takes no mail.
const NOT_READY: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_relay_that_takes_no_mail_says_why() {
        let status = json!({
            "version": "0.1.0", "hostname": "mx1.example.com", "uptime_seconds": 7300, "ready": false, "draining": false,
            "reasons": [{ "code": "keys", "message": "there is no active RSA key for example.com" }],
            "listeners": [{ "name": "app", "address": "127.0.0.1:2525", "open": true }, { "name": "web", "address": "[::1]:465", "open": false }],
            "spool": { "mails": 1, "recipients": 2, "quarantined": 1, "oldest_seconds": 90 },
            "disk": { "free_octets": 1_610_612_736, "reserve_octets": 67_108_864, "error": null },
        });
        let expected = "    relay  mx1.example.com  postseal 0.1.0, up 2h
     mail  is not taken
           keys there is no active RSA key for example.com
  listens  open  127.0.0.1:2525  app
           closed  [::1]:465  web
  waiting  1 mail for 2 recipients, the oldest 90s  1 damaged
     disk  1.5 GiB free, 64 MiB of it in reserve
";
        assert_eq!(told(&status, Paint { colours: false, columns: 80 }), expected);
    }

    #[test]
    fn sizes_have_three_figures_or_fewer() {
        let sizes = [
            (0, "0 octets"),
            (1023, "1023 octets"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (11 << 20, "11 MiB"),
            (1_181_116_007, "1.1 GiB"),
            (99 << 30, "99 GiB"),
        ];
        for (octets, expected) in sizes {
            assert_eq!(size(octets), expected);
        }
    }
}
