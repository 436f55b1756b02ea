//! The heartbeat: felt at the parts of the relay that must not stand still, and told to the service manager only if all of them moved.
//!
//! | part | how it is felt |
//! |---|---|
//! | the runtime | this task runs, and its timers come |
//! | the spool | an empty piece of work goes through its writer |
//! | delivery | its dispatcher goes round once |
//!
//! A part that hangs, or a spool that has failed, is told to the log; nothing is told to the service manager then, and when its watchdog has
//! waited long enough it starts the relay anew, which is also what a failed spool needs. While the relay drains nobody is watched.

use super::notify::{Manager, State};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

/// Where the heartbeat is felt.
pub trait Pulse: Send + Sync + 'static {
    /// Returns once this part has moved.
    ///
    /// # Errors
    /// In words, why it never will.
    fn feel(&self, part: Part) -> impl Future<Output = Result<(), String>> + Send;

    /// How the relay is, in one line for people.
    fn status(&self) -> impl Future<Output = String> + Send;
}

/// A part that must not stand still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The spool's writer.
    Spool,
    /// Delivery's dispatcher.
    Delivery,
}

impl Part {
    const ALL: [Self; 2] = [Self::Spool, Self::Delivery];

    const fn name(self) -> &'static str {
        match self {
            Self::Spool => "spool",
            Self::Delivery => "delivery",
        }
    }
}

/// How often the heart beats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rhythm {
    /// From the end of a beat to the next.
    pub every: Duration,
    /// How long a beat may take.
    pub within: Duration,
}

impl Rhythm {
    /// A rest and a beat together take two thirds of what the watchdog allows, so that one late beat is forgiven.
    #[must_use]
    pub fn of(watchdog: Option<Duration>) -> Self {
        let third = watchdog.unwrap_or(UNWATCHED) / 3;
        Self { every: third.min(STATUS_AGE_MAX), within: third }
    }
}

/// Beats until `over`. A first beat comes at once.
pub async fn beat(manager: Arc<Manager>, pulse: impl Pulse, over: CancellationToken) {
    let rhythm = Rhythm::of(manager.watchdog());
    loop {
        tokio::select! {
            () = over.cancelled() => return,
            () = beat_once(&manager, &pulse, rhythm.within) => {}
        }
        tokio::select! {
            () = over.cancelled() => return,
            () = sleep(rhythm.every) => {}
        }
    }
}

async fn beat_once(manager: &Manager, pulse: &impl Pulse, within: Duration) {
    let until = Instant::now() + within;
    for part in Part::ALL {
        let felt = timeout_at(until, pulse.feel(part)).await;
        let missed = match felt {
            Ok(Ok(())) => continue,
            Ok(Err(why)) => why,
            Err(_) => "it did not move in time".to_owned(),
        };
        let within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        tracing::error!(during = part.name(), within_ms, error = missed, "heartbeat.missed");
        return manager.tell(&[State::Status(&format!("the {} stands still: {missed}", part.name()))]);
    }
    let status = timeout_at(until, pulse.status()).await.unwrap_or_default();
    manager.tell(&[State::Alive, State::Status(&status)]);
}

/// Where nobody watches, the beat is for the status alone.
const UNWATCHED: Duration = Duration::from_mins(1);
/// A status is not older.
const STATUS_AGE_MAX: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;
    use std::sync::Mutex;

    /// What each part does, from beat to beat.
    #[derive(Clone, Default)]
    struct Patient(Arc<Mutex<Option<Illness>>>);

    /// Where, and what it says; one that says nothing hangs.
    type Illness = (Part, Option<&'static str>);

    impl Pulse for Patient {
        async fn feel(&self, part: Part) -> Result<(), String> {
            let ill = *self.0.lock().unwrap();
            match ill {
                Some((place, None)) if place == part => std::future::pending().await,
                Some((place, Some(why))) if place == part => Err(why.to_owned()),
                _ => Ok(()),
            }
        }

        async fn status(&self) -> String {
            "well".to_owned()
        }
    }

    /// What is told within a minute, beat by beat, under a watchdog of 30 seconds.
    async fn told(patient: &Patient) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        let variable = |key: &str| match key {
            "NOTIFY_SOCKET" => Some(path.clone().into_os_string()),
            "WATCHDOG_USEC" => Some("30000000".into()),
            _ => None,
        };
        let manager = Arc::new(Manager::of(variable, 1).unwrap());
        let over = CancellationToken::new();
        let beating = tokio::spawn(beat(manager, patient.clone(), over.clone()));
        sleep(Duration::from_secs(59)).await;
        over.cancel();
        beating.await.unwrap();
        let mut heard = Vec::new();
        let mut octets = [0; 512];
        while let Ok(length) = socket.recv(&mut octets) {
            heard.push(String::from_utf8_lossy(&octets[..length]).into_owned());
        }
        heard
    }

    #[tokio::test(start_paused = true)]
    async fn a_heart_that_is_well_beats_more_often_than_the_watchdog_asks() {
        let heard = told(&Patient::default()).await;
        assert_eq!(heard, vec!["WATCHDOG=1\nSTATUS=well\n"; 6], "every ten seconds of a minute");
    }

    #[tokio::test(start_paused = true)]
    async fn one_part_that_hangs_or_has_failed_keeps_the_watchdog_unfed() {
        for part in Part::ALL {
            for why in [None, Some("no space left")] {
                let patient = Patient::default();
                *patient.0.lock().unwrap() = Some((part, why));
                let heard = told(&patient).await;
                assert!(
                    heard.len() >= 3 && heard.iter().all(|text| text.contains("stands still") && !text.contains("WATCHDOG")),
                    "{part:?} {why:?}: {heard:?}"
                );
            }
        }
    }

    #[test]
    fn a_rest_and_a_beat_are_shorter_than_the_watchdog() {
        for seconds in [1, 10, 30, 60, 3600] {
            let watchdog = Duration::from_secs(seconds);
            let Rhythm { every, within } = Rhythm::of(Some(watchdog));
            assert!(every + within < watchdog && every <= STATUS_AGE_MAX, "{seconds}");
        }
    }
}
