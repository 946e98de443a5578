//! The `hearth` command: a thin face of the engine. Answers go to standard output, everything else to standard error.

mod args;
mod commands;
mod connect;
mod failure;
mod output;
mod secret;
mod text;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::args::Cli;
use crate::output::Output;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let output = Output::new(cli.global.json);
    start_logging(cli.global.verbose);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return output.fail(&error.into()),
    };
    let result = runtime.block_on(commands::run(cli, &output));
    // A thread may still wait for a line of standard input; nothing is lost with it.
    runtime.shutdown_timeout(Duration::from_millis(50));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => output.fail(&failure),
    }
}

/// Logs go to standard error and never hold what a person or the model says.
fn start_logging(verbose: u8) {
    let level = ["error", "info", "debug"][usize::from(verbose.min(2))];
    let filter = EnvFilter::try_from_env("HEARTH_LOG").unwrap_or_else(|_| {
        EnvFilter::new(format!(
            "warn,hearth={level},hearth_api={level},hearth_core={level},hearth_inference={level}"
        ))
    });
    let filter = if verbose == 0 && std::env::var_os("HEARTH_LOG").is_none() {
        EnvFilter::new("error")
    } else {
        filter
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
}
