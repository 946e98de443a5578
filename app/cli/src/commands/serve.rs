//! `hearth serve`: the OpenAI-compatible HTTP API.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use hearth_api::ErrorCode;
use hearth_api::http::{AllowedHosts, Connect, HttpLimits, HttpOptions, read_or_create_token, serve_http};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::engine::asked_to_end;
use crate::args::Serve;
use crate::connect::{Profile, Session, Want};
use crate::failure::{Failure, plain};
use crate::output::Output;

/// H-E-A-R on a telephone's keys.
const DEFAULT_PORT: u16 = 4327;

pub(super) async fn run(profile: &Profile, args: Serve, output: &Output) -> Result<(), Failure> {
    let address = args
        .listen
        .unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT)));
    let remote = !address.ip().is_loopback();
    if remote && !args.allow_remote {
        let message = format!("{} can be reached from other machines.", address.ip());
        return Err(
            Failure::usage(message).hint("Add --allow-remote if that is meant. The traffic isn't encrypted.")
        );
    }
    let session = profile.connect(Want::Lasting, output).await?;
    let (token, token_file) = read_or_create_token(&profile.home)
        .map_err(|error| Failure::file(&profile.home.join("http-token"), &error))?;
    let listener = TcpListener::bind(address).await.map_err(|error| {
        let message = format!("{address} can't be listened on: {}.", plain(&error));
        Failure::new(ErrorCode::Io, message).hint("Choose another port with --listen ADDRESS:PORT.")
    })?;
    let address = listener.local_addr()?;
    let hosts = if args.allow_remote {
        AllowedHosts::remote(args.host)
    } else {
        AllowedHosts::loopback()
    };
    announce(address, remote, &token_file, output)?;
    let stop = CancellationToken::new();
    let options = HttpOptions {
        token,
        hosts,
        limits: HttpLimits::default(),
    };
    let mut serving = tokio::spawn(serve_http(listener, connector(&session), options, stop.clone()));
    let served = tokio::select! {
        served = &mut serving => served,
        () = asked_to_end() => {
            stop.cancel();
            serving.await
        }
    };
    session.close().await;
    served.map_err(|_| Failure::new(ErrorCode::Internal, "The HTTP server failed."))
}

fn announce(
    address: SocketAddr,
    remote: bool,
    token_file: &std::path::Path,
    output: &Output,
) -> Result<(), Failure> {
    let base_url = format!("http://{address}/v1");
    if output.json {
        return output.value(
            &json!({"listening": address.to_string(), "base_url": base_url, "token_file": token_file}),
        );
    }
    output.note(&format!("Serving {base_url}"));
    output.note(&format!("The API key is in {}", token_file.display()));
    if remote {
        output.note("Other machines can reach this address. The traffic, the key included, isn't encrypted.");
    }
    output.note("Ctrl-C stops.");
    Ok(())
}

/// The first connection is the one that was just made; later ones find or start the engine again.
fn connector(session: &Session) -> Connect {
    let (profile, first) = (session.profile.clone(), Mutex::new(Some(session.client.clone())));
    Arc::new(move || {
        let ready = first.lock().ok().and_then(|mut first| first.take());
        let profile = profile.clone();
        Box::pin(async move {
            match ready {
                Some(client) => Ok(client),
                None => profile.connect_again().await,
            }
        })
    })
}
