//! Ingress: what a client says and what it hears. A dialogue is a file of `C:` and `S:` lines in this folder; a new case is a new file.

mod bounds;
mod connections;
mod dialogues;
mod fragments;
mod house;
mod listeners;
mod memory;
mod world;
