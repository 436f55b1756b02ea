//! `postseal completions` and `postseal man`: what a shell and `man` know of the command line, made of the command line itself.

use crate::clock;
use crate::mail::Timestamp;
use anyhow::Context;
use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What was typed behind `completions`.
#[derive(clap::Args, Debug)]
pub struct CompletionsArgs {
    /// The shell to print them for
    #[arg(value_enum)]
    shell: Shell,
}

/// What was typed behind `man`.
#[derive(clap::Args, Debug)]
pub struct ManArgs {
    /// The folder to write the pages of all commands to; without it the first page is printed
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
}

pub fn completions(args: &CompletionsArgs) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::Args::command(), NAME, &mut script);
    printed(&script)
}

pub fn man(args: &ManArgs) -> anyhow::Result<ExitCode> {
    let Some(directory) = &args.directory else {
        return printed(page_of(root())?.1.as_bytes());
    };
    let unwritten = || format!("the pages cannot be written to \"{}\"; name a folder that you may write to", directory.display());
    std::fs::create_dir_all(directory).with_context(unwritten)?;
    write_pages(root(), directory).with_context(unwritten)?;
    Ok(ExitCode::SUCCESS)
}

/// As pages need it: every command knows its whole name.
fn root() -> Command {
    let mut root = super::Args::command().disable_help_subcommand(true);
    root.build();
    root
}

fn write_pages(command: Command, directory: &Path) -> std::io::Result<()> {
    for command in command.get_subcommands().filter(|command| !command.is_hide_set()).cloned() {
        write_pages(command, directory)?;
    }
    let (name, page) = page_of(command)?;
    std::fs::write(directory.join(name), page)
}

/// The name of its file, and the page, with the day it is made on, which mandoc and groff want to see: today, or that of a build that can be repeated
/// (<https://reproducible-builds.org/specs/source-date-epoch/>).
fn page_of(command: Command) -> std::io::Result<(String, String)> {
    let chosen = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|seconds| seconds.parse().ok());
    let day = chosen.map_or_else(clock::now, Timestamp::from_unix_seconds).to_rfc3339();
    let version = concat!("postseal ", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command).date(day.split('T').next().unwrap_or_default()).source(version);
    let mut page = Vec::new();
    man.render(&mut page)?;
    Ok((man.get_filename(), plain(&String::from_utf8_lossy(&page))))
}

/// In ASCII, as every roff reads it, and without the line breaks around empty lines that mandoc objects to.
fn plain(page: &str) -> String {
    let escaped = |c: char| if c.is_ascii() { c.to_string() } else { format!("\\[u{:04X}]", u32::from(c)) };
    page.replace("\n.br\n\n.br\n", "\n.sp\n").chars().map(escaped).collect()
}

/// A reader that has enough, as `head`, is no fault.
fn printed(octets: &[u8]) -> anyhow::Result<ExitCode> {
    match std::io::stdout().write_all(octets) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}

const NAME: &str = "postseal";
