//! The server and the network see nothing of the content: every packet of a whole session and every byte of the server's
//! folder is looked at for it, in all the ways in which programs write text, and has to look like chance.
#![allow(clippy::unwrap_used)]

use std::net::UdpSocket;
use std::time::Duration;

use hearth_tests::bad_network::{BadNetwork, Weather};
use hearth_tests::device::{Device, LIMIT, converged, eventually};
use hearth_tests::dice::Dice;
use hearth_tests::pages::files_below;
use hearth_tests::sync_server::SyncServer;
use hearth_tests::traces::{chi_square, entropy, found, found_deflated};
use rusqlite::Connection;

/// Of random bytes chi-square has mean 255 and deviation 22.6: six deviations above it, one honest run in a thousand
/// million fails. One thirtieth of text among random bytes is far beyond it.
const MOST_CHI_SQUARE: f64 = 391.0;
/// A stored row has beside the sealed body up to 200 bytes of header, in which lengths and zeros repeat. That adds less than
/// this for rows of 8 KiB and more; text of that length adds more than 100,000. The registry's table names an empty shard by
/// 32 zeros, as the protocol says: such runs are taken out first.
const MOST_OF_A_ROW: f64 = 391.0 + 400.0;

const MEMORY: &str = "gramophonewillow";
const CORRECTED: &str = "harpsichordbirch";
const ERASED: &str = "concertinamaple";
const TURN: &str = "bandoneonsycamore";
const SETTING: &str = "clavichordelder";
const NAMES: [&str; 3] = ["ocarinahornbeam", "melodicaspruce", "theorbojuniper"];

fn canaries() -> Vec<&'static str> {
    [&[MEMORY, CORRECTED, ERASED, TURN, SETTING][..], &NAMES[..]].concat()
}

/// What the scan says of packets, those of each direction together, too: a text may span two of them.
fn scan(packets: &[(bool, Vec<u8>)]) -> Vec<(&'static str, &'static str)> {
    let mut all = Vec::new();
    for direction in [true, false] {
        let joined: Vec<u8> = packets
            .iter()
            .filter(|(to_server, _)| *to_server == direction)
            .flat_map(|(_, bytes)| bytes.iter().copied())
            .collect();
        all.extend(found(&joined, &canaries()));
    }
    all
}

/// The encrypted part of the packets after the handshake: those with a short header, without its first bytes (flags and the
/// connection's id, up to 21 bytes, the same in every packet).
fn payloads(packets: &[(bool, Vec<u8>)]) -> Vec<u8> {
    let short = packets
        .iter()
        .filter(|(_, bytes)| bytes[0] & 0x80 == 0 && bytes.len() > 32);
    short.flat_map(|(_, bytes)| bytes[21..].iter().copied()).collect()
}

#[test]
fn nothing_of_the_content_is_in_any_packet_nor_in_the_servers_folder() {
    let server = SyncServer::start();
    let network = BadNetwork::before(server.port(), Weather::fine(), 1);
    network.capture();
    let address = network.address_of(&server.address);

    // A session from the first packet on: an account, pairing, names, memories, chats, settings, a correction, an erasure.
    let devices = [Device::new(), Device::new()];
    for device in &devices {
        device.profile.json(&["status"]);
        device.start();
    }
    let [a, b] = &devices;
    a.profile
        .json(&["account", "create", "--server", &address, "--name", NAMES[0]]);
    hearth_tests::sync_server::let_in(&a.profile, &b.profile, &address, NAMES[1]);
    let id = a.add(&format!("My dog is called {MEMORY}"));
    a.profile
        .json(&["memory", "edit", &id, &format!("My dog is called {CORRECTED}")]);
    let erased = a.add(&format!("I have tickets for the {ERASED}"));
    a.profile
        .json(&["settings", "set", "system_prompt", &format!("Call me {SETTING}.")]);
    let mut dice = Dice::new(5);
    let mut turns = String::new();
    for turn in 0..40 {
        let text = format!(
            "{TURN} {turn} {}",
            (0..60).map(|_| dice.word(7) + " ").collect::<String>()
        );
        let role = if turn % 2 == 0 { "user" } else { "assistant" };
        let turn = serde_json::json!({"role": role, "content": text});
        turns.push_str(&turn.to_string());
        turns.push('\n');
    }
    let file = a.profile.scratch().join("chat.jsonl");
    std::fs::write(&file, turns).unwrap();
    a.profile.json(&["chats", "import", file.to_str().unwrap()]);
    converged(&devices, LIMIT);
    let names = b.profile.json(&["devices", "list"]).to_string();
    assert!(names.contains(NAMES[0]) && names.contains(NAMES[1]), "{names}");
    let second = b.status()["devices"]
        .as_array()
        .unwrap()
        .iter()
        .find(|it| it["this"] == true)
        .unwrap()["device"]
        .clone();
    a.profile
        .json(&["devices", "rename", second.as_str().unwrap(), NAMES[2]]);
    eventually("the setting and the new name are on B", || {
        let set = b.profile.json(&["settings", "list"]).to_string();
        let names = b.profile.json(&["devices", "list"]).to_string();
        (set.contains(SETTING) && names.contains(NAMES[2])).then_some(())
    });
    let backup = server.scratch().join("backup");
    server.operate(&["backup", backup.to_str().unwrap()]);
    b.profile
        .json(&["erase", "--everywhere", &erased, "--now", "--yes"]);
    eventually("the erasure is complete", || {
        let listed = a.profile.json(&["erasures", "list"]);
        (listed["erasures"][0]["complete"] == true).then_some(())
    });
    converged(&devices, LIMIT);

    // The network.
    let packets: Vec<(bool, Vec<u8>)> = network
        .captured()
        .into_iter()
        .map(|packet| (packet.to_server, packet.bytes))
        .collect();
    assert!(packets.len() > 100, "{}", packets.len());
    assert_eq!(scan(&packets), []);
    let random = payloads(&packets);
    println!(
        "{} packets; {} bytes encrypted: chi-square {:.0}, entropy {:.4}",
        packets.len(),
        random.len(),
        chi_square(&random),
        entropy(&random)
    );
    assert!(random.len() > 50_000 && chi_square(&random) < MOST_CHI_SQUARE);
    // 8 − 184 / 50,000 = 7.996 is expected of chance; text has 4 to 5.
    assert!(entropy(&random) > 7.99);

    // The server: every file of its folder, its log, and the backup, as they are; large rows have to look like chance.
    let (mut files, mut rows) = (0, 0);
    for file in files_below(server.scratch()) {
        let bytes = std::fs::read(&file).unwrap();
        assert_eq!(found(&bytes, &canaries()), [], "{}", file.display());
        files += 1;
    }
    let copy = Connection::open(&backup).unwrap();
    for row in values(&copy) {
        if row.len() <= 4 << 10 {
            assert_eq!(found_deflated(&row, &canaries()), Vec::<&str>::new());
        }
        if row.len() >= 8 << 10 {
            let chi = chi_square(&without_empty_shards(&row));
            println!("a row of {} bytes: chi-square {chi:.0}", row.len());
            assert!(
                chi < MOST_OF_A_ROW,
                "a row of {} bytes isn't random: {chi}",
                row.len()
            );
            rows += 1;
        }
    }
    assert!(files >= 4 && rows >= 2, "{files} files, {rows} large rows");

    // What the same scan says of the same content sent and stored in the clear.
    let trap = UdpSocket::bind("127.0.0.1:0").unwrap();
    trap.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let clear = BadNetwork::before(trap.local_addr().unwrap().port(), Weather::fine(), 1);
    clear.capture();
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    let exported = std::process::Command::new("cat")
        .arg(&file)
        .output()
        .unwrap()
        .stdout;
    // Padding that carries the text, and a packet's end in the middle of it.
    for part in exported[..20_000].chunks(1_000) {
        sender.send_to(part, clear.address()).unwrap();
        trap.recv(&mut [0; 2_000]).unwrap();
    }
    let seen: Vec<(bool, Vec<u8>)> = clear
        .captured()
        .into_iter()
        .map(|packet| (packet.to_server, packet.bytes))
        .collect();
    assert!(scan(&seen).contains(&(TURN, "UTF-8")));
    let text: Vec<u8> = seen.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
    assert!(chi_square(&text) > 100_000.0 && entropy(&text) < 5.5);
    // One row of it in the clear is seen as well.
    assert!(chi_square(&exported[..8 << 10]) > 10.0 * MOST_OF_A_ROW);
}

/// Without runs of 32 zeros and more.
fn without_empty_shards(row: &[u8]) -> Vec<u8> {
    let runs = row.chunk_by(|one, other| (*one == 0) == (*other == 0));
    runs.filter(|run| run[0] != 0 || run.len() < 32)
        .flatten()
        .copied()
        .collect()
}

/// Every blob of every table.
fn values(database: &Connection) -> Vec<Vec<u8>> {
    let mut tables = database
        .prepare(
            "SELECT m.name, c.name FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table'",
        )
        .unwrap();
    let columns: Vec<(String, String)> = tables
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let mut values = Vec::new();
    for (table, column) in columns {
        let sql = format!("SELECT {column} FROM {table} WHERE typeof({column}) = 'blob'");
        let mut statement = database.prepare(&sql).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        values.extend(rows.map(|row| row.unwrap()));
    }
    values
}
