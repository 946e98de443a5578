//! `hearth engine`: the process that owns the profile, in the foreground or for another command.

use std::io::{self, Read, Write};
use std::time::Duration;

use hearth_api::methods::{Empty, engine::Shutdown};
use hearth_api::{Client, ErrorCode, ServeOptions, serve_local};
use serde_json::json;
use zeroize::Zeroizing;

use crate::args::{Engine as Args, EngineAction};
use crate::connect::{Profile, Started};
use crate::failure::Failure;
use crate::output::Output;
use crate::secret::Passphrase;

const STOP_PATIENCE: Duration = Duration::from_secs(10);
const STOP_POLL: Duration = Duration::from_millis(20);

pub(super) async fn run(profile: Profile, args: Args, output: &Output) -> Result<(), Failure> {
    let idle_exit = args.idle_exit.map(Duration::from_secs);
    match args.action {
        Some(EngineAction::Stop) => stop(&profile, output).await,
        None if args.spawned => spawned(profile, idle_exit).await,
        None => foreground(&profile, idle_exit, output).await,
    }
}

async fn foreground(profile: &Profile, idle_exit: Option<Duration>, output: &Output) -> Result<(), Failure> {
    let engine = profile.open_asking(output).await?;
    let ready = || {
        let home = profile.home.display();
        if output.json {
            let _ = output.value(&json!({"ready": true, "pid": std::process::id(), "home": profile.home}));
        } else {
            output.note(&format!(
                "The engine of {home} is running. Ctrl-C or `hearth engine stop` ends it."
            ));
        }
    };
    serve(engine, idle_exit, ready).await
}

/// The engine that another command started: it says once whether others can attach.
async fn spawned(profile: Profile, idle_exit: Option<Duration>) -> Result<(), Failure> {
    leave_terminal();
    let profile = profile.with_passphrase(read_passphrase()?);
    let engine = match profile.open().await {
        Ok(engine) => engine,
        Err(Failure::Api(error)) => {
            say(&Started::Failed((*error).clone()));
            return Err(Failure::Api(error));
        }
        Err(other) => return Err(other),
    };
    serve(engine, idle_exit, || say(&Started::Ready)).await
}

async fn serve(
    engine: hearth_core::Engine,
    idle_exit: Option<Duration>,
    ready: impl FnOnce() + Send,
) -> Result<(), Failure> {
    let options = ServeOptions {
        idle_exit,
        ..ServeOptions::default()
    };
    let mut serving = std::pin::pin!(serve_local(engine.clone(), options, ready));
    let served = tokio::select! {
        served = &mut serving => served,
        () = asked_to_end() => {
            // Answers being written reach their clients, and the socket is removed.
            engine.request_stop();
            serving.await
        }
    };
    engine.stop().await;
    Ok(served?)
}

async fn stop(profile: &Profile, output: &Output) -> Result<(), Failure> {
    let running = Client::attach(&profile.home).await;
    let was_running = running.is_some();
    if let Some(client) = running {
        match client.call::<Shutdown>(Empty {}).await {
            Ok(_) => {}
            // It may be gone before its answer arrives.
            Err(error) if error.code == ErrorCode::Disconnected => {}
            Err(error) => return Err(error.into()),
        }
        drop(client);
        // Its socket goes first; until the profile is closed no other engine can open it.
        let gone = async {
            while Client::attach(&profile.home).await.is_some()
                || hearth_core::Engine::has_open(&profile.home)
            {
                tokio::time::sleep(STOP_POLL).await;
            }
        };
        if tokio::time::timeout(STOP_PATIENCE, gone).await.is_err() {
            return Err(Failure::new(
                ErrorCode::Busy,
                "The engine was asked to stop and is still running.",
            ));
        }
    }
    if output.json {
        return output.value(&json!({"was_running": was_running}));
    }
    output.line(if was_running {
        "The engine has stopped."
    } else {
        "No engine is running."
    })
}

/// Waits for Ctrl-C or the system's request to end.
pub(super) async fn asked_to_end() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}

/// A background engine must outlive the terminal and not hear its Ctrl-C.
fn leave_terminal() {
    #[cfg(unix)]
    let _ = rustix::process::setsid();
}

fn read_passphrase() -> Result<Option<Passphrase>, Failure> {
    let mut text = Zeroizing::new(String::new());
    io::stdin().lock().read_to_string(&mut text)?;
    Ok((!text.is_empty()).then_some(text))
}

fn say(started: &Started) {
    if let Ok(line) = serde_json::to_string(started) {
        let mut stdout = io::stdout().lock();
        let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
    }
}
