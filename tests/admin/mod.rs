//! The admin: who may ask, what strangers can take of it, what it says, and the real relay asked by the real commands.

mod bounds;
mod documents;
mod guard;
mod live;
mod office;
mod page;
mod page_made;
mod ready;
