//! `postseal classify FILE… [--json]`: what messages that came back say.

use crate::reasons::Table;
use crate::returns::{Classified, Returned, classify};
use anyhow::Context;
use serde::Serialize;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What was typed.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Messages, one a file; "-" is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// One JSON object a message, each on a line
    #[arg(long)]
    json: bool,
    /// Rules that are asked before the built-in ones: a file like config/reasons.toml, as `deliver.reasons_file` names it
    #[arg(long, value_name = "FILE")]
    reasons: Option<PathBuf>,
}

/// A message, as JSON tells of it.
#[derive(Serialize)]
struct Told<'a> {
    file: String,
    kind: &'a str,
    form: &'a str,
    recipients: Vec<Recipient<'a>>,
    reporting_mta: Option<&'a str>,
    envid: Option<&'a str>,
    original_message_id: Option<&'a str>,
    complaint: Option<Complaint<'a>>,
}

#[derive(Serialize)]
#[allow(clippy::struct_field_names, reason = "the names of the output")]
struct Recipient<'a> {
    recipient: &'a str,
    final_recipient: Option<&'a str>,
    action: &'a str,
    status: Option<String>,
    reply: Option<&'a str>,
    remote_mta: Option<&'a str>,
    reason: &'a str,
    permanent: bool,
}

#[derive(Serialize)]
struct Complaint<'a> {
    feedback_type: &'a str,
    recipients: &'a [String],
    user_agent: Option<&'a str>,
    mail_from: Option<&'a str>,
    source_ip: Option<&'a str>,
    arrived: Option<&'a str>,
    domains: &'a [String],
    incidents: u32,
}

/// 1 where a file could not be read; the others are told of all the same.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let table = reasons(args.reasons.as_deref())?;
    let mut out = std::io::stdout().lock();
    let mut code = ExitCode::SUCCESS;
    for file in &args.files {
        let octets = match read(file) {
            Ok(octets) => octets,
            Err(error) => {
                eprintln!("postseal: {}: {error:#}", file.display());
                code = ExitCode::FAILURE;
                continue;
            }
        };
        let found = classify(&octets, &table);
        let written = if args.json { writeln!(out, "{}", json(file, &found)?) } else { out.write_all(text(file, &found).as_bytes()) };
        match written {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => break, // whoever read has seen enough
            Err(error) => return Err(error).context("standard output"),
        }
    }
    Ok(code)
}

fn reasons(file: Option<&Path>) -> anyhow::Result<Table> {
    let Some(file) = file else { return Ok(Table::default()) };
    let text = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let more = Table::from_toml(&text).map_err(|faults| {
        let faults: Vec<String> = faults.iter().map(|fault| format!("{}: {fault}", file.display())).collect();
        anyhow::anyhow!("{}", faults.join("\n"))
    })?;
    Ok(Table::default().extended(more))
}

/// A little more than is looked at, so that no file fills the memory.
fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    let limit = crate::returns::arrived::MESSAGE_OCTETS_MAX as u64 + 1024;
    let mut octets = Vec::new();
    if file == Path::new("-") {
        std::io::stdin().lock().take(limit).read_to_end(&mut octets).context("standard input cannot be read")?;
    } else {
        let opened = std::fs::File::open(file).context("cannot be opened")?;
        anyhow::ensure!(!opened.metadata()?.is_dir(), "is a folder; expected a file that holds one message");
        opened.take(limit).read_to_end(&mut octets).context("cannot be read")?;
    }
    anyhow::ensure!(!octets.trim_ascii().is_empty(), "is empty; expected a message");
    Ok(octets)
}

fn json(file: &Path, found: &Classified) -> anyhow::Result<String> {
    let told = Told {
        file: file.display().to_string(),
        kind: found.kind.as_str(),
        form: found.form.as_str(),
        recipients: found.recipients.iter().map(recipient).collect(),
        reporting_mta: found.reporting_mta.as_deref(),
        envid: found.envid.as_deref(),
        original_message_id: found.original.as_ref().and_then(|original| original.message_id.as_deref()),
        complaint: found.complaint.as_ref().map(|complaint| Complaint {
            feedback_type: &complaint.feedback_type,
            recipients: &complaint.recipients,
            user_agent: complaint.user_agent.as_deref(),
            mail_from: complaint.mail_from.as_deref(),
            source_ip: complaint.source_ip.as_deref(),
            arrived: complaint.arrived.as_deref(),
            domains: &complaint.domains,
            incidents: complaint.incidents,
        }),
    };
    Ok(serde_json::to_string(&told)?)
}

fn recipient(returned: &Returned) -> Recipient<'_> {
    Recipient {
        recipient: &returned.recipient,
        final_recipient: returned.final_recipient.as_deref(),
        action: returned.action.as_str(),
        status: returned.status.map(|status| status.to_string()),
        reply: returned.reply.as_deref(),
        remote_mta: returned.remote_mta.as_deref(),
        reason: returned.reason.as_str(),
        permanent: returned.permanent,
    }
}

/// For a person: a line for the message, and two for each recipient.
fn text(file: &Path, found: &Classified) -> String {
    let id = found.original.as_ref().and_then(|original| original.message_id.as_deref()).map(|id| format!(" of {id}")).unwrap_or_default();
    let mut out = format!("{}: {}{id}\n", file.display(), found.kind);
    for recipient in &found.recipients {
        let lasting = if recipient.permanent { ", permanent" } else { "" };
        let _ = writeln!(out, "  {}: {}, {}{lasting}", recipient.recipient, recipient.action, recipient.reason);
        if let Some(reply) = &recipient.reply {
            let from = recipient.remote_mta.as_ref().map(|host| format!("{host}: ")).unwrap_or_default();
            let _ = writeln!(out, "    {from}{reply}");
        }
    }
    if let Some(complaint) = &found.complaint {
        let whom = if complaint.recipients.is_empty() { "a recipient it does not name".to_owned() } else { complaint.recipients.join(", ") };
        let _ = writeln!(out, "  {} from {whom}", if complaint.feedback_type.is_empty() { "feedback" } else { &complaint.feedback_type });
    }
    out
}
