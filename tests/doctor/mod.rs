//! What doctor finds: every rule from every side, whole reports, and the command.

mod bounds;
mod command;
mod connections;
mod dmarc_records;
mod house;
mod rules;
mod schema;
mod whole;
