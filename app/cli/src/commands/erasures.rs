//! `hearth erase`, `hearth erasures`, `hearth certificate`: gone on every device, with proof of what was said.

use std::path::Path;

use hearth_api::methods::Empty;
use hearth_api::methods::sync::{
    CertificateParams, EraseEverywhere, EraseEverywhereParams, GetSyncStatus, ListErasures, RotateKeys,
    WriteCertificate,
};
use hearth_api::types::{DeviceInfo, EraseEverywhereEvent, EraseParams, ErasedEverywhere, ErasureInfo};
use hearth_api::{Client, ErrorCode, Update};
use hearth_core::certificate::{self, DeviceReport, Report, Residual, Standing};
use serde_json::json;

use super::memory::erase::{self, Wishes};
use super::with_session;
use crate::args::{Certificate, Erase, Erasures};
use crate::connect::{Profile, Want};
use crate::failure::Failure;
use crate::output::Output;
use crate::text;

/// Largest certificate, bytes, as the protocol has it.
const LARGEST_BYTES: u64 = 64 << 20;

pub(super) async fn erase(profile: &Profile, args: Erase, output: &Output) -> Result<(), Failure> {
    with_session(profile, Want::Lasting, output, async |session| {
        let client = &session.client;
        let scope = erase::scope(client, &args.memories, &args.chat, args.topic, args.all).await?;
        let wishes = Wishes {
            keep: args.keep,
            take: args.take,
            keep_chats: args.keep_chats,
            preview: args.preview,
            yes: args.yes,
        };
        let Some(params) = erase::prepare(client, scope, &wishes, true, output).await? else {
            return Ok(());
        };
        let done = order(client, params, output).await?;
        let rotated = if args.now {
            client.call::<RotateKeys>(Empty {}).await.map(|_| ())
        } else {
            Ok(())
        };
        // It is erased, whatever became of the keys.
        if output.json {
            output.value(&done)?;
        } else {
            erase::show_receipt(&done.receipt, output)?;
            for erasure in &done.erasures {
                output.line(&format!(
                    "Ordered of every device and the server: {}.",
                    short(&erasure.erasure)
                ))?;
            }
            output.aside("`hearth erasures list` says who has confirmed.");
        }
        rotated.map_err(|error| {
            Failure::from(error)
                .hint("It is erased and ordered all the same; the keys change within a day by themselves, or with: hearth devices rotate")
        })
    })
    .await
}

/// Erases here and orders it of all other devices; where it is much there is time to take it back.
pub(super) async fn order(
    client: &Client,
    erase: EraseParams,
    output: &Output,
) -> Result<ErasedEverywhere, Failure> {
    let mut call = client.stream::<EraseEverywhere>(EraseEverywhereParams { erase });
    loop {
        match call.next().await {
            Some(Update::Event(EraseEverywhereEvent::Undo { seconds })) => output.note(&format!(
                "This is much, so it waits {seconds} seconds: Ctrl-C takes it back. Nothing is erased yet."
            )),
            Some(Update::Event(EraseEverywhereEvent::Ordered)) => {}
            Some(Update::Done(done)) => return Ok(done?),
            None => return Err(Failure::Interrupted),
        }
    }
}

pub(super) async fn run(profile: &Profile, args: Erasures, output: &Output) -> Result<(), Failure> {
    with_session(profile, Want::Brief, output, async |session| {
        let client = &session.client;
        match args {
            Erasures::List => {
                let listed = client.call::<ListErasures>(Empty {}).await?;
                if output.json {
                    return output.value(&listed);
                }
                list(&listed.erasures, output)
            }
            Erasures::Show { erasure } => {
                let erasure = find(client, &erasure).await?;
                if output.json {
                    return output.value(&erasure);
                }
                let devices = client.call::<GetSyncStatus>(Empty {}).await?.devices;
                show(&erasure, &devices, output)
            }
            Erasures::Certificate {
                erasure,
                output: path,
            } => {
                let erasure = find(client, &erasure).await?;
                let path = std::path::absolute(&path).map_err(|error| Failure::file(&path, &error))?;
                let params = CertificateParams {
                    erasure: erasure.erasure.clone(),
                    path: path.clone(),
                };
                let written = client.call::<WriteCertificate>(params).await?;
                if output.json {
                    return output.value(&written);
                }
                let standing = if written.complete {
                    "complete"
                } else {
                    "provisional"
                };
                output.line(&format!("Wrote {} ({standing}).", path.display()))?;
                if let Some(waits) = waits(&erasure) {
                    output.aside(&format!(
                        "It waits for {waits}. Write it again when that is there."
                    ));
                }
                Ok(())
            }
        }
    })
    .await
}

/// Verifies a file; needs no profile.
pub(super) fn certificate(args: &Certificate, output: &Output) -> Result<(), Failure> {
    let Certificate::Verify { file } = args;
    let report = certificate::verify(&read(file)?).map_err(|error| {
        Failure::new(
            ErrorCode::Corrupt,
            text::sentence(&format!("the certificate doesn't hold: {error}")),
        )
        .hint("Nothing that it says is proven.")
    })?;
    if output.json {
        return output.value(&as_json(&report));
    }
    tell(&report, output)
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let error = |error| Failure::file(file, &error);
    let metadata = std::fs::metadata(file).map_err(error)?;
    if metadata.len() > LARGEST_BYTES {
        return Err(Failure::new(
            ErrorCode::Corrupt,
            "The file is larger than a certificate may be.",
        ));
    }
    std::fs::read(file).map_err(error)
}

fn confirmed(device: &DeviceReport) -> &'static str {
    match device.standing {
        Standing::Confirmed => "confirmed",
        Standing::NeverHeld => "never had a key of it",
        Standing::Missing if device.unacknowledged.is_empty() => {
            "has erased it, and hasn't confirmed the keys that come after it"
        }
        Standing::Missing => "hasn't confirmed",
        Standing::RevokedConfirmed => "confirmed, shut out since",
        Standing::RevokedUnconfirmed => "shut out before it confirmed: nobody knows what it still has",
    }
}

fn residual(residual: &Residual) -> String {
    match residual {
        Residual::RevokedDevice(device) => {
            format!(
                "device {} was shut out before it had confirmed",
                short(&device.to_string())
            )
        }
        Residual::LosingBranchDevice(device) => format!(
            "device {} was let in on a branch of the account that lost: it may have had keys",
            short(&device.to_string())
        ),
        Residual::LosingBranchServer(server) => format!(
            "server {} was named on a branch of the account that lost: it may have ciphertext",
            short(&server.to_string())
        ),
        Residual::Phrase => {
            "the recovery phrase, together with ciphertext and keys that somebody kept against the protocol"
                .into()
        }
        Residual::DeviceBackups => "backups that operating systems made of the devices".into(),
        Residual::ServerBackups(server, until) => format!(
            "backups of server {}, until {} by its clock",
            short(&server.to_string()),
            day(until.ms)
        ),
        Residual::ServersWord => "a receipt proves what a server said, not what it did".into(),
        Residual::Branch(head, number) => format!(
            "devices of another branch of the account's log, if a server shows one: this certificate knows the log up to entry {number}, {head}"
        ),
        Residual::Times => "every time is its writer's claim".into(),
    }
}

fn tell(report: &Report, output: &Output) -> Result<(), Failure> {
    output.line(if report.complete {
        "The certificate holds, and is complete: every device that wasn't shut out and every server has confirmed, and the \
         keys have ended."
    } else {
        "The certificate holds, and is provisional: what it lacks is named below."
    })?;
    output.line(&format!("account  {}", report.account))?;
    output.line(&format!("erasure  {}", report.subject))?;
    output.line(&format!(
        "ordered  {}, {} named",
        day(report.ordered.ms),
        text::counted(report.handles as u64, "handle")
    ))?;
    for device in &report.devices {
        output.line(&format!(
            "device   {}  {}",
            short(&device.device.to_string()),
            confirmed(device)
        ))?;
    }
    for server in &report.servers {
        let said = if server.missing.is_empty() {
            "gave its receipt"
        } else {
            "owes a receipt"
        };
        output.line(&server_line(&server.endpoint, said))?;
    }
    if !report.unended.is_empty() {
        output.line("keys     not changed since; that is done within a day of the erasure")?;
    }
    output.line("What it can't prove:")?;
    for left in &report.residuals {
        output.line(&format!("  - {}", residual(left)))?;
    }
    output.aside("Compare the account with what `hearth account status` shows on a device.");
    Ok(())
}

fn as_json(report: &Report) -> serde_json::Value {
    json!({
        "complete": report.complete,
        "account": report.account.to_string(),
        "erasure": report.subject.to_string(),
        "ordered_ms": report.ordered.ms,
        "issued_ms": report.issued.ms,
        "handles": report.handles,
        "keys_ended": report.unended.is_empty(),
        "devices": report.devices.iter().map(|device| json!({
            "device": device.device.to_string(),
            "standing": confirmed(device),
            "confirmed": matches!(device.standing, Standing::Confirmed | Standing::RevokedConfirmed),
        })).collect::<Vec<_>>(),
        "servers": report.servers.iter().map(|server| json!({
            "server": server.server.to_string(),
            "endpoint": server.endpoint,
            "receipts": server.receipts.len(),
            "missing": server.missing.len(),
        })).collect::<Vec<_>>(),
        "residuals": report.residuals.iter().map(residual).collect::<Vec<_>>(),
    })
}

/// The endpoint is text of whoever made the account: a terminal must not obey it, nor a reader take it for ours.
fn server_line(endpoint: &str, said: &str) -> String {
    format!("server   {}  {said}", text::one_line(endpoint, 255))
}

async fn find(client: &Client, start: &str) -> Result<ErasureInfo, Failure> {
    let erasures = client.call::<ListErasures>(Empty {}).await?.erasures;
    let start = start.to_lowercase();
    let mut found = erasures
        .into_iter()
        .filter(|erasure| !start.is_empty() && erasure.erasure.starts_with(&start));
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => Err(Failure::not_found(format!("There is no erasure {start:?}."))
            .hint("`hearth erasures list` shows those there are.")),
        _ => Err(Failure::usage(format!(
            "Several erasures begin with {start:?}. Give more of the identifier."
        ))),
    }
}

fn list(erasures: &[ErasureInfo], output: &Output) -> Result<(), Failure> {
    if erasures.is_empty() {
        return output.line("Nothing was erased everywhere yet: hearth erase … --everywhere");
    }
    let now = text::now_ms();
    let rows: Vec<Vec<String>> = erasures
        .iter()
        .map(|erasure| {
            vec![
                short(&erasure.erasure),
                text::ago(erasure.at_ms, now),
                waits(erasure).unwrap_or_else(|| "complete".to_owned()),
            ]
        })
        .collect();
    for line in text::table(&["id", "ordered", "waits for"], &rows, output.table_width()) {
        output.line(&line)?;
    }
    Ok(())
}

fn waits(erasure: &ErasureInfo) -> Option<String> {
    if erasure.complete {
        return None;
    }
    let mut parts = Vec::new();
    if !erasure.waits_for_devices.is_empty() {
        parts.push(text::counted(erasure.waits_for_devices.len() as u64, "device"));
    }
    if erasure.waits_for_servers > 0 {
        parts.push("the server's receipt".to_owned());
    }
    if erasure.waits_for_new_keys {
        parts.push("new keys (within a day, or now: hearth devices rotate)".to_owned());
    } else if !erasure.waits_for_keys_of.is_empty() {
        parts.push(format!(
            "the new keys on {}",
            text::counted(erasure.waits_for_keys_of.len() as u64, "device")
        ));
    }
    let overdue = if erasure.overdue { "OVERDUE: " } else { "" };
    Some(format!("{overdue}{}", parts.join(", ")))
}

fn show(erasure: &ErasureInfo, devices: &[DeviceInfo], output: &Output) -> Result<(), Failure> {
    let named = |id: &str| {
        let known = devices.iter().find(|device| device.device == id);
        match known.filter(|device| !device.name.is_empty()) {
            Some(device) => format!("{} ({})", short(id), text::one_line(&device.name, 60)),
            None => short(id),
        }
    };
    output.line(&format!("erasure    {}", erasure.erasure))?;
    if let Some(because) = &erasure.because {
        output.line(&format!("follows    {because}"))?;
    }
    output.line(&format!(
        "ordered    {}",
        text::ago(erasure.at_ms, text::now_ms())
    ))?;
    for device in &erasure.confirmed {
        output.line(&format!("confirmed  {}", named(device)))?;
    }
    for device in &erasure.waits_for_devices {
        output.line(&format!("waits for  {}", named(device)))?;
    }
    output.line(&format!("receipts   {}", erasure.receipts))?;
    output.line(&match waits(erasure) {
        None => "Complete.".to_owned(),
        Some(waits) => format!("It waits for {waits}."),
    })
}

fn short(id: &str) -> String {
    id.chars().take(16).collect()
}

fn day(ms: u64) -> String {
    let seconds = i64::try_from(ms / 1000).unwrap_or(i64::MAX);
    time::OffsetDateTime::from_unix_timestamp(seconds)
        .map_or_else(|_| "some day".to_owned(), |at| at.date().to_string())
}

#[cfg(test)]
mod tests {
    use super::server_line;

    #[test]
    fn an_endpoint_says_nothing_in_the_verifiers_name() {
        let line = server_line(
            "a\u{202e}\u{1b}[2J\u{1b}[H\nThe certificate holds, and is complete.\r",
            "owes",
        );
        assert_eq!(line, "server   a The certificate holds, and is complete.  owes");
        assert_eq!(
            server_line("sync.example:4433", "owes"),
            "server   sync.example:4433  owes"
        );
    }
}
