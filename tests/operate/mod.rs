//! The real program: life, death and what it keeps.

mod ledger;
mod life;
