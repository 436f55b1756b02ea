//! `postseal health`: for probes of containers, which have no shell. Fast, and never a surprise by exit code.

use super::remote::Place;
use serde_json::Value;
use std::process::ExitCode;
use std::time::Duration;

/// What was typed.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Ask only whether the process lives: for a liveness probe, which restarts what fails it
    #[arg(long)]
    live: bool,
    /// How long to wait for the answer, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 3000, value_parser = clap::value_parser!(u64).range(1..=600_000))]
    timeout: u64,
    #[command(flatten)]
    place: Place,
}

/// 0 or 1, whatever happens.
pub fn run(args: &Args) -> ExitCode {
    match ask(args) {
        Ok(Verdict::Well) => ExitCode::SUCCESS,
        Ok(Verdict::Unwell(reasons)) => {
            for reason in reasons {
                println!("{reason}");
            }
            ExitCode::FAILURE
        }
        Err(error) => {
            println!("{error:#}"); // runtimes of containers keep what a probe prints
            ExitCode::FAILURE
        }
    }
}

enum Verdict {
    Well,
    Unwell(Vec<String>),
}

fn ask(args: &Args) -> anyhow::Result<Verdict> {
    let (path, answer) = if args.live { ("/healthz", "alive") } else { ("/readyz", "ready") };
    let (status, told) = args.place.probe()?.look(path, Duration::from_millis(args.timeout))?;
    if status.is_success() && told[answer] == true {
        return Ok(Verdict::Well);
    }
    let reasons = told["reasons"].as_array().into_iter().flatten().map(|reason| format!("{}: {}", word(reason, "code"), word(reason, "message")));
    let refusal = told["error"].is_object().then(|| word(&told["error"], "message").to_owned());
    let reasons: Vec<String> = reasons.chain(refusal).collect();
    Ok(Verdict::Unwell(if reasons.is_empty() { vec![format!("not {answer} (status {})", status.as_u16())] } else { reasons }))
}

fn word<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}
