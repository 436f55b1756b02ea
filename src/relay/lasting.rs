//! What becomes of mail where no disk outlives the relay: it goes through, or to the upstream at the end.

use super::{StartFault, millis};
use crate::clock;
use crate::config::Config;
use crate::deliver::handover;
use crate::deliver::passage::Passage;
use crate::deliver::through::{self, Through};
use crate::deliver::tls::ClientTls;
use crate::dns::Resolver;
use crate::events::meters::Deliver;
use crate::spool::sqlite::FileSystems;
use crate::spool::{HeldSince, RecoveryReport, Restored, Settings, SpoolError, SqliteSpool};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// A relay's ways beside its queue.
pub struct Lasting {
    /// `through` mode, and who looks for its next hop.
    pub through: Option<Arc<Through>>,
    watching: Option<JoinHandle<()>>,
    /// For the end.
    passage: Arc<Passage>,
    spool: Arc<SqliteSpool>,
    /// Keeps what a relay without a queue has to write somewhere.
    _scratch: Option<Scratch>,
}

impl Lasting {
    /// What `config` says. Looks for the next hop from now on.
    pub fn begin(
        config: &Config,
        resolver: &Arc<Resolver>,
        tls: &ClientTls,
        meters: &Arc<Deliver>,
        spool: &Arc<SqliteSpool>,
        scratch: Option<Scratch>,
    ) -> Self {
        let passage = || Passage::new(resolver.clone(), config.deliver.clone(), tls.clone(), Arc::new(clock::now), meters.clone());
        let through = config.through.clone().map(|settings| Arc::new(Through::new(settings, passage())));
        let watching = through.as_ref().map(through::watched);
        Self { through, watching, passage: Arc::new(passage()), spool: spool.clone(), _scratch: scratch }
    }

    /// New settings for everything begun from now on.
    pub fn reload(&self, config: &Config, tls: &ClientTls) {
        self.passage.reload(config.deliver.clone(), tls.clone());
        if let Some(through) = &self.through {
            through.passage().reload(config.deliver.clone(), tls.clone());
        }
    }

    /// Waits for the answers of next hops that clients wait for, no longer than that.
    pub async fn drain(&self, within: Duration) {
        if let Some(watching) = &self.watching {
            watching.abort();
        }
        if let Some(through) = &self.through {
            through.drain(within).await;
        }
    }

    /// Hands what waits to the upstream, where there is one; and says what is lost with the disk. Nobody else may work on the spool any more.
    pub async fn hand_over(&self, config: &Config) {
        let Some(upstream) = &config.server.upstream else { return };
        let began_at = clock::now();
        let handed_over = match handover::hand_over(&self.spool, &self.passage, upstream, config.server.handover).await {
            Ok(handed_over) => handed_over,
            Err(error) => return tracing::error!(during = "hand_over", %error, "spool.refused"),
        };
        let (recipients, left, took_ms) = (handed_over.recipients, handed_over.left, millis(clock::now().since(began_at)));
        if left == 0 {
            tracing::info!(route = %upstream, recipients, left, took_ms, "queue.handed_over");
        } else if self.spool.is_volatile() {
            eprintln!("postseal: {left} recipients of queued mail could not be handed to \"{upstream}\" in time and are lost with this disk");
            tracing::error!(route = %upstream, recipients, left, took_ms, "queue.handed_over");
        } else {
            eprintln!("postseal: {left} recipients of queued mail could not be handed to \"{upstream}\" in time and stay in the spool");
            tracing::warn!(route = %upstream, recipients, left, took_ms, "queue.handed_over");
        }
    }
}

/// Says that restored mail waits for a person: at each start, and as often as the spool is swept.
pub fn report_held(held: &HeldSince) {
    tracing::warn!(recipients = held.recipients, since = %held.at.to_rfc3339(), "spool.held");
}

/// Says it again, if it is so.
pub async fn look_at_held(spool: &SqliteSpool) {
    if let Ok(Some(held)) = spool.restored().await {
        report_held(&held);
    }
}

/// A directory that goes with the relay.
pub struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays is swept with the pod; no mail was in it.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A spool opened.
pub type Opened = (Arc<SqliteSpool>, RecoveryReport, Option<Scratch>);

/// Opens the spool. In `through` mode no mail comes into it, so it may lie anywhere: where its directory cannot be written (a read-only root), in
/// one that goes with the relay. What an earlier queue left there is still delivered from it.
///
/// # Errors
/// The spool cannot be had.
pub fn open_spool(config: &Config) -> Result<Opened, StartFault> {
    let told = |error: SpoolError| StartFault(vec![error.to_string()]);
    let opened = |(spool, report), scratch| (Arc::new(spool), report, scratch);
    if config.through.is_none() {
        return SqliteSpool::open(config.spool.clone(), clock::now()).map(|spool| opened(spool, None)).map_err(told);
    }
    let file_systems = if config.spool.file_systems == FileSystems::Any { FileSystems::Any } else { FileSystems::Volatile };
    let settings = Settings { file_systems, reserve_octets: 0, ..config.spool.clone() };
    let quiet = |(spool, report)| (spool, RecoveryReport { warnings: Vec::new(), ..report });
    match SqliteSpool::open(settings.clone(), clock::now()) {
        Ok(spool) => Ok(opened(quiet(spool), None)),
        Err(error @ SpoolError::Unusable { .. }) if !settings.directory.join("spool.db").exists() => {
            let places = [Path::new("/dev/shm").to_owned(), std::env::temp_dir()];
            let open = |place: &PathBuf| {
                let scratch = Scratch(place.join(format!("postseal-{}", std::process::id())));
                let settings = Settings { directory: scratch.0.clone(), ..settings.clone() };
                SqliteSpool::open(settings, clock::now()).ok().map(|spool| opened(quiet(spool), Some(scratch)))
            };
            places.iter().find_map(open).ok_or_else(|| told(error))
        }
        Err(error) => Err(told(error)),
    }
}
