//! Moving in: what another mail system is configured with, and what of it becomes ours.
//!
//! Each reader takes texts and gives a [`Draft`]: tables of a configuration with the place each value came from, what could not be
//! carried over, and what is left to be done by hand. Nothing is guessed in silence: a value that stands for one we do not know is
//! marked in the print. Passwords are never printed; a draft names the file that is to hold them.
//!
//! | file here | reads |
//! |---|---|
//! | `postfix` | `main.cf` and `master.cf`, with the tables they name (postconf(5), master(5)) |
//! | `opendkim` | `opendkim.conf` with KeyTable, SigningTable and hosts (opendkim.conf(5)) |
//! | `rspamd` | `dkim_signing.conf` |
//! | `container` | the variables that the common images of Postfix take |
//!
//! Pure: files come in through a function. Keys are taken over by `keys::import`; a draft names the command.

pub mod container;
mod draft;
pub mod opendkim;
pub mod postfix;
pub mod rspamd;

pub use draft::Draft;

/// The text of a file of the machine that is moved from; in words, why there is none.
pub type Files<'a> = dyn Fn(&str) -> Result<String, String> + 'a;
