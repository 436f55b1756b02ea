//! `postseal queue`: what waits in the running relay, and what is to become of it. Everything goes over the API of its admin.

mod show;
pub(super) mod table;

use super::paint::{Ink, Paint};
use super::remote::{Place, Remote, items, number, text};
use anyhow::{anyhow, bail};
use serde_json::{Map, Value, json};
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;
use table::{Column, Table, grouped};

/// What was typed.
#[derive(clap::Subcommand, Debug)]
pub enum Command {
    /// Say what waits: a summary by provider, or with filters the recipients one by one
    List(Box<List>),
    /// Show one mail: its facts, each recipient with its attempts and last words, or what became of it
    Show(Show),
    /// Have recipients tried now
    ///
    /// A provider that asked for a pause is not tried before its end, unless --end-pauses says so.
    Retry(Box<Retry>),
    /// Hold recipients: nothing is sent to them, and they do not expire, until they are released
    Hold(Box<Plain>),
    /// Let held recipients go: due now
    ///
    /// What is past its age by then gets one more attempt; if that fails, its submitter is told.
    Release(Box<Release>),
    /// Take recipients out of the queue; their submitters are told by a notice, unless --silent
    Cancel(Box<Cancel>),
    /// Send recipients by another route: mx, mx:POOL or the name of a smart host; they are sealed again as it needs
    Reroute(Box<Reroute>),
}

/// Which recipients: those that fit all of what is said.
#[derive(clap::Args, Debug, Default)]
pub struct Filters {
    /// Mail ids, as the log and `queue list` print them
    #[arg(value_name = "MAIL-ID")]
    ids: Vec<String>,
    /// The recipient's address
    #[arg(long, value_name = "ADDRESS")]
    recipient: Option<String>,
    /// The recipients' domain
    #[arg(long, value_name = "DOMAIN")]
    domain: Option<String>,
    /// Who the next hop of the last attempt belongs to: google, yahoo, microsoft …
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    /// The next hop of the last attempt
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
    /// The route: mx, mx:POOL or a smart host
    #[arg(long, value_name = "ROUTE")]
    route: Option<String>,
    /// The queue, as in mx/example.com
    #[arg(long, value_name = "QUEUE")]
    queue: Option<String>,
    /// The sender's address or domain; <> for notices
    #[arg(long, value_name = "ADDRESS")]
    sender: Option<String>,
    /// The domain of the author
    #[arg(long, value_name = "DOMAIN")]
    author_domain: Option<String>,
    /// The stream
    #[arg(long, value_name = "NAME")]
    stream: Option<String>,
    /// Who submitted it
    #[arg(long, value_name = "NAME")]
    identity: Option<String>,
    /// Why the last attempt failed: rate-limited, mailbox-full, network …
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,
    /// How the status of the last attempt begins: 4, 4.7 or 4.7.28
    #[arg(long, value_name = "STATUS")]
    status: Option<String>,
    /// Accepted longer ago than this: 90s, 30m, 12h, 2d
    #[arg(long, value_name = "AGE", value_parser = age)]
    older_than: Option<u32>,
    /// Accepted no longer ago than this
    #[arg(long, value_name = "AGE", value_parser = age)]
    younger_than: Option<u32>,
    /// waiting, leased (being delivered), held or quarantined (damaged)
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
}

#[derive(clap::Args, Debug)]
pub struct List {
    #[command(flatten)]
    filters: Filters,
    /// Sum up by provider, domain, queue, reason or stream
    #[arg(long, value_name = "WHAT", conflicts_with = "recipients")]
    by: Option<String>,
    /// Recipients one by one, though there is no filter
    #[arg(long)]
    recipients: bool,
    /// Rows at most; 0: all
    #[arg(long, value_name = "N", default_value_t = ROWS)]
    limit: usize,
    /// Go on where a list ended
    #[arg(long, value_name = "CURSOR")]
    after: Option<String>,
    /// Print JSON, a line for each row
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(clap::Args, Debug)]
pub struct Show {
    /// Its mail id
    #[arg(value_name = "MAIL-ID")]
    id: String,
    /// Print the message as it would be sent, its seal in front
    #[arg(long, conflicts_with_all = ["headers", "json"])]
    message: bool,
    /// Print the header of the message, its seal in front
    #[arg(long, conflicts_with = "json")]
    headers: bool,
    /// Print JSON, as the API gives it
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// What every order takes.
#[derive(clap::Args, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "what may be typed, each a switch of its own")]
pub struct Common {
    #[command(flatten)]
    filters: Filters,
    /// Everything in the queue; said in place of filters
    #[arg(long)]
    all: bool,
    /// Show what would be done; change nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask, however many there are
    #[arg(long, short)]
    yes: bool,
    /// Come back to those that are being delivered right now, for so long: 30s, 5m
    #[arg(long, value_name = "TIME", value_parser = age, default_value = "0s")]
    wait: u32,
    /// Print JSON, a line for each recipient, and one with the sums
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(clap::Args, Debug)]
pub struct Plain {
    #[command(flatten)]
    common: Common,
}

#[derive(clap::Args, Debug)]
pub struct Retry {
    #[command(flatten)]
    common: Common,
    /// Try providers too that asked for a pause, by one connection at first
    #[arg(long)]
    end_pauses: bool,
}

#[derive(clap::Args, Debug)]
pub struct Release {
    #[command(flatten)]
    common: Common,
    /// Let everything go that is held since the spool was restored; what a person held stays held
    #[arg(long, conflicts_with = "all")]
    everything: bool,
}

#[derive(clap::Args, Debug)]
pub struct Cancel {
    #[command(flatten)]
    common: Common,
    /// Tell nobody
    #[arg(long)]
    silent: bool,
    /// Words for the notices and for history
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
}

#[derive(clap::Args, Debug)]
pub struct Reroute {
    #[command(flatten)]
    common: Common,
    /// The new route
    #[arg(long, value_name = "ROUTE")]
    to: String,
}

/// An order as it is given, and as it is told.
struct Order {
    action: &'static str,
    /// `12 recipients would be` …, `12 recipients were` …
    done: &'static str,
    /// Many of them are asked about first: it cannot be taken back.
    asks: bool,
    fields: Map<String, Value>,
}

/// What an order came to, over all pages.
#[derive(Debug, Default)]
struct Sums {
    done: u64,
    nothing: u64,
    busy: u64,
    damaged: u64,
    expired: u64,
    paused: Map<String, Value>,
    /// The first few that were touched.
    rows: Vec<Value>,
}

/// Runs what was typed. Exit code 0: done; 1: not done; 3: some are being delivered right now, and were left alone.
pub fn run(command: Command) -> anyhow::Result<ExitCode> {
    match carry_out(command) {
        // Whoever read what is printed has seen enough, as `head` does.
        Err(fault) if fault.downcast_ref::<std::io::Error>().is_some_and(|fault| fault.kind() == std::io::ErrorKind::BrokenPipe) => Ok(ExitCode::SUCCESS),
        done => done,
    }
}

fn carry_out(command: Command) -> anyhow::Result<ExitCode> {
    let plain = |action, done, asks| Order { action, done, asks, fields: Map::new() };
    let with = |order: Order, name: &str, value: Value| Order { fields: order.fields.into_iter().chain([(name.to_owned(), value)]).collect(), ..order };
    match command {
        Command::List(list) => list.run(),
        Command::Show(show) => show.run(),
        Command::Hold(typed) => typed.common.carry_out(&plain("hold", "held", false)),
        Command::Retry(typed) => typed.common.carry_out(&with(plain("retry", "due now", false), "end_pauses", typed.end_pauses.into())),
        Command::Release(typed) => typed.run(&plain("release", "released", true)),
        Command::Cancel(typed) => {
            let order = with(plain("cancel", "cancelled", true), "silent", typed.silent.into());
            typed.common.carry_out(&with(order, "note", typed.note.clone().into()))
        }
        Command::Reroute(typed) => typed.common.carry_out(&with(plain("reroute", "rerouted", true), "to", typed.to.clone().into())),
    }
}

impl Filters {
    /// As the API takes them.
    fn fields(&self) -> Vec<(&'static str, String)> {
        let texts = [
            ("recipient", &self.recipient),
            ("domain", &self.domain),
            ("provider", &self.provider),
            ("host", &self.host),
            ("route", &self.route),
            ("queue", &self.queue),
            ("sender", &self.sender),
            ("author_domain", &self.author_domain),
            ("stream", &self.stream),
            ("identity", &self.identity),
            ("reason", &self.reason),
            ("status", &self.status),
            ("state", &self.state),
        ];
        let ages = [("older_than", self.older_than), ("younger_than", self.younger_than)];
        let mut fields: Vec<_> = texts.into_iter().filter_map(|(name, text)| Some((name, text.clone()?))).collect();
        fields.extend(ages.into_iter().filter_map(|(name, age)| Some((name, age?.to_string()))));
        if !self.ids.is_empty() {
            fields.push(("id", self.ids.join(",")));
        }
        fields
    }
}

impl List {
    fn run(&self) -> anyhow::Result<ExitCode> {
        let (remote, fields) = (self.place.find()?, self.filters.fields());
        let by = self.by.clone().or_else(|| (fields.is_empty() && !self.recipients).then(|| "provider".to_owned()));
        match by {
            Some(by) => self.sums(&remote, fields, &by),
            None => self.rows(&remote, &fields),
        }
    }

    fn rows(&self, remote: &Remote, fields: &[(&'static str, String)]) -> anyhow::Result<ExitCode> {
        let paint = Paint::of_stdout();
        let (mut after, mut shown) = (self.after.clone(), 0);
        let mut rows = Vec::new();
        let next = loop {
            let left = if self.limit == 0 { PAGE } else { PAGE.min(self.limit - shown) };
            let mut query = fields.to_vec();
            query.push(("limit", left.to_string()));
            query.extend(after.map(|after| ("after", after)));
            let page = remote.get(QUEUE, &query)?;
            for item in items(&page) {
                shown += 1;
                if self.json {
                    out(format_args!("{item}\n"))?;
                } else {
                    rows.push(item.clone());
                }
            }
            after = page["next"].as_str().map(str::to_owned);
            if after.is_none() || (self.limit > 0 && shown >= self.limit) {
                break after;
            }
        };
        if self.json {
            return Ok(ExitCode::SUCCESS);
        }
        out(format_args!("{}", recipients(&rows, paint)))?;
        match next {
            _ if rows.is_empty() => out(format_args!("nothing waits that fits\n"))?,
            Some(next) => out(format_args!("{}\n", paint.ink(Ink::Dim, &format!("there may be more: --after {next}, or --limit 0 for all"))))?,
            None => {}
        }
        Ok(ExitCode::SUCCESS)
    }

    fn sums(&self, remote: &Remote, fields: Vec<(&'static str, String)>, by: &str) -> anyhow::Result<ExitCode> {
        let mut query = fields;
        query.push(("by", by.to_owned()));
        let mut groups: Vec<Value> = Vec::new();
        let mut after: Option<String> = None;
        let progress = Progress::new(self.json);
        let mut seen = 0;
        loop {
            let mut query = query.clone();
            query.extend(after.map(|after| ("after", after)));
            let page = remote.get(QUEUE, &query)?;
            for item in items(&page) {
                seen += number(&item["recipients"]);
                match groups.iter_mut().find(|group| group["key"] == item["key"]) {
                    Some(group) => add(group, item),
                    None => groups.push(item.clone()),
                }
            }
            after = page["next"].as_str().map(str::to_owned);
            if after.is_none() {
                break;
            }
            progress.say(&format!("{} recipients so far", grouped(seen)));
        }
        progress.clear();
        groups.sort_by_key(|group| std::cmp::Reverse(number(&group["recipients"])));
        if self.json {
            groups.iter().try_for_each(|group| out(format_args!("{group}\n")))?;
        } else {
            out(format_args!("{}", summary(&groups, by, if self.limit == 0 { usize::MAX } else { self.limit }, Paint::of_stdout())))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Show {
    fn run(&self) -> anyhow::Result<ExitCode> {
        let remote = self.place.find()?;
        let path = format!("{QUEUE}/{}", self.id);
        if self.message || self.headers {
            let octets = remote.octets(&format!("{path}/message"), &[("headers", self.headers.to_string())])?;
            std::io::stdout().write_all(&octets)?;
            return Ok(ExitCode::SUCCESS);
        }
        let mail = remote.get(&path, &[])?;
        if self.json {
            out(format_args!("{mail:#}\n"))?;
        } else {
            out(format_args!("{}", show::told(&mail, Paint::of_stdout())))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Release {
    fn run(&self, order: &Order) -> anyhow::Result<ExitCode> {
        if !self.everything {
            return self.common.carry_out(order);
        }
        let remote = self.common.place.find()?;
        if self.common.dry_run {
            let status = remote.get("/api/v1/status", &[])?;
            println!("{}", status["held"].as_str().unwrap_or("the spool is not held: there is nothing that was restored to let go"));
            return Ok(ExitCode::SUCCESS);
        }
        let answer = remote.post("/api/v1/spool/release", &json!({}))?;
        if self.common.json {
            println!("{answer}");
        } else {
            println!("{} that were held since a restore are released", counted(number(&answer["recipients"])));
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Common {
    fn carry_out(&self, order: &Order) -> anyhow::Result<ExitCode> {
        let remote = self.place.find()?;
        let mut body = order.fields.clone();
        let selection: Map<String, Value> = self.filters.fields().into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        if selection.is_empty() && !self.all {
            bail!("nothing was selected; name mail ids or filters, or say --all for everything in the queue");
        }
        body.insert("selection".to_owned(), selection.into());
        body.insert("all".to_owned(), self.all.into());
        if self.dry_run {
            let sums = self.walk(&remote, order, &body, true, None)?;
            self.tell(order, &sums, true);
            return Ok(ExitCode::SUCCESS);
        }
        let planned = if order.asks && !self.yes { self.consent(&remote, order, &body)? } else { None };
        let mut sums = self.walk(&remote, order, &body, false, planned)?;
        let until = std::time::Instant::now() + Duration::from_secs(self.wait.into());
        while sums.busy > 0 && std::time::Instant::now() < until {
            std::thread::sleep(AGAIN);
            let again = self.walk(&remote, order, &body, false, None)?;
            sums = Sums { done: sums.done + again.done, damaged: again.damaged, busy: again.busy, expired: sums.expired + again.expired, ..sums };
        }
        self.tell(order, &sums, false);
        Ok(if sums.busy > 0 { ExitCode::from(BUSY) } else { ExitCode::SUCCESS })
    }

    /// Asks where there are many and a person is there; gives how many there are.
    fn consent(&self, remote: &Remote, order: &Order, body: &Map<String, Value>) -> anyhow::Result<Option<u64>> {
        let planned = self.walk(remote, order, body, true, None)?;
        if planned.done <= ASKED_FROM {
            return Ok(Some(planned.done));
        }
        let what = format!("{} would be {}", counted(planned.done), order.done);
        if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
            bail!("{what}; there is no terminal to ask: --yes does it without asking, --dry-run shows them. Nothing was changed");
        }
        eprint!("{what}. Go on? [y/N] ");
        std::io::stderr().flush()?;
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        match answer.trim().to_ascii_lowercase().as_str() {
            "y" | "yes" => Ok(Some(planned.done)),
            _ => Err(anyhow!("nothing was changed")),
        }
    }

    /// Page by page, to the end.
    fn walk(&self, remote: &Remote, order: &Order, body: &Map<String, Value>, dry_run: bool, planned: Option<u64>) -> anyhow::Result<Sums> {
        let progress = Progress::new(self.json);
        let (mut sums, mut after) = (Sums::default(), Value::Null);
        loop {
            let mut body = body.clone();
            body.insert("dry_run".to_owned(), dry_run.into());
            body.insert("after".to_owned(), after);
            let page = remote.post(&format!("{QUEUE}/{}", order.action), &body.into())?;
            sums.add(&page);
            if self.json && (dry_run == self.dry_run) {
                items(&page).try_for_each(|item| out(format_args!("{item}\n")))?;
            }
            after = page["next"].clone();
            if after.is_null() {
                progress.clear();
                return Ok(sums);
            }
            let of = planned.map_or_else(String::new, |planned| format!(" of {}", grouped(planned)));
            let would = if dry_run { "to be " } else { "" };
            progress.say(&format!("{}{of} {would}{}", grouped(sums.done), order.done));
        }
    }

    fn tell(&self, order: &Order, sums: &Sums, dry_run: bool) {
        if self.json {
            let Sums { done, nothing, busy, damaged, expired, .. } = sums;
            println!(
                "{}",
                json!({ "done": done, "nothing": nothing, "busy": busy, "damaged": damaged, "expired": expired, "paused": sums.paused, "dry_run": dry_run })
            );
            return;
        }
        let paint = Paint::of_stdout();
        if dry_run && !sums.rows.is_empty() {
            print!("{}", recipients(&sums.rows, paint));
            if sums.done > sums.rows.len() as u64 {
                println!("{}", paint.ink(Ink::Dim, &format!("and {} more", grouped(sums.done - sums.rows.len() as u64))));
            }
        }
        let verb = match (dry_run, sums.done) {
            (true, _) => "would be",
            (false, 0 | 1) => "is",
            (false, _) => "are",
        };
        println!("{} {verb} {}", if sums.done == 0 { "no recipient".to_owned() } else { counted(sums.done) }, order.done);
        for note in Self::notes(order, sums) {
            println!("{}", paint.ink(Ink::Yellow, &note));
        }
    }

    fn notes(order: &Order, sums: &Sums) -> Vec<String> {
        let mut notes = Vec::new();
        if sums.busy > 0 {
            notes.push(format!("{} being delivered right now and left alone; run it again, or with --wait 5m", is(sums.busy)));
        }
        if sums.damaged > 0 {
            let remedy = if order.action == "cancel" {
                "cancel --silent takes them out: no notice can be made of them"
            } else {
                "see `postseal queue list --state quarantined`"
            };
            notes.push(format!("{} of damaged mail and left alone; {remedy}", is(sums.damaged)));
        }
        if sums.expired > 0 {
            notes.push(format!("{} past the age of their mail: one more attempt, then they fail and their submitters are told", is(sums.expired)));
        }
        for (provider, until) in &sums.paused {
            notes.push(format!("{provider} asked for a pause until {}; --end-pauses tries it now", table::clock(until)));
        }
        notes
    }
}

impl Sums {
    fn add(&mut self, page: &Value) {
        self.done += number(&page["done"]);
        self.nothing += number(&page["nothing"]);
        self.busy += number(&page["busy"]);
        self.damaged += number(&page["damaged"]);
        self.expired += number(&page["expired"]);
        self.paused.extend(page["paused"].as_object().cloned().unwrap_or_default());
        let touched = items(page).filter(|item| item["effect"] == "done");
        self.rows.extend(touched.take(DRY_ROWS.saturating_sub(self.rows.len())).cloned());
    }
}

/// The recipients of a list.
fn recipients(rows: &[Value], paint: Paint) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut table = Table::new(vec![
        Column::fixed("mail"),
        Column::fixed("age").right(),
        Column::fixed("state"),
        Column::fixed("tries").right(),
        Column::shrinking("recipient", 18),
        Column::last("last words"),
    ]);
    for row in rows {
        let (state, ink) = standing(row);
        table.row(vec![
            (text(&row["mail_id"]).to_owned(), Ink::Bold),
            (table::age(&row["age_seconds"]), Ink::Dim),
            (state, ink),
            (number(&row["attempts"]).to_string(), Ink::Dim),
            (text(&row["recipient"]).to_owned(), Ink::Green),
            (row["damage"].as_str().map_or_else(|| words(&row["last"]), str::to_owned), Ink::Dim),
        ]);
    }
    table.print(paint)
}

fn standing(row: &Value) -> (String, Ink) {
    match text(&row["state"]) {
        "waiting" => (table::until(&row["next_at"]), Ink::Blue),
        "leased" => ("sending".to_owned(), Ink::Green),
        "held" => ("held".to_owned(), Ink::Yellow),
        "quarantined" => ("damaged".to_owned(), Ink::Red),
        other => (other.to_owned(), Ink::Dim),
    }
}

/// Sums over groups.
fn summary(groups: &[Value], by: &str, rows_max: usize, paint: Paint) -> String {
    if groups.is_empty() {
        return "nothing waits\n".to_owned();
    }
    let has = |name: &str| groups.iter().any(|group| number(&group[name]) > 0);
    let mut columns = vec![Column::shrinking(by, 12), Column::fixed("recipients").right(), Column::fixed("mails").right()];
    let states = [("leased", "sending"), ("held", "held"), ("quarantined", "damaged")];
    let shown: Vec<_> = states.into_iter().filter(|(name, _)| has(name)).collect();
    columns.extend(shown.iter().map(|(_, title)| Column::fixed(title).right()));
    columns.extend([Column::fixed("oldest").right(), Column::fixed("next"), Column::last("last words")]);
    let mut table = Table::new(columns);
    for group in groups.iter().take(rows_max) {
        let count = |name: &str| match number(&group[name]) {
            0 => String::new(),
            count => grouped(count),
        };
        let mut cells = vec![
            (group["key"].as_str().unwrap_or("(not tried yet)").to_owned(), Ink::Bold),
            (grouped(number(&group["recipients"])), Ink::Green),
            (grouped(number(&group["mails"])), Ink::Dim),
        ];
        cells.extend(shown.iter().map(|(name, _)| (count(name), if *name == "quarantined" { Ink::Red } else { Ink::Yellow })));
        cells.extend([(table::age(&group["oldest_seconds"]), Ink::Dim), (table::until(&group["next_at"]), Ink::Blue), (words(&group["last"]), Ink::Dim)]);
        table.row(cells);
    }
    let mut printed = table.print(paint);
    let all: u64 = groups.iter().map(|group| number(&group["recipients"])).sum();
    let more = groups.len().saturating_sub(rows_max);
    let rest = if more > 0 { format!(" ({more} groups are not shown: --limit 0)") } else { String::new() };
    printed.push_str(&paint.ink(Ink::Dim, &format!("{} in all{rest}", counted(all))));
    printed.push('\n');
    printed
}

/// The reason in our word, then the next hop's own.
fn words(last: &Value) -> String {
    if last.is_null() {
        return "not tried yet".to_owned();
    }
    let reason = last["reason"].as_str().map_or_else(String::new, |reason| format!("{reason}: "));
    format!("{reason}{}", text(&last["text"]))
}

/// Adds up two groups of one key, as pages give them.
fn add(group: &mut Value, other: &Value) {
    for name in ["mails", "recipients", "waiting", "leased", "held", "quarantined"] {
        group[name] = (number(&group[name]) + number(&other[name])).into();
    }
    if number(&other["oldest_seconds"]) > number(&group["oldest_seconds"]) {
        (group["oldest_seconds"], group["oldest_at"]) = (other["oldest_seconds"].clone(), other["oldest_at"].clone());
    }
    // RFC 3339 in UTC sorts as text.
    let next = [&group["next_at"], &other["next_at"]].into_iter().filter_map(Value::as_str).min().map(str::to_owned);
    group["next_at"] = next.into();
    if text(&other["last"]["at"]) > text(&group["last"]["at"]) {
        group["last"] = other["last"].clone();
    }
}

/// To standard output, which may be closed.
fn out(text: std::fmt::Arguments<'_>) -> std::io::Result<()> {
    std::io::stdout().write_fmt(text)
}

/// A line that is drawn over, on standard error, where a person looks.
struct Progress {
    shown: bool,
    drawn: std::cell::Cell<bool>,
}

impl Progress {
    fn new(json: bool) -> Self {
        Self { shown: !json && std::io::stderr().is_terminal(), drawn: false.into() }
    }

    fn say(&self, text: &str) {
        if self.shown {
            eprint!("\r\x1b[K{text} …");
            self.drawn.set(true);
        }
    }

    fn clear(&self) {
        if self.drawn.replace(false) {
            eprint!("\r\x1b[K");
        }
    }
}

/// `90s`, `30m`, `12h`, `2d`, in seconds.
fn age(text: &str) -> Result<u32, String> {
    let expected = || format!("\"{text}\" is no time; expected a number with s, m, h or d, as in 30m");
    let unit = text.chars().last().ok_or_else(expected)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(expected()),
    };
    let number: u32 = text[..text.len() - unit.len_utf8()].parse().map_err(|_| expected())?;
    number.checked_mul(seconds).ok_or_else(|| format!("\"{text}\" is too long; expected less than 136 years"))
}

fn counted(count: u64) -> String {
    format!("{} {}", grouped(count), if count == 1 { "recipient" } else { "recipients" })
}

fn is(count: u64) -> String {
    format!("{} {}", counted(count), if count == 1 { "is" } else { "are" })
}

const QUEUE: &str = "/api/v1/queue";
/// Rows printed where nothing else is asked for.
const ROWS: usize = 100;
/// Rows asked for at a time.
const PAGE: usize = 500;
/// Recipients that a dry run shows.
const DRY_ROWS: usize = 20;
/// More are asked about first.
const ASKED_FROM: u64 = 10;
/// Between two looks at those that are being delivered.
const AGAIN: Duration = Duration::from_secs(1);
/// Some were left alone.
const BUSY: u8 = 3;
