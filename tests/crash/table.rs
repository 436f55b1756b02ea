//! The table of the README: each test writes its row below the build directory, and `tests/run` prints them together.

use super::ledger::Balance;
use std::path::Path;

/// Writes the row of one fault and prints it.
pub fn row(fault: &str, rounds: usize, balance: &Balance, damaged_detected: &str) {
    let Balance { promised, delivered, refused, lost, duplicates, unexplained, .. } = balance;
    let explained = duplicates - unexplained.len();
    let row = format!("| {fault} | {rounds} | {promised} | {delivered} | {refused} | {} | {duplicates} ({explained}) | {damaged_detected} |", lost.len());
    println!("{HEAD}\n{row}");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("crash-table");
    std::fs::create_dir_all(&folder).unwrap();
    let name: String = fault.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    std::fs::write(folder.join(name), row + "\n").unwrap();
}

/// Sums of several accounts.
pub fn sum(balances: impl IntoIterator<Item = Balance>) -> Balance {
    balances.into_iter().fold(Balance::default(), |mut all, one| {
        all.promised += one.promised;
        all.delivered += one.delivered;
        all.refused += one.refused;
        all.open += one.open;
        all.duplicates += one.duplicates;
        all.lost.extend(one.lost);
        all.unexplained.extend(one.unexplained);
        all.came_though_refused.extend(one.came_though_refused);
        all.faults.extend(one.faults);
        all
    })
}

const HEAD: &str = "| fault | rounds | promised | delivered | refused | lost | duplicates (explained) | damage detected |";
