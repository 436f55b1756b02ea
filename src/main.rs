//! Arguments in, exit code out.

fn main() -> std::process::ExitCode {
    postseal::cli::run()
}
