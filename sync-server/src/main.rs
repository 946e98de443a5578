//! `hearth-sync-server`: reads the settings, opens the sockets, and lets the library do the rest.

mod cli;

use std::process::ExitCode;

use clap::Parser;
use cli::{Cli, Failure};

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli
        .config()
        .map_err(Failure::from)
        .and_then(|config| match &cli.command {
            None => cli::serve(config),
            Some(command) => cli::operate(&config, command),
        }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("hearth-sync-server: {failure}");
            ExitCode::FAILURE
        }
    }
}
