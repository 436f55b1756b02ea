//! What real mail servers wrote by themselves is read as what happened; see `files/README.md`.

use super::read;
use std::collections::BTreeMap;
use std::path::Path;

#[test]
fn bounces_of_real_servers_are_read_as_what_happened() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/returns/files");
    let mut expected: BTreeMap<&str, Vec<Vec<&str>>> = BTreeMap::new();
    for line in include_str!("files/expected.tsv").lines().filter(|line| !line.starts_with('#')) {
        let cells: Vec<&str> = line.split('\t').collect();
        expected.entry(cells[0]).or_default().push(cells[1..].to_vec());
    }
    let mut faults = Vec::new();
    for (file, lines) in &expected {
        let message = std::fs::read_to_string(folder.join(file)).unwrap();
        for message in [message.clone(), message.replace("\r\n", "\n"), format!("From MAILER-DAEMON Sun Nov 22 05:00:00 2026\n{message}")] {
            let found = read(&message);
            let id = found.original.as_ref().and_then(|original| original.message_id.clone()).unwrap_or_default();
            if found.recipients.len() != lines.len() {
                faults.push(format!("{file}: {} recipients", found.recipients.len()));
            }
            for (recipient, cells) in found.recipients.iter().zip(lines) {
                let status = recipient.status.map_or_else(|| "-".to_owned(), |status| status.to_string());
                let lasting = if recipient.permanent { "lasting" } else { "passing" };
                let is = [found.kind.as_str(), &id, &recipient.recipient, recipient.action.as_str(), &status, recipient.reason.as_str(), lasting];
                if is[..] != cells[..7] {
                    faults.push(format!("{file}: {is:?}, not {cells:?}"));
                }
                if !recipient.reply.as_deref().unwrap_or("-").starts_with(cells[7]) {
                    faults.push(format!("{file}: {:?}", recipient.reply));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let stored = ["postfix", "exim"].iter().flat_map(|server| std::fs::read_dir(folder.join(server)).unwrap()).count();
    assert_eq!(stored, expected.len(), "every file is expected to be something");
}
