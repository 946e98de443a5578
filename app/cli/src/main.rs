//! The `hearth` command: a thin face of the engine. Answers go to standard output, everything else to standard error.

mod args;
mod commands;
mod connect;
mod failure;
mod output;
mod panics;
mod secret;
mod text;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::args::Cli;
use crate::failure::Failure;
use crate::output::Output;

fn main() -> ExitCode {
    panics::tell(|line| eprintln!("{line}"));
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
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

/// Says what is wrong with what was typed, in JSON where that was asked for; or shows the help.
fn refuse(error: &clap::Error) -> ExitCode {
    let json = std::env::args_os().any(|argument| argument == "--json");
    if !json || !error.use_stderr() {
        error.exit();
    }
    let text = error.render().to_string();
    let message = text.lines().next().unwrap_or_default();
    let failure = Failure::usage(message.trim_start_matches("error: ")).hint("see hearth --help");
    Output::new(true).fail(&failure)
}

/// Logs go to standard error and never hold what a person or the model says.
fn start_logging(verbose: u8) {
    let level = ["error", "info", "debug"][usize::from(verbose.min(2))];
    let filter = match std::env::var("HEARTH_LOG") {
        Ok(text) => EnvFilter::try_new(&text).unwrap_or_else(|error| {
            eprintln!("hearth: HEARTH_LOG is not understood and goes unheeded: {error}");
            EnvFilter::new("error")
        }),
        Err(_) if verbose == 0 => EnvFilter::new("error"),
        Err(_) => EnvFilter::new(format!(
            "warn,hearth={level},hearth_api={level},hearth_core={level},hearth_inference={level}"
        )),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
}
