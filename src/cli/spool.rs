//! `postseal spool …`: backup, restore, check, release. They work on the files themselves, beside a running relay where that is safe.

use super::ConfigFile;
use super::remote::Place;
use crate::clock;
use crate::config::Config;
use crate::spool::sqlite::backup;
use crate::spool::{Restored as _, Spool as _, SpoolError, SqliteSpool};
use anyhow::Context as _;
use clap::Subcommand;
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;

/// What was typed.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Copy the spool, of a running relay or one that stands still, into a new or empty directory
    Backup {
        /// Where the copy goes; on the spool's own file system large bodies cost no room, on another disk they survive this one
        directory: PathBuf,
        #[command(flatten)]
        file: ConfigFile,
    },
    /// Make a backup the spool of a relay that stands still; its mail is held until `postseal spool release`
    Restore {
        /// The backup
        directory: PathBuf,
        /// Take it though something in it is damaged; damaged mail is set aside, not sent
        #[arg(long)]
        damaged: bool,
        #[command(flatten)]
        file: ConfigFile,
    },
    /// Read every row and body of a spool or a backup and compare it with its checksum
    ///
    /// Exit code 0: all is sound; 1: something is damaged, or cannot be read.
    Check {
        /// The spool or backup; absent: the spool of the configuration
        directory: Option<PathBuf>,
        #[command(flatten)]
        file: ConfigFile,
    },
    /// Let restored mail go, of a relay that runs or stands still
    Release(Place),
}

pub fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Backup { directory, file } => {
            let config = Config::load(&file.config)?;
            let made = backup::backup(&config.spool.directory, &directory, clock::now())?;
            println!("{}: {} mails for {} recipients, {} bodies, whole and checked", directory.display(), made.mails, made.recipients, made.bodies);
            made.damaged.iter().for_each(|damage| println!("damaged in the spool already: {damage}"));
            Ok(ExitCode::SUCCESS)
        }
        Command::Restore { directory, damaged, file } => {
            let config = Config::load(&file.config)?;
            let spool = &config.spool;
            let held = backup::restore(&directory, &spool.directory, spool.file_systems, damaged, clock::now())?;
            println!("{}: restored; mail for {held} recipients is held", spool.directory.display());
            println!("New mail will flow. What was sent after the backup would be sent again: see to it, then `postseal spool release`.");
            Ok(ExitCode::SUCCESS)
        }
        Command::Check { directory, file } => {
            let directory = match directory {
                Some(directory) => directory,
                None => Config::load(&file.config)?.spool.directory,
            };
            let checked = backup::check(&directory)?;
            println!(
                "{}: {} mails for {} recipients, {} bodies, {} set aside before",
                directory.display(),
                checked.mails,
                checked.recipients,
                checked.bodies,
                checked.quarantined
            );
            checked.damaged.iter().for_each(|damage| println!("damaged: {damage}"));
            Ok(if checked.damaged.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Release(place) => release(&place),
    }
}

fn release(place: &Place) -> anyhow::Result<ExitCode> {
    let released = match at_rest(place)? {
        Some(released) => released,
        None => place.find()?.post("/api/v1/spool/release", &json!({}))?["recipients"].as_u64().unwrap_or(0),
    };
    match released {
        0 => println!("nothing was held"),
        recipients => println!("mail for {recipients} recipients is due; a relay that runs looks at it within a minute"),
    }
    Ok(ExitCode::SUCCESS)
}

/// `None` where a relay has the spool, or is elsewhere.
fn at_rest(place: &Place) -> anyhow::Result<Option<u64>> {
    if place.url.is_some() {
        return Ok(None);
    }
    let config = Config::load(&place.config)?;
    if !config.spool.directory.join("spool.db").is_file() {
        anyhow::bail!("there is no spool in \"{}\"", config.spool.directory.display());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("the runtime cannot be started")?;
    let released = runtime.block_on(async {
        let (spool, _) = SqliteSpool::open(config.spool.clone(), clock::now())?;
        let released = spool.release_restored(clock::now()).await;
        spool.close().await;
        released
    });
    match released {
        Ok(released) => Ok(Some(released)),
        Err(SpoolError::Locked(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
