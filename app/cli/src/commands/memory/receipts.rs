//! `hearth memory receipts`: what was erased, by identifiers and counts.

use hearth_api::Client;
use hearth_api::methods::memory::{Receipt, ReceiptParams, Receipts};
use hearth_api::types::{EraseReceiptsParams, ErasureId};

use super::erase;
use crate::failure::Failure;
use crate::output::Output;
use crate::text;

/// Lists receipts, the latest first.
pub(super) async fn list(
    client: &Client,
    params: EraseReceiptsParams,
    output: &Output,
) -> Result<(), Failure> {
    let listed = client.call::<Receipts>(params).await?;
    if output.json {
        return output.value(&listed);
    }
    if listed.receipts.is_empty() {
        output.note("Nothing was erased yet.");
        return Ok(());
    }
    let now = text::now_ms();
    let rows: Vec<Vec<String>> = listed
        .receipts
        .iter()
        .map(|receipt| {
            vec![
                short(receipt.erasure),
                text::ago(receipt.erased_at_ms, now),
                erase::erased(receipt),
            ]
        })
        .collect();
    for line in text::table(&["RECEIPT", "WHEN", "ERASED"], &rows, usize::MAX) {
        output.line(&line)?;
    }
    if listed.total > listed.receipts.len() as u64 {
        output.aside(&format!(
            "{} of {}. More with --limit N.",
            listed.receipts.len(),
            listed.total
        ));
    }
    Ok(())
}

/// Shows one, with the identifiers of what went.
pub(super) async fn show(client: &Client, name: &str, output: &Output) -> Result<(), Failure> {
    let erasure = find(client, name).await?;
    let detail = client.call::<Receipt>(ReceiptParams { erasure }).await?;
    if output.json {
        return output.value(&detail);
    }
    erase::show_receipt(&detail.receipt, output)?;
    let when = text::ago(detail.receipt.erased_at_ms, text::now_ms());
    output.line(&output.dim(&format!(
        "{when}; in indexes {}, {}, {}, {}",
        text::counted(detail.receipt.text_entries, "place"),
        text::counted(detail.receipt.vectors, "vector"),
        text::counted(detail.receipt.titles, "title"),
        text::counted(detail.receipt.jobs, "job"),
    )))?;
    let ids = detail.erased_memories.iter().map(|id| ("memory", id.to_string()));
    let ids = ids.chain(detail.erased_turns.iter().map(|id| ("message", id.to_string())));
    let ids = ids.chain(detail.erased_chats.iter().map(|id| ("chat", id.to_string())));
    for (what, id) in ids {
        output.line(&format!("{what:<8} {id}"))?;
    }
    Ok(())
}

/// Finds a receipt by its identifier or the beginning of it.
async fn find(client: &Client, name: &str) -> Result<ErasureId, Failure> {
    if let Ok(id) = name.parse() {
        return Ok(id);
    }
    let start = name.to_lowercase();
    let hexadecimal = start.len() >= 4 && start.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !hexadecimal {
        return Err(Failure::usage(format!(
            "{name:?} isn't a receipt's identifier, nor four digits of one's beginning."
        ))
        .hint("`hearth memory receipts` shows them."));
    }
    let (mut found, mut offset) = (Vec::new(), 0);
    loop {
        let params = EraseReceiptsParams {
            offset: Some(offset),
            limit: None,
        };
        let listed = client.call::<Receipts>(params).await?.receipts;
        if listed.is_empty() {
            break;
        }
        offset += listed.len() as u32;
        let ids = listed.iter().map(|receipt| receipt.erasure);
        found.extend(ids.filter(|id| id.to_string().starts_with(&start)));
    }
    match found[..] {
        [id] => Ok(id),
        [] => Err(Failure::not_found(format!("There is no receipt {name:?}."))
            .hint("`hearth memory receipts` shows those there are.")),
        _ => Err(Failure::usage(format!(
            "Several receipts begin with {name:?}. Give more of the identifier."
        ))),
    }
}

fn short(id: ErasureId) -> String {
    id.to_string()[..8].to_owned()
}
