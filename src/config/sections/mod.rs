//! One function a section of the file: what was written to the `Settings` of a room.

pub mod how;
pub mod listeners;
pub mod sending;
pub mod who;
