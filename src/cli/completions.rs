//! `postseal completions` and `postseal man`: what a shell and `man` know of the command line, made of the command line itself.

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;
use std::io::Write as _;
use std::path::PathBuf;
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
        let mut page = Vec::new();
        Man::new(super::Args::command()).render(&mut page)?;
        return printed(&page);
    };
    let unwritten = || format!("the pages cannot be written to \"{}\"; name a folder that you may write to", directory.display());
    std::fs::create_dir_all(directory).with_context(unwritten)?;
    clap_mangen::generate_to(super::Args::command(), directory).with_context(unwritten)?;
    Ok(ExitCode::SUCCESS)
}

/// A reader that has enough, as `head`, is no fault.
fn printed(octets: &[u8]) -> anyhow::Result<ExitCode> {
    match std::io::stdout().write_all(octets) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}

const NAME: &str = "postseal";
