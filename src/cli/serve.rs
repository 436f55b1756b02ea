//! `postseal serve`

use crate::config::Config;
use crate::events::log;
use crate::relay::Relay;
use anyhow::Context;
use std::path::Path;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

pub fn run(path: &Path) -> anyhow::Result<ExitCode> {
    let config = Config::load(path)?;
    let logging = log::begin(&config.log);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("the runtime cannot be started")?;
    let served = runtime.block_on(serve(path, config));
    match served {
        Ok(End::Cut) => runtime.shutdown_background(), // waits for nobody
        Ok(End::Drained) | Err(_) => drop(runtime),
    }
    drop(logging); // the last lines are written
    served?;
    Ok(ExitCode::SUCCESS)
}

/// How it ended.
#[derive(Clone, Copy)]
enum End {
    Drained,
    /// A second signal came while it drained.
    Cut,
}

async fn serve(path: &Path, config: Config) -> anyhow::Result<End> {
    // Signals are caught before anything starts: one that comes early is not lost.
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be caught")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be caught")?;
    let mut hang_up = signal(SignalKind::hangup()).context("SIGHUP cannot be caught")?;
    let mut relay = Relay::start(config).await?;
    loop {
        tokio::select! {
            _ = hang_up.recv() => drop(reload(&mut relay, path)),
            asked = relay.reload_asked() => asked.answer(reload(&mut relay, path)),
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    tokio::select! {
        () = relay.drain() => return Ok(End::Drained),
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    // What was accepted is in the spool, and what was being delivered is tried again at the next start, as after a kill.
    tracing::warn!("drain.cut");
    Ok(End::Cut)
}

/// Gives the faults that it logged.
fn reload(relay: &mut Relay, path: &Path) -> Result<(), Vec<String>> {
    let reloaded = Config::load(path).map_err(|faults| faults.to_string()).and_then(|config| relay.reload(config).map_err(|fault| fault.to_string()));
    let faults: Vec<String> = reloaded.err().iter().flat_map(|faults| faults.lines()).map(str::to_owned).collect();
    relay.count_reload(faults.is_empty());
    for error in &faults {
        tracing::error!(error, "config.rejected");
    }
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}
