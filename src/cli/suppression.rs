//! `postseal suppression`: addresses that are not written to any more, in the running relay. Everything goes over the API of its admin, page by
//! page.

mod files;

use super::paint::{Ink, Paint};
use super::queue::table::{self, Column, Table};
use super::remote::{Place, Remote, items, number, text};
use crate::admin::api::suppressions::{EntryFault, entry};
use crate::clock;
use crate::mail::Timestamp;
use crate::mail::suppression::{Rules, Scope};
use anyhow::{Context as _, anyhow, bail};
use files::{Format, Sink, Source};
use serde_json::{Map, Value, json};
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// What was typed.
#[derive(clap::Subcommand, Debug)]
pub enum Command {
    /// Say which addresses are not written to, since when, why, and until when
    List(List),
    /// Put addresses on the list
    Add(Add),
    /// Take addresses off the list: they are written to again
    Remove(Remove),
    /// Put the addresses of a file on the list
    ///
    /// CSV with a line of column names, or NDJSON, with the columns scope, recipient, reason, since, expires_at, message and detail, of which
    /// recipient alone is needed; "email" and "address" are read as recipient. Every faulty line is named, and nothing is sent while there is
    /// one. What is on the list already is kept or renewed, so an import that was interrupted can be run again.
    Import(Import),
    /// Print the list as CSV or NDJSON, to be kept or imported elsewhere
    Export(Export),
}

/// Which entries: those that fit all of what is said.
#[derive(clap::Args, Debug, Default)]
pub struct Filters {
    /// For mail of this author domain
    #[arg(long, value_name = "DOMAIN")]
    author_domain: Option<String>,
    /// For this stream of it
    #[arg(long, value_name = "NAME")]
    stream: Option<String>,
    /// The address
    #[arg(long, value_name = "ADDRESS")]
    recipient: Option<String>,
    /// Addresses at this domain
    #[arg(long, value_name = "DOMAIN")]
    domain: Option<String>,
    /// What led to it: user-unknown, suspended, mailbox-full, domain-not-found, complaint, manual
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,
    /// Put on the list then or later: 2026-11-22T12:00:00Z, 2026-11-22, or 2h or 3d ago
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<String>,
}

#[derive(clap::Args, Debug)]
pub struct List {
    #[command(flatten)]
    filters: Filters,
    /// Rows at most; 0: all
    #[arg(long, value_name = "N", default_value_t = ROWS)]
    limit: usize,
    /// Go on where a list ended
    #[arg(long, value_name = "CURSOR")]
    after: Option<String>,
    /// Print JSON, a line for each entry
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(clap::Args, Debug)]
pub struct Add {
    /// The addresses
    #[arg(value_name = "ADDRESS", required = true)]
    addresses: Vec<String>,
    /// For whose mail: an author domain, or one with a stream of it, as in example.com/news
    #[arg(long, value_name = "SCOPE")]
    scope: Scope,
    /// Why: manual, complaint, user-unknown, suspended, mailbox-full, domain-not-found …
    #[arg(long, value_name = "REASON", default_value = "manual")]
    reason: String,
    /// Until when: a time as in 2026-12-31T00:00:00Z, a day as in 2026-12-31, a while as in 90d, or lasting; absent: as the configuration has it
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Words that notices repeat
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

#[allow(clippy::struct_excessive_bools, reason = "flags of the command line")]
#[derive(clap::Args, Debug)]
pub struct Remove {
    /// The addresses
    #[arg(value_name = "ADDRESS", conflicts_with = "recipient")]
    addresses: Vec<String>,
    /// For this author domain, or this stream of it, alone; absent: for all of them
    #[arg(long, value_name = "SCOPE", conflicts_with_all = ["author_domain", "stream"])]
    scope: Option<Scope>,
    #[command(flatten)]
    filters: Filters,
    /// Everything on the list; said in place of addresses and filters
    #[arg(long)]
    all: bool,
    /// Show what would be removed; change nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask, however many there are
    #[arg(long, short)]
    yes: bool,
    /// Print JSON, a line for each entry
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(clap::Args, Debug)]
pub struct Import {
    /// The file; - reads standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// What the file is, where its name does not say it
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// For whose mail, where a line does not say it: an author domain, or one with a stream of it
    #[arg(long, value_name = "SCOPE")]
    scope: Option<Scope>,
    /// Look through the file and say what is wrong with it; send nothing
    #[arg(long)]
    dry_run: bool,
    /// Leave out lines that are faulty, and take the others
    #[arg(long)]
    skip_faulty: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(clap::Args, Debug)]
pub struct Export {
    #[command(flatten)]
    filters: Filters,
    /// CSV or NDJSON
    #[arg(long, value_name = "FORMAT", default_value = "csv")]
    format: Format,
    #[command(flatten)]
    place: Place,
}

/// Runs what was typed.
pub fn run(command: Command) -> anyhow::Result<ExitCode> {
    let done = match command {
        Command::List(list) => list.run(),
        Command::Add(add) => add.run(),
        Command::Remove(remove) => remove.run(),
        Command::Import(import) => import.run(),
        Command::Export(export) => export.run(),
    };
    match done {
        // Whoever read what is printed has seen enough, as `head` does.
        Err(fault) if fault.chain().any(is_closed) => Ok(ExitCode::SUCCESS),
        Err(fault) => Err(fault),
        Ok(()) => Ok(ExitCode::SUCCESS),
    }
}

fn is_closed(fault: &(dyn std::error::Error + 'static)) -> bool {
    fault.downcast_ref::<std::io::Error>().is_some_and(|fault| fault.kind() == std::io::ErrorKind::BrokenPipe)
}

impl Filters {
    /// As the API takes them.
    fn fields(&self) -> Vec<(&'static str, String)> {
        let texts = [
            ("author_domain", &self.author_domain),
            ("stream", &self.stream),
            ("recipient", &self.recipient),
            ("domain", &self.domain),
            ("reason", &self.reason),
            ("since", &self.since),
        ];
        texts.into_iter().filter_map(|(name, text)| Some((name, text.clone()?))).collect()
    }
}

/// Hands on each page that fits, until `page` gives `false` or there is no more; gives where it could go on.
fn walk(
    remote: &Remote,
    fields: &[(&'static str, String)],
    mut after: Option<String>,
    mut page: impl FnMut(&Value) -> anyhow::Result<Option<usize>>,
) -> anyhow::Result<Option<String>> {
    let mut limit = PAGE;
    loop {
        let mut query = fields.to_vec();
        query.push(("limit", limit.to_string()));
        query.extend(after.map(|after| ("after", after)));
        let got = remote.get(SUPPRESSIONS, &query)?;
        after = got["next"].as_str().map(str::to_owned);
        match page(&got)? {
            Some(wanted) if after.is_some() => limit = wanted.clamp(1, PAGE),
            _ => return Ok(after),
        }
    }
}

impl List {
    fn run(&self) -> anyhow::Result<()> {
        let remote = self.place.find()?;
        let (mut rows, mut damaged, mut shown) = (Vec::new(), Vec::new(), 0);
        let (mut entries, mut entries_max) = (0, 0);
        let most = if self.limit == 0 { usize::MAX } else { self.limit };
        let next = walk(&remote, &self.filters.fields(), self.after.clone(), |page| {
            (entries, entries_max) = (number(&page["entries"]), number(&page["entries_max"]));
            damaged.extend(page["damaged"].as_array().into_iter().flatten().cloned());
            for item in items(page).take(most - shown) {
                shown += 1;
                if self.json { out(&format!("{item}\n"))? } else { rows.push(item.clone()) }
            }
            Ok((shown < most).then(|| most - shown))
        })?;
        for entry in &damaged {
            eprintln!("postseal: damaged, counts for nothing: {} {}: {}", text(&entry["scope"]), text(&entry["recipient"]), text(&entry["why"]));
        }
        if self.json {
            return Ok(());
        }
        let paint = Paint::of_stdout();
        out(&printed(&rows, paint))?;
        let note = match next {
            Some(next) => format!("there may be more: --after {next}, or --limit 0 for all"),
            None if rows.is_empty() => "no address is suppressed that fits".to_owned(),
            None => String::new(),
        };
        let all = format!("{} of at most {}", counted(entries), grouped(entries_max));
        let line = if note.is_empty() { format!("{all} in all") } else { format!("{note} ({all} in all)") };
        out(&format!("{}\n", paint.ink(Ink::Dim, &line)))
    }
}

/// Entries as a table.
fn printed(rows: &[Value], paint: Paint) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut table = Table::new(vec![
        Column::shrinking("address", 18),
        Column::fixed("for"),
        Column::fixed("why"),
        Column::fixed("since"),
        Column::fixed("until"),
        Column::last("what was said"),
    ]);
    for row in rows {
        let day = |value: &Value| value.as_str().map_or_else(|| "lifted".to_owned(), |time| time.chars().take(10).collect());
        table.row(vec![
            (text(&row["recipient"]).to_owned(), Ink::Green),
            (text(&row["scope"]).to_owned(), Ink::Dim),
            (text(&row["reason"]).to_owned(), Ink::Bold),
            (day(&row["since"]), Ink::Dim),
            (day(&row["expires_at"]), Ink::Dim),
            (text(&row["detail"]).to_owned(), Ink::Dim),
        ]);
    }
    table.print(paint)
}

impl Add {
    fn run(&self) -> anyhow::Result<()> {
        let until = self.until.as_deref().map(|text| until(text, clock::now())).transpose()?;
        let entries: Vec<Map<String, Value>> = self.addresses.iter().map(|address| self.entry(address, until.as_ref())).collect();
        let mut faults = Vec::new();
        for fields in &entries {
            // Looked at here first: all faults at once, and by the words that were typed.
            faults.extend(entry(fields, &Rules::default(), clock::now()).err().map(|fault| fault.to_string()));
        }
        if !faults.is_empty() {
            bail!("{}; nothing was added", faults.join("; "));
        }
        let remote = self.place.find()?;
        let mut sums = Sums::default();
        for page in entries.chunks(PAGE) {
            sums.add(&remote.post(SUPPRESSIONS, &json!({ "entries": page }))?);
        }
        sums.tell(self.json)
    }

    fn entry(&self, address: &str, until: Option<&String>) -> Map<String, Value> {
        let fields = [
            ("scope", Some(self.scope.to_string())),
            ("recipient", Some(address.to_owned())),
            ("reason", Some(self.reason.clone())),
            ("expires_at", until.cloned()),
            ("detail", self.note.clone()),
        ];
        fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.into()))).collect()
    }
}

impl Remove {
    fn run(&self) -> anyhow::Result<()> {
        let remote = self.place.find()?;
        let mut common = self.filters.fields();
        if let Some(scope) = &self.scope {
            common.push(("author_domain", scope.author_domain.to_string()));
            common.extend(scope.stream.iter().map(|stream| ("stream", stream.to_string())));
        }
        if self.addresses.is_empty() && common.is_empty() && !self.all {
            bail!("nothing was selected; name addresses or filters, or say --all for everything on the list");
        }
        let selections: Vec<Vec<(&'static str, String)>> = if self.addresses.is_empty() {
            vec![common]
        } else {
            self.addresses.iter().map(|address| common.iter().cloned().chain([("recipient", address.clone())]).collect()).collect()
        };
        if self.dry_run || !self.yes {
            let planned = self.each(&remote, &selections, false, self.dry_run)?;
            if self.dry_run {
                return self.tell(planned, "would be");
            }
            Self::consent(planned)?;
        }
        let removed = self.each(&remote, &selections, true, true)?;
        if removed == 0 && !self.addresses.is_empty() {
            bail!("{} on the list for that scope; `postseal suppression list` shows what is", is_not(&self.addresses));
        }
        self.tell(removed, "")
    }

    /// Goes through what fits, and takes it off the list where it is meant; how many there were.
    fn each(&self, remote: &Remote, selections: &[Vec<(&'static str, String)>], lifts: bool, shown: bool) -> anyhow::Result<u64> {
        let mut count = 0;
        for fields in selections {
            walk(remote, fields, None, |page| {
                let named = |item: &Value| json!({ "scope": item["scope"], "recipient": item["recipient"] });
                let fits = |item: &&Value| self.scope.as_ref().is_none_or(|scope| text(&item["scope"]) == scope.to_string());
                let damaged = page["damaged"].as_array().into_iter().flatten();
                let keys: Vec<Value> = items(page).chain(damaged).filter(fits).map(named).collect();
                if !keys.is_empty() {
                    let lifted = if lifts { remote.post(LIFT, &json!({ "entries": keys }))?["lifted"].as_array().cloned().unwrap_or_default() } else { keys };
                    count += lifted.len() as u64;
                    for key in lifted.iter().filter(|_| shown) {
                        out(&if self.json { format!("{key}\n") } else { format!("{} {}\n", text(&key["recipient"]), text(&key["scope"])) })?;
                    }
                }
                Ok(Some(PAGE))
            })?;
        }
        Ok(count)
    }

    fn consent(planned: u64) -> anyhow::Result<()> {
        if planned <= ASKED_FROM {
            return Ok(());
        }
        let what = format!("{} would be removed", counted(planned));
        if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
            bail!("{what}; there is no terminal to ask: --yes does it without asking, --dry-run shows them. Nothing was changed");
        }
        eprint!("{what}. Go on? [y/N] ");
        std::io::stderr().flush()?;
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        match answer.trim().to_ascii_lowercase().as_str() {
            "y" | "yes" => Ok(()),
            _ => Err(anyhow!("nothing was changed")),
        }
    }

    fn tell(&self, count: u64, would: &str) -> anyhow::Result<()> {
        if self.json {
            return Ok(());
        }
        let verb = match (would.is_empty(), count) {
            (false, _) => would,
            (true, 0 | 1) => "is",
            (true, _) => "are",
        };
        out(&format!("{} {verb} taken off the list\n", counted(count)))
    }
}

fn is_not(addresses: &[String]) -> String {
    match addresses {
        [only] => format!("{only} is not"),
        several => format!("none of {} is", several.join(", ")),
    }
}

impl Import {
    fn run(&self) -> anyhow::Result<()> {
        let source = Source::open(&self.file, self.format)?;
        let now = clock::now();
        let (mut sound, mut faulty, mut ended) = (0_u64, 0_u64, 0_u64);
        for (line, row) in source.rows()? {
            match row.map_err(EntryFault::Wrong).and_then(|fields| self.looked_at(fields, now)) {
                Ok(_) => sound += 1,
                Err(EntryFault::Ended) => ended += 1,
                Err(EntryFault::Wrong(fault)) => {
                    faulty += 1;
                    eprintln!("postseal: {}:{line}: {fault}", self.file.display());
                }
            }
        }
        let ended = if ended == 0 { String::new() } else { format!(", {} whose time is over", counted(ended)) };
        if faulty > 0 && !self.skip_faulty {
            bail!(
                "{} of {} lines are faulty{ended}; nothing was sent. Mend them, or leave them out with --skip-faulty",
                grouped(faulty),
                grouped(sound + faulty)
            );
        }
        if self.dry_run {
            return out(&format!("{} would be sent{ended}, {} faulty lines left out\n", counted(sound), grouped(faulty)));
        }
        let remote = self.place.find()?;
        let room = remote.get(SUPPRESSIONS, &[("limit", "1".to_owned())])?;
        if sound > number(&room["entries_max"]) {
            bail!(
                "the file has {}, and the list takes {}: raise suppression.entries_max first; nothing was sent",
                counted(sound),
                grouped(number(&room["entries_max"]))
            );
        }
        let sums = self.send(&remote, &source, now, sound)?;
        sums.tell(self.json)
    }

    /// A row of the file as it is sent.
    fn looked_at(&self, mut fields: Map<String, Value>, now: Timestamp) -> Result<Map<String, Value>, EntryFault> {
        if let Some(scope) = self.scope.as_ref().filter(|_| fields.get("scope").is_none_or(Value::is_null)) {
            fields.insert("scope".to_owned(), scope.to_string().into());
        }
        match entry(&fields, &Rules::default(), now) {
            Err(EntryFault::Wrong(fault)) if fault.starts_with("scope is missing") => {
                Err(EntryFault::Wrong(format!("{fault}; expected a column scope, or --scope")))
            }
            Err(fault) => Err(fault),
            Ok(_) => Ok(fields),
        }
    }

    fn send(&self, remote: &Remote, source: &Source, now: Timestamp, of: u64) -> anyhow::Result<Sums> {
        let (mut sums, mut page, mut octets, mut sent) = (Sums::default(), Vec::new(), 0, 0_u64);
        let shown = !self.json && std::io::stderr().is_terminal();
        let mut flush = |page: &mut Vec<Value>, line: u64| -> anyhow::Result<()> {
            let entries = std::mem::take(page);
            let count = entries.len() as u64;
            let taken = remote.post(SUPPRESSIONS, &json!({ "entries": entries }));
            let taken = taken.with_context(|| format!("stopped before line {line}; {} were taken. Run it again: what is on the list stays", counted(sent)))?;
            sums.add(&taken);
            sent += count;
            if shown {
                eprint!("\r\x1b[K{} of {} …", grouped(sent), grouped(of));
            }
            Ok(())
        };
        let mut last = 0;
        for (line, row) in source.rows()? {
            let Ok(fields) = row.map_err(EntryFault::Wrong).and_then(|fields| self.looked_at(fields, now)) else { continue };
            let entry = Value::Object(fields);
            octets += entry.to_string().len();
            page.push(entry);
            last = line;
            if page.len() == PAGE || octets >= PAGE_OCTETS {
                flush(&mut page, line)?;
                octets = 0;
            }
        }
        if !page.is_empty() {
            flush(&mut page, last)?;
        }
        if shown {
            eprint!("\r\x1b[K");
        }
        Ok(sums)
    }
}

impl Export {
    fn run(&self) -> anyhow::Result<()> {
        let remote = self.place.find()?;
        let mut sink = Sink::begin(std::io::stdout().lock(), self.format)?;
        let mut damaged = 0;
        walk(&remote, &self.filters.fields(), None, |page| {
            damaged += page["damaged"].as_array().map_or(0, Vec::len);
            items(page).try_for_each(|item| sink.write(item))?;
            Ok(Some(PAGE))
        })?;
        sink.end()?;
        if damaged > 0 {
            eprintln!("postseal: {damaged} entries are damaged and left out; `postseal suppression list` names them");
        }
        Ok(())
    }
}

/// What became of entries, over all pages.
#[derive(Debug, Default)]
struct Sums {
    added: u64,
    renewed: u64,
    kept: u64,
}

impl Sums {
    fn add(&mut self, page: &Value) {
        self.added += number(&page["added"]);
        self.renewed += number(&page["renewed"]);
        self.kept += number(&page["kept"]);
    }

    fn tell(&self, json: bool) -> anyhow::Result<()> {
        let Self { added, renewed, kept } = self;
        if json {
            return out(&format!("{}\n", json!({ "added": added, "renewed": renewed, "kept": kept })));
        }
        out(&format!("{} added, {} renewed, {} were there and stay as they are\n", counted(*added), grouped(*renewed), grouped(*kept)))
    }
}

/// A time, a day, a while from now, or `lasting`: as the API takes it.
fn until(text: &str, now: Timestamp) -> anyhow::Result<String> {
    if text == "lasting" {
        return Ok(text.to_owned());
    }
    let day = || Timestamp::parse_rfc3339(&format!("{text}T00:00:00Z"));
    let days = || text.strip_suffix('d')?.parse::<u32>().ok().map(|days| now + Duration::from_hours(24) * days);
    let time = Timestamp::parse_rfc3339(text).or_else(day).or_else(days);
    let time = time.with_context(|| format!("\"{text}\" is no end; expected 2026-12-31, 2026-12-31T12:00:00Z, 90d or lasting"))?;
    Ok(time.to_rfc3339())
}

/// A time, a day, or hours or days ago: as the API takes it.
fn moment(text: &str) -> Result<String, String> {
    let now = clock::now();
    let day = || Timestamp::parse_rfc3339(&format!("{text}T00:00:00Z"));
    let ago = || {
        let hours = if text.ends_with('d') { 24 } else { 1 };
        let number: u32 = text.strip_suffix(['h', 'd'])?.parse().ok()?;
        Some(now - Duration::from_hours(hours) * number)
    };
    let time = Timestamp::parse_rfc3339(text).or_else(day).or_else(ago);
    time.map(Timestamp::to_rfc3339).ok_or_else(|| "expected 2026-11-22T12:00:00Z, 2026-11-22, 2h or 3d".to_owned())
}

/// To standard output, which may be closed.
fn out(text: &str) -> anyhow::Result<()> {
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}

fn counted(count: u64) -> String {
    format!("{} {}", grouped(count), if count == 1 { "address" } else { "addresses" })
}

fn grouped(number: u64) -> String {
    table::grouped(number)
}

const SUPPRESSIONS: &str = "/api/v1/suppressions";
const LIFT: &str = "/api/v1/suppressions/lift";
/// Rows printed where nothing else is asked for.
const ROWS: usize = 100;
/// Entries asked for, or sent, at a time.
const PAGE: usize = 1000;
/// Octets sent at a time: well below what the relay's admin takes.
const PAGE_OCTETS: usize = 512 << 10;
/// More are asked about first.
const ASKED_FROM: u64 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_a_time_a_day_a_while_or_none() {
        let now = Timestamp::from_unix_seconds(1_800_000_000);
        for (text, expected) in [
            ("2027-12-31", "2027-12-31T00:00:00.000Z"),
            ("2027-12-31T12:00:00+01:00", "2027-12-31T11:00:00.000Z"),
            ("10d", "2027-01-25T08:00:00.000Z"),
            ("lasting", "lasting"),
        ] {
            assert_eq!(until(text, now).unwrap(), expected);
        }
        for text in ["", "soon", "10", "-1d", "2027-13-01"] {
            assert!(until(text, now).is_err(), "{text}");
        }
    }
}
