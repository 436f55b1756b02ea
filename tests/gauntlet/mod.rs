//! The real program among people who mean harm: what they try, and that it leads nowhere.

mod floods;
mod injection;
mod rig;
mod secrets;
mod smuggling;
