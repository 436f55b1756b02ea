//! `postseal reload`: what SIGHUP does, from where no signal can be sent, with the faults as the answer.

use super::remote::Place;
use serde_json::json;
use std::process::ExitCode;

/// What was typed.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    place: Place,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    args.place.find()?.post("/api/v1/reload", &json!({}))?;
    println!("the configuration is in force");
    Ok(ExitCode::SUCCESS)
}
