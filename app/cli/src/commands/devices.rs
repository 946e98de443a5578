//! `hearth devices`: letting devices in, and shutting them out.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use hearth_api::methods::Empty;
use hearth_api::methods::sync::{
    AnswerPairing, Approve, ApproveParams, GetSyncStatus, ListDevices, Pair, RenameDevice,
    RenameDeviceParams, RevokeDevice, RevokeDeviceParams, RotateKeys,
};
use hearth_api::types::{DeviceInfo, PairAnswer, PairEvent, PairParams};
use hearth_api::{Call, Client, ErrorCode, Method, Update};
use hearth_core::qr::Qr;
use tokio::task::JoinHandle;

use super::sync::say_state;
use super::{confirm, with_session};
use crate::args::Devices as Args;
use crate::connect::{Profile, Want};
use crate::failure::Failure;
use crate::output::Output;
use crate::text;

/// The side of a module in an image, pixels.
const PIXELS: usize = 8;

pub(super) async fn run(profile: &Profile, args: Args, output: &Output) -> Result<(), Failure> {
    let want = if matches!(args, Args::Pair { .. } | Args::Approve { .. }) {
        Want::Lasting
    } else {
        Want::Brief
    };
    with_session(profile, want, output, async |session| {
        obey(&session.client, args, output).await
    })
    .await
}

async fn obey(client: &Client, args: Args, output: &Output) -> Result<(), Failure> {
    match args {
        Args::List => {
            let listed = client.call::<ListDevices>(Empty {}).await?;
            if output.json {
                return output.value(&listed);
            }
            let met = client.call::<GetSyncStatus>(Empty {}).await?.met;
            list(&listed.devices, &met, output)
        }
        Args::Pair { server, name, image } => {
            let params = PairParams { server, name };
            let image = image.map(Image::new).transpose()?;
            let status = follow(client, client.stream::<Pair>(params), image, output).await?;
            if output.json {
                return output.value(&status);
            }
            output.line("This device is let in.")?;
            say_state(&status, output)
        }
        Args::Approve { code } => {
            let code = match code {
                Some(code) => code,
                None => ask_line(output, "The code that the new device shows: ").await?,
            };
            output.aside("Waiting for the device that shows this code. Ctrl-C ends it.");
            let params = ApproveParams { code };
            let device = follow(client, client.stream::<Approve>(params), None, output).await?;
            if output.json {
                return output.value(&device);
            }
            output.line(&format!("Let in: {}.", short(&device)))
        }
        Args::Revoke { device, lost, yes } => {
            confirm(
                output,
                yes,
                "Shut this device out for good? What it has already stays on it.",
            )?;
            let status = client
                .call::<RevokeDevice>(RevokeDeviceParams { device, lost })
                .await?;
            if output.json {
                return output.value(&status);
            }
            output.line("It is shut out, and the keys are being changed.")?;
            list(&status.devices, &status.met, output)
        }
        Args::Rename { device, name } => {
            let status = client
                .call::<RenameDevice>(RenameDeviceParams { device, name })
                .await?;
            if output.json {
                return output.value(&status);
            }
            list(&status.devices, &status.met, output)
        }
        Args::Rotate => {
            let status = client.call::<RotateKeys>(Empty {}).await?;
            if output.json {
                return output.value(&status);
            }
            output.line(&format!("The keys are changed: epoch {}.", status.epoch))
        }
    }
}

/// Runs a pairing: shows what is to be shown, and asks what is to be asked. Answers are lines of standard input.
async fn follow<M: Method<Event = PairEvent>>(
    client: &Client,
    mut call: Call<M>,
    image: Option<Image>,
    output: &Output,
) -> Result<M::Output, Failure> {
    let mut asking: Option<(bool, JoinHandle<Result<String, Failure>>)> = None;
    let mut digits = None;
    loop {
        let update = tokio::select! {
            update = call.next() => update,
            line = async {
                match asking.as_mut() {
                    Some((_, line)) => line.await,
                    None => std::future::pending().await,
                }
            } => {
                let code = asking.take().is_some_and(|(code, _)| code);
                let line = line.map_err(|_| Failure::Interrupted)??;
                let answer = if code {
                    PairAnswer { code: Some(line), ..PairAnswer::default() }
                } else {
                    // "The digits differ" is an alarm: only a clear word gives it.
                    let same = match line.trim().to_lowercase().as_str() {
                        "y" | "yes" => true,
                        "n" | "no" => false,
                        _ => {
                            output.note("Type y if both devices show the same six digits, n if they differ.");
                            asking = Some((false, read_line()));
                            continue;
                        }
                    };
                    PairAnswer { same: Some(same), digits: digits.clone(), ..PairAnswer::default() }
                };
                client.call::<AnswerPairing>(answer).await?;
                continue;
            }
        };
        match update {
            Some(Update::Event(event)) => {
                if output.json {
                    output.value(&event)?;
                }
                if let (PairEvent::Code { scan, .. }, Some(image)) = (&event, &image) {
                    image.draw(scan)?;
                    output.note(&format!(
                        "The QR code is in {}, until this ends.",
                        image.path.display()
                    ));
                }
                if let PairEvent::Compare { digits: shown } = &event {
                    digits = Some(shown.clone());
                }
                if let Some(code) = show(&event, M::NAME == Approve::NAME, output)? {
                    asking = Some((code, read_line()));
                }
            }
            Some(Update::Done(done)) => return Ok(done?),
            None => return Err(Failure::Interrupted),
        }
    }
}

/// A file with the QR code, there as long as this value.
struct Image {
    path: PathBuf,
    file: File,
}

impl Image {
    /// Makes an empty file that was not there before and that nobody else may read: who sees the code could come first.
    fn new(path: PathBuf) -> Result<Self, Failure> {
        if !is(&path, "png") && !is(&path, "svg") {
            return Err(Failure::usage("The image is a PNG or an SVG file.")
                .hint("Name it so: --image code.png, or --image code.svg."));
        }
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options
            .open(&path)
            .map_err(|error| Failure::file(&path, &error))?;
        Ok(Self { path, file })
    }

    fn draw(&self, text: &str) -> Result<(), Failure> {
        let drawn = Qr::new(text).map_err(|error| Failure::new(ErrorCode::Internal, error.to_string()))?;
        let bytes = if is(&self.path, "png") {
            drawn.png(PIXELS)
        } else {
            drawn.svg().into_bytes()
        };
        let written = (&self.file).write_all(&bytes);
        written.map_err(|error| Failure::file(&self.path, &error))
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn is(path: &Path, ending: &str) -> bool {
    path.extension()
        .is_some_and(|found| found.eq_ignore_ascii_case(ending))
}

/// Shows an event; says whether something is to be asked: a code (true), or yes or no (false).
fn show(event: &PairEvent, approving: bool, output: &Output) -> Result<Option<bool>, Failure> {
    let quiet = output.json;
    match event {
        PairEvent::Code { typed, qr, .. } => {
            if !quiet {
                output.line(qr.trim_end_matches('\n'))?;
                output.line(&format!(
                    "On a device that you have:  hearth devices approve {typed}"
                ))?;
                output.aside("It is valid for ten minutes.");
            }
            Ok(None)
        }
        PairEvent::Compare { digits } => {
            if !quiet {
                output.line(&format!("{}  {}", &digits[..3], &digits[3..]))?;
                output.note("Does the other device show the same six digits? [y/n]");
            }
            Ok(Some(false))
        }
        PairEvent::TryFailed { left } if approving => {
            if !quiet {
                output.note(&format!(
                    "That code is wrong. Type it again; {} left:",
                    text::counted(*left, "try")
                ));
            }
            Ok(Some(true))
        }
        PairEvent::TryFailed { left: 0 } => {
            output.aside(
                "The code to type was typed wrong too often and is used up. Scan the QR code, or end this with Ctrl-C and show a \
                 new one.",
            );
            Ok(None)
        }
        PairEvent::TryFailed { .. } => {
            output.aside("A wrong code was typed; this one goes on being valid.");
            Ok(None)
        }
        PairEvent::Waiting => {
            output.aside("Waiting for the other device.");
            Ok(None)
        }
    }
}

fn read_line() -> JoinHandle<Result<String, Failure>> {
    tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        if std::io::stdin().read_line(&mut line)? == 0 {
            return Err(Failure::usage(
                "Standard input ended before the question was answered.",
            ));
        }
        Ok(line.trim().to_owned())
    })
}

async fn ask_line(output: &Output, question: &str) -> Result<String, Failure> {
    output.note(question);
    read_line().await.map_err(|_| Failure::Interrupted)?
}

fn short(device: &DeviceInfo) -> String {
    let id = &device.device[..8.min(device.device.len())];
    if device.name.is_empty() {
        id.to_owned()
    } else {
        format!("{id} ({})", text::one_line(&device.name, 60))
    }
}

fn list(devices: &[DeviceInfo], met: &[String], output: &Output) -> Result<(), Failure> {
    let now = text::now_ms();
    let rows: Vec<Vec<String>> = devices
        .iter()
        .map(|device| {
            let seen = match (device.this, device.last_seen_ms) {
                (true, _) => "this device".to_owned(),
                _ if met.contains(&device.device) => "now, on the local network".to_owned(),
                (_, Some(at)) => text::ago(at, now),
                (_, None) => "not yet".to_owned(),
            };
            let standing = if device.revoked { "shut out" } else { "" };
            vec![
                device.device[..8.min(device.device.len())].to_owned(),
                text::one_line(&device.name, 30),
                seen,
                standing.to_owned(),
            ]
        })
        .collect();
    for line in text::table(&["id", "name", "last seen", ""], &rows, output.table_width()) {
        output.line(&line)?;
    }
    Ok(())
}
