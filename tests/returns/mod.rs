//! Messages that came back: what they are, of whom they tell, and why.

mod commands;
mod files;
mod gmail;
mod homeward;
mod hostile;
mod kinds;
mod rules;

use postseal::reasons::Table;
use postseal::returns::{Classified, classify};
use std::sync::LazyLock;

/// The built-in table, read once.
static TABLE: LazyLock<Table> = LazyLock::new(Table::default);

/// By the built-in table.
fn read(message: &str) -> Classified {
    classify(message.as_bytes(), &TABLE)
}
