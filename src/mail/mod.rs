//! The vocabulary of mail: the types every room speaks (RFC 5598 terms, no synonyms).
//!
//! Nothing here knows a socket, a disk, a clock or another room. What is parsed once stays parsed: a
//! [`Domain`] is compared only as a `Domain`, an address is printed by one function for the wire.

pub mod address;
pub mod author;
pub mod domain;
pub mod dsn;
pub mod envelope;
pub mod header;
pub mod id;
pub mod message;
pub mod mime;
pub mod outcome;
pub mod path;
pub mod reason;
pub mod receipt;
pub mod submission;
pub mod suppression;
pub mod timestamp;
pub mod trace;

pub use address::{AddressError, Host, LocalPart, Mailbox};
pub use author::{Address, AuthorFault};
pub use domain::{Domain, DomainError};
pub use envelope::{BodyType, Envelope, Notify, OriginalRecipient, Recipient, Ret};
pub use header::{Field, HeaderFault, Headers};
pub use id::{IdentityName, KeyId, MailId, MailIds, RouteName, Selector, Stream};
pub use message::Message;
pub use outcome::{Blame, EnhancedCode, Evidence, Outcome, Refusal, RemoteReply};
pub use path::{ForwardPath, ReversePath};
pub use reason::Reason;
pub use receipt::Receipt;
pub use submission::{Client, Proof, Submission, TlsSession};
pub use suppression::Suppression;
pub use timestamp::Timestamp;
pub use trace::TraceContext;
