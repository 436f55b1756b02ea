//! `postseal serve`

use super::privacy;
use crate::config::Config;
use crate::events::log;
use crate::relay::Relay;
use crate::service::heart;
use crate::service::notify::{Manager, State, monotonic};
use crate::service::sockets::Sockets;
use anyhow::{Context, anyhow};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub fn run(path: &Path) -> anyhow::Result<ExitCode> {
    let sockets = Sockets::of_environment().map_err(|faults| anyhow!(faults.join("\n")))?;
    let manager = Arc::new(Manager::of(|name| std::env::var_os(name), std::process::id()).map_err(anyhow::Error::msg)?);
    let config = Config::load(path).inspect_err(|faults| manager.tell(&[State::Status(&format!("cannot start: {faults}"))]))?;
    if config.server.core_dumps {
        privacy::waive();
    }
    let logging = log::begin(&config.log);
    raise_descriptors();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("the runtime cannot be started")?;
    let served = runtime.block_on(serve(path, config, sockets, manager));
    match served {
        Ok(End::Cut) => runtime.shutdown_background(), // waits for nobody
        Ok(End::Drained) | Err(_) => drop(runtime),
    }
    drop(logging); // the last lines are written
    served?;
    Ok(ExitCode::SUCCESS)
}

/// As many file descriptors as the system lets us have. What most programs begin with, 1,024, is kept low for the sake of `select`, and is
/// less than clients and next hops may need.
fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    // Where it is refused, we have what we had.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// How it ended.
#[derive(Clone, Copy)]
enum End {
    Drained,
    /// A second signal came while it drained.
    Cut,
}

async fn serve(path: &Path, config: Config, sockets: Sockets, manager: Arc<Manager>) -> anyhow::Result<End> {
    // Signals are caught before anything starts: one that comes early is not lost.
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be caught")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be caught")?;
    let mut hang_up = signal(SignalKind::hangup()).context("SIGHUP cannot be caught")?;
    let mut relay = started(config, sockets, &manager).await?;
    let heart = Heart::begin(&manager, &relay);
    loop {
        tokio::select! {
            _ = hang_up.recv() => drop(reload(&mut relay, path, &manager)),
            asked = relay.reload_asked() => asked.answer(reload(&mut relay, path, &manager)),
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    heart.end().await;
    manager.tell(&[State::Stopping, State::Status("draining: what is under way ends")]);
    let _waiting = manager.keep_waiting(relay.drain_within() + ENDING);
    tokio::select! {
        () = relay.drain() => return Ok(End::Drained),
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    // What was accepted is in the spool, and what was being delivered is tried again at the next start, as after a kill.
    tracing::warn!("drain.cut");
    Ok(End::Cut)
}

/// Opening a spool may take its time after a crash.
async fn started(config: Config, sockets: Sockets, manager: &Arc<Manager>) -> anyhow::Result<Relay> {
    manager.tell(&[State::Status("starting: the spool is opened")]);
    let waiting = manager.keep_waiting(RECOVERY);
    let started = Relay::start_with(config, sockets).await;
    drop(waiting);
    match &started {
        Ok(_) => manager.tell(&[State::Ready, State::Status("taking mail")]),
        Err(fault) => manager.tell(&[State::Status(&format!("cannot start: {fault}"))]),
    }
    Ok(started?)
}

/// The heartbeat, while the relay runs.
struct Heart {
    over: CancellationToken,
    beating: Option<JoinHandle<()>>,
}

impl Heart {
    fn begin(manager: &Arc<Manager>, relay: &Relay) -> Self {
        let over = CancellationToken::new();
        let beating = manager.is_there().then(|| tokio::spawn(heart::beat(manager.clone(), relay.pulse(), over.clone())));
        Self { over, beating }
    }

    async fn end(self) {
        self.over.cancel();
        if let Some(beating) = self.beating {
            let _ = beating.await;
        }
    }
}

/// Gives the faults that it logged.
fn reload(relay: &mut Relay, path: &Path, manager: &Manager) -> Result<(), Vec<String>> {
    manager.tell(&[State::Reloading(monotonic())]);
    let reloaded = Config::load(path).map_err(|faults| faults.to_string()).and_then(|config| relay.reload(config).map_err(|fault| fault.to_string()));
    let faults: Vec<String> = reloaded.err().iter().flat_map(|faults| faults.lines()).map(str::to_owned).collect();
    relay.count_reload(faults.is_empty());
    for error in &faults {
        tracing::error!(error, "config.rejected");
    }
    manager.tell(&[State::Ready]);
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

/// The service manager waits for a spool that is recovered no longer than this: whoever starts one with millions of large bodies sees it move.
const RECOVERY: Duration = Duration::from_mins(15);
/// What a drain may need beyond `server.drain`: endings are written, connections say goodbye, the spool closes.
const ENDING: Duration = Duration::from_secs(30);
